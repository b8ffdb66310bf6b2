"""A backup of the registry restored elsewhere: the same answers, and the same memory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest

from registry.domain.stored_queries import FIND_DOCUMENTS
from registry.maintenance.backup import backup, restore
from registry.settings import RegistrySettings
from registry.store.tables import MIGRATIONS
from registry.unit import Parts
from shared.audit.recorder import AuditRecorder
from shared.consent.evaluation import PolicyDecisions
from shared.ebrim.model import AvailabilityStatus
from shared.settings import Default
from shared.store.backup import BackupError, read_manifest
from shared.store.failures import DatabaseUnavailable
from shared.store.opening import open_database
from tests.support.databases import postgres_url
from tests.support.metadata import PATIENT, a_document_entry, a_submission
from tests.support.registry import Registry, is_success

__all__ = ["postgres_url"]


@dataclass
class Place:
    """Where registries are; each has a database of its own."""

    folder: Path
    cluster: str = ""

    async def settings(self, name: str, **changes: object) -> RegistrySettings:
        url = await self._database() if self.cluster else None
        return RegistrySettings.load(
            environ={}, **{"data": self.folder / name, "database_url": url, "patients": "any", **changes}
        )

    async def _database(self) -> str:
        name = f"r{uuid4().hex}"
        connection = await asyncpg.connect(self.cluster)
        await connection.execute(f"CREATE DATABASE {name}")
        await connection.close()
        return self.cluster.replace("/postgres?", f"/{name}?")


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    cluster = request.getfixturevalue("postgres_url") if request.param == "postgresql" else ""
    return Place(tmp_path, cluster)


@pytest.fixture
async def opened():
    closers = []

    async def open_registry(settings: RegistrySettings) -> Registry:
        database = await open_database(settings.database_url, folder=settings.folder, migrations=MIGRATIONS)
        recorder = AuditRecorder(settings, "registry")
        closers.extend((recorder.close, database.close))
        return Registry(
            Parts(
                settings=settings,
                database=database,
                decisions=PolicyDecisions(Default.PERMIT),
                recorder=recorder,
            )
        )

    yield open_registry
    for close in closers:
        await close()


async def titles(registry: Registry) -> set[str]:
    found = await registry.query(
        FIND_DOCUMENTS,
        {
            "$XDSDocumentEntryPatientId": PATIENT,
            "$XDSDocumentEntryStatus": [AvailabilityStatus.APPROVED],
        },
    )
    return {entry.title for entry in found.document_entries}


async def backed_up(settings: RegistrySettings, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    await backup(settings, folder)


async def test_what_was_registered_is_found_elsewhere_and_more_can_be(place: Place, opened):
    settings = await place.settings("old")
    old = await opened(settings)
    submission = a_submission(a_document_entry(title="one"))
    await old.register(submission, message_id="urn:uuid:11111111-1111-4111-8111-111111111111")
    folder = place.folder / "backup"
    await backed_up(settings, folder)
    await old.register(a_submission(a_document_entry(title="after the backup")))

    elsewhere = await place.settings("new")
    await restore(elsewhere, folder, read_manifest(folder, "registry"))

    new = await opened(elsewhere)
    assert await titles(new) == {"one"}
    again = await new.register(submission, message_id="urn:uuid:11111111-1111-4111-8111-111111111111")
    assert is_success(again)
    await new.register(a_submission(a_document_entry(title="two")))
    assert await titles(new) == {"one", "two"}


async def test_from_sqlite_into_postgresql(tmp_path: Path, postgres_url: str, opened):
    settings = await Place(tmp_path).settings("old")
    await (await opened(settings)).register(a_submission(a_document_entry(title="one")))
    await backed_up(settings, tmp_path / "backup")

    elsewhere = await Place(tmp_path, postgres_url).settings("new")
    await restore(elsewhere, tmp_path / "backup", read_manifest(tmp_path / "backup", "registry"))

    assert await titles(await opened(elsewhere)) == {"one"}


async def test_a_registry_that_is_not_empty_or_not_the_same_takes_no_backup(place: Place, opened):
    settings = await place.settings("old")
    old = await opened(settings)
    await old.register(a_submission(a_document_entry()))
    folder = place.folder / "backup"
    await backed_up(settings, folder)
    manifest = read_manifest(folder, "registry")

    with pytest.raises((BackupError, DatabaseUnavailable), match=r"not empty|another process"):
        await restore(settings, folder, manifest)
    with pytest.raises(BackupError, match="AFFINITY_DOMAIN"):
        await restore(await place.settings("new", affinity_domain="1.2.3"), folder, manifest)
    with pytest.raises(BackupError, match="of the registry and not of the repository"):
        read_manifest(folder, "repository")
