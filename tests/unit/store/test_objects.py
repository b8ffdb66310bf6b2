"""Where an object store is, and by which keys it is asked."""

from __future__ import annotations

import pytest

from shared.settings.storage import S3Settings
from shared.store.objects import Objects


@pytest.mark.parametrize("endpoint", [None, "https://store.example"])
@pytest.mark.parametrize("keys", [{}, {"access_key": "us", "secret_key": "secret"}])
def test_a_store_is_named_with_keys_or_by_the_role_of_the_machine(endpoint: str | None, keys: dict[str, str]):
    objects = Objects("s3://bucket/prefix", S3Settings.model_validate({"endpoint": endpoint, **keys}))

    assert objects.key("ab" * 32, "name").endswith("name")
