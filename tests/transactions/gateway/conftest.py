"""Two communities with their gateways, for every test of this folder."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.gateway import World, world


@pytest.fixture
async def two(tmp_path: Path) -> AsyncIterator[World]:
    """Our own community in the East, and one in the West that it asks."""
    async with world(tmp_path) as made:
        yield made
