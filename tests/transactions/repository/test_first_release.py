"""The database of the first release is taken over: every document is there, and the repository goes on."""

from __future__ import annotations

import shutil

from repository.domain.provision import ProvisionState
from repository.settings import RepositorySettings
from repository.store.tables import metadata
from tests.support.databases import DatabasePlace
from tests.support.releases import make_first_release, rows_of
from tests.transactions.repository.test_backup import kept, opened, place, retrieved

__all__ = ["opened", "place"]


async def test_documents_that_were_provided_to_the_first_release_are_served_and_more_are_taken(
    place, opened, tmp_path
):
    settings = await place.settings("repository")
    elsewhere = RepositorySettings.load(environ={}, data=tmp_path / "elsewhere")
    before = await opened(elsewhere)
    unique_ids = {await kept(before, octets): octets for octets in (b"one", b"two", b"three")}
    rows = await rows_of(before.parts.database, metadata)
    assert len(rows["document"]) == 3
    at = DatabasePlace(url=settings.database_url, folder=settings.folder, name="repository")
    shutil.copytree(elsewhere.folder, settings.folder, ignore=shutil.ignore_patterns("*.sqlite3*", "audit"))
    await make_first_release(at, "repository", rows)

    house = await opened(settings)
    assert await rows_of(house.parts.database, metadata) == rows
    assert {unique_id: await retrieved(house, unique_id) for unique_id in unique_ids} == unique_ids
    another = await kept(house, b"four")
    assert await retrieved(house, another) == b"four"
    assert await house.states() == [ProvisionState.REGISTERED] * 4
