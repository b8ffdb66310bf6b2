"""A backup of the trail restored elsewhere: the same records, verified by the same key, and it goes on."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime

import pytest

from audit_repository.domain.record import record_of
from audit_repository.maintenance.backup import backup, restore
from audit_repository.settings import AuditRepositorySettings
from audit_repository.store.events import Search, Trail
from audit_repository.store.signing import PRIVATE, Signer
from audit_repository.store.tables import MIGRATIONS
from audit_repository.store.verification import verify
from shared.audit.recorder import message
from shared.security.caller import Node
from shared.store.backup import BackupError, read_manifest
from shared.store.opening import open_database
from tests.support.audit import SOURCE, SOURCES, an_event

NODE = Node(address="192.0.2.17", subject="CN=n", fingerprint="ab" * 32)


def a_record(number: int):
    raw = message(an_event(outcome_description=f"number {number}"), SOURCE)
    return record_of(raw, node=NODE, received=datetime.now(UTC), sources=SOURCES)


def settings_at(folder) -> AuditRepositorySettings:
    return AuditRepositorySettings(data=folder)


@pytest.fixture
async def opened():
    trails = []

    async def open_trail(settings: AuditRepositorySettings) -> Trail:
        database = await open_database(settings.database_url, folder=settings.folder, migrations=MIGRATIONS)
        trail = Trail(database, settings.folder, checkpoint_records=5, checkpoint_seconds=3600)
        await trail.start()
        trails.append(trail)
        return trail

    yield open_trail
    for trail in trails:
        await trail.stop()
        await trail.database.close()


KEYS = {
    "no key": lambda there, here: None,
    "the key of the trail": lambda there, here: shutil.copy(here.folder / PRIVATE, there.folder / PRIVATE),
    "a key of its own": lambda there, here: Signer(there.folder),
}


@pytest.mark.parametrize("key_of", KEYS.values(), ids=KEYS)
async def test_a_restored_trail_is_whole_and_goes_on(tmp_path, opened, key_of):
    here, there, copy = settings_at(tmp_path / "here"), settings_at(tmp_path / "there"), tmp_path / "copy"
    copy.mkdir()
    there.folder.mkdir(parents=True)
    trail = await opened(here)
    await trail.append([a_record(number) for number in range(12)])

    written = await backup(here, copy)
    await trail.append([a_record(12)])
    key_of(there, here)
    await restore(there, copy, read_manifest(copy, "audit_repository"))
    restored = await opened(there)
    await restored.append([a_record(number) for number in range(13, 20)])

    report = await verify(restored.database, there.folder)
    assert report.problems == []
    found = await restored.search(Search(user="u-778"))
    before = [item.record.raw for item in await trail.search(Search(user="u-778"))]
    assert [item.record.raw for item in found][7:] == before[1:]
    assert written.rows > 12
    assert not (copy / PRIVATE).exists()


async def test_what_was_changed_in_a_backup_is_found_after_it_was_restored(tmp_path, opened):
    here, there, copy = settings_at(tmp_path / "here"), settings_at(tmp_path / "there"), tmp_path / "copy"
    copy.mkdir()
    trail = await opened(here)
    await trail.append([a_record(number) for number in range(3)])
    manifest = await backup(here, copy)
    index = copy / manifest.index
    index.write_bytes(index.read_bytes().replace(b"192.0.2.17", b"192.0.2.18", 1))

    await restore(there, copy, manifest)
    restored = await opened(there)

    assert (await verify(restored.database, there.folder)).problems


async def test_a_trail_is_restored_into_an_empty_one_alone(tmp_path, opened):
    here, there, copy = settings_at(tmp_path / "here"), settings_at(tmp_path / "there"), tmp_path / "copy"
    copy.mkdir()
    trail = await opened(here)
    await trail.append([a_record(1)])
    await backup(here, copy)
    await restore(there, copy, read_manifest(copy, "audit_repository"))

    with pytest.raises(BackupError, match="not empty"):
        await restore(there, copy, read_manifest(copy, "audit_repository"))
