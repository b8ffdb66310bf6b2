"""A backup of the imaging source restored elsewhere: every instance, byte for byte."""

from __future__ import annotations

from pathlib import Path

import pytest

from imaging_source.maintenance.backup import backup, restore
from imaging_source.settings import ImagingSourceSettings
from imaging_source.store.instances import InstanceStore
from imaging_source.store.stores import open_contents
from imaging_source.store.tables import MIGRATIONS
from shared.store.backup import BackupError, read_manifest
from shared.store.failures import DatabaseUnavailable
from shared.store.opening import open_database
from tests.support.codecs import CODECS
from tests.support.databases import DatabasePlace
from tests.support.dicom import a_ct, an_sr
from tests.support.imaging_source import Source, close_source, open_source

CT, SR = "2.25.13", "2.25.23"


@pytest.fixture
async def filled(tmp_path: Path):
    folder = tmp_path / "old" / "imaging-source"
    source = await open_source(
        DatabasePlace(url=None, folder=folder, name="imaging_source"), tmp_path / "old"
    )
    await source.keep(a_ct(), an_sr())
    yield source
    await close_source(source)


async def backed_up(source: Source, folder: Path) -> list[str]:
    folder.mkdir(exist_ok=True)
    settings = source.parts.settings
    return [
        sha256 async for sha256, _, whole in backup(settings, open_contents(settings), folder) if not whole
    ]


async def restored(folder: Path, settings: ImagingSourceSettings) -> list[str]:
    manifest = read_manifest(folder, "imaging_source")
    copies = restore(settings, open_contents(settings), folder, manifest)
    return [sha256 async for sha256, _, whole in copies if not whole]


def elsewhere(tmp_path: Path, **changes: object) -> ImagingSourceSettings:
    return ImagingSourceSettings.load(environ={}, data=tmp_path / "new", **changes)


async def test_every_instance_is_there_byte_for_byte(filled: Source, tmp_path: Path):
    assert await backed_up(filled, tmp_path / "backup") == []
    settings = elsewhere(tmp_path)
    assert await restored(tmp_path / "backup", settings) == []

    database = await open_database(None, folder=settings.folder, migrations=MIGRATIONS)
    store = InstanceStore(database, open_contents(settings), workers=CODECS)
    old = await filled.parts.instances.find_study("2.25.11")
    new = await store.find_study("2.25.11")
    assert [one.sop_instance_uid for one in new] == [one.sop_instance_uid for one in old]
    for one in new:
        kept = filled.parts.instances.files.path(one.sha256)
        assert store.files.path(one.sha256).read_bytes() == kept.read_bytes()
    await database.close()


async def test_a_damaged_file_is_left_out_and_named_and_comes_with_the_next_backup(
    filled: Source, tmp_path: Path
):
    [ct] = [one for one in await filled.parts.instances.find_study("2.25.11") if one.sop_instance_uid == CT]
    path = filled.parts.instances.files.path(ct.sha256)
    octets = path.read_bytes()
    for damage in (octets[:-1], octets + b"x", octets[:-1] + b"x"):
        path.unlink()
        path.write_bytes(damage)
        assert await backed_up(filled, tmp_path / "backup") == [ct.sha256]
    path.write_bytes(octets)

    assert await backed_up(filled, tmp_path / "backup") == []


async def test_a_source_that_runs_or_is_another_takes_no_backup(filled: Source, tmp_path: Path):
    await backed_up(filled, tmp_path / "backup")
    with pytest.raises(DatabaseUnavailable, match="another process"):
        await restored(tmp_path / "backup", filled.parts.settings)
    with pytest.raises(BackupError, match="RETRIEVE_LOCATION_UID"):
        await restored(tmp_path / "backup", elsewhere(tmp_path, retrieve_location_uid="1.2.3"))
    await restored(tmp_path / "backup", elsewhere(tmp_path))
    with pytest.raises(BackupError, match="not empty"):
        await restored(tmp_path / "backup", elsewhere(tmp_path))
