"""Two communities with their gateways, for every test of this folder."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from shared.settings import TlsSettings
from tests.support.certificates import communities
from tests.support.gateway import World, world


@pytest.fixture
async def two(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[World]:
    """Our own community in the East, and one in the West that it asks; over TLS where a test says so."""
    async with world(tmp_path, tls=_tls() if getattr(request, "param", "") == "TLS" else None) as made:
        yield made


def _tls() -> TlsSettings:
    north = communities()[0]
    return TlsSettings(certificate=north.node.certificate, key=north.node.key, trust=north.trust)
