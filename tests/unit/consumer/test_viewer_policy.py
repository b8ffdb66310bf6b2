"""What a page may load. Of a directive that a policy has twice the first counts (CSP Level 3, 2.2.1)."""

from __future__ import annotations

import pytest

from consumer.pages.viewer_files import VIEWER_POLICY
from shared.pages.site import POLICY


@pytest.mark.parametrize("policy", [POLICY, VIEWER_POLICY], ids=["pages", "viewer"])
def test_a_policy_says_each_directive_once(policy: str):
    names = [directive.split()[0] for directive in policy.split(";")]
    assert sorted(set(names)) == sorted(names)


def test_the_viewer_shows_pictures_from_its_own_memory():
    assert "img-src 'self' blob: data:" in VIEWER_POLICY
