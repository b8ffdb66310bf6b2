from __future__ import annotations

from contextlib import asynccontextmanager

import pytest

from audit_repository.store.events import Trail
from audit_repository.store.tables import MIGRATIONS
from tests.support.databases import database_place, postgres_url

__all__ = ["database_place", "postgres_url"]


@pytest.fixture
def opened(database_place):
    """Opens the trail of this test as often as asked; what it holds stays."""

    @asynccontextmanager
    async def opening(*, checkpoint_records: int = 10):
        database = await database_place.open(MIGRATIONS)
        trail = Trail(
            database,
            database_place.folder,
            checkpoint_records=checkpoint_records,
            checkpoint_seconds=3600,
        )
        await trail.start()
        try:
            yield trail
        finally:
            await trail.stop()
            await database.close()

    return opening
