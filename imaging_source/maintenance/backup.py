"""Backup and restore of the imaging source: the index, and the file of every instance.

Files are never changed, and one that has a row is not removed; what the index of the backup refers to is
there to be copied after it. A backup into the folder of an earlier one copies only what is new.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

from sqlalchemy import func, select

import imaging_source.store.publications as publications
from imaging_source.domain.intake import Refused, TooLong
from imaging_source.settings import ImagingSourceSettings
from imaging_source.store.contents import FOLDER as FILES
from imaging_source.store.contents import Contents
from imaging_source.store.files import ContentFiles
from imaging_source.store.kept_files import walk
from imaging_source.store.tables import MIGRATIONS, instance, metadata
from shared.http.checked import DamagedBlob, StoreUnavailable
from shared.store import snapshot as snapshots
from shared.store.backup import BackupError, BackupManifest, contents_of, write_index, write_manifest
from shared.store.engine import Reader, Transaction
from shared.store.opening import open_database
from shared.store.snapshot import open_snapshot

_TABLES = (instance, publications.publication)
# Behind every digest.
_LAST = "g"
_COUNTS = tuple(select(func.count()).select_from(table) for table in _TABLES)


async def backup(
    settings: ImagingSourceSettings, source: Contents, folder: Path
) -> AsyncIterator[tuple[str, int, bool]]:
    """Back up into `folder`, beside the running service; yields digest, size and whether the file is whole
    there. What is damaged at the source is left out, and the caller tells of it."""
    async with open_snapshot(settings.database_url, folder=settings.folder) as snapshot:
        manifest = await write_index(
            snapshot,
            metadata,
            folder,
            migrations=MIGRATIONS,
            service=settings.service,
            identity=settings.retrieve_location_uid,
            contents=_files(snapshot),
        )
    async for sha256 in _copied(folder / manifest.index, source, await _files_below(folder)):
        yield sha256
    await asyncio.to_thread(write_manifest, folder, manifest)


async def restore(
    settings: ImagingSourceSettings, target: Contents, folder: Path, manifest: BackupManifest
) -> AsyncIterator[tuple[str, int, bool]]:
    """Restore files, then all rows in one transaction: a restore that was broken off is begun anew.

    Raises
    ------
    BackupError
        The source is not empty, or is known under another Retrieve Location UID.
    DatabaseUnavailable
        The service is running.
    """
    if manifest.identity != settings.retrieve_location_uid:
        raise BackupError(
            f"the backup is of the source {manifest.identity}; set "
            "XDSI_IMAGING_SOURCE__RETRIEVE_LOCATION_UID to that, which its manifests name"
        )
    index = folder / manifest.index

    async def rows(transaction: Transaction) -> None:
        await snapshots.load(transaction, metadata, index)

    database = await open_database(settings.database_url, folder=settings.folder, migrations=MIGRATIONS)
    try:
        counts = [(await database.fetch(count))[0][0] for count in _COUNTS]
        if any(counts):
            raise BackupError(
                "the imaging source is not empty; restore into an empty one (another XDSI_DATA and "
                "XDSI_DATABASE_URL)"
            )
        async for sha256 in _copied(index, await _files_below(folder), target):
            yield sha256
        await database.write(rows)
    finally:
        await database.close()


async def _files(index: Reader) -> AsyncIterator[tuple[str, int]]:
    """SHA-256 and size of every file that an instance has or had, by digest."""
    before = ""
    async for sha256, size, _ in walk(index, "", _LAST):
        if sha256 != before:
            yield sha256, size
        before = sha256


async def _files_below(folder: Path) -> ContentFiles:
    """The store in a backup."""
    return await asyncio.to_thread(partial(ContentFiles, folder / FILES, keep_preamble=True))


async def _copied(index: Path, source: Contents, target: Contents) -> AsyncIterator[tuple[str, int, bool]]:
    try:
        for sha256, size in contents_of(index):
            yield sha256, size, await _copy(source, target, sha256, size)
    finally:
        source.close()
        target.close()


async def _copy(source: Contents, target: Contents, sha256: str, size: int) -> bool:
    """Copy one file unless it is whole there; False when the source has none that is whole."""
    try:
        if await target.proved(sha256, size):
            return True
        spooled = await asyncio.to_thread(lambda: target.copy(source.read(sha256, size), max_bytes=size))
        try:
            await target.keep(spooled)
        finally:
            spooled.path.unlink(missing_ok=True)
    except (FileNotFoundError, DamagedBlob, TooLong):
        return False
    except Refused as error:
        raise BackupError(f"a copy cannot be kept: {error}") from None
    except StoreUnavailable:
        raise BackupError(
            "the object store does not answer as it should; xdsi doctor tells why (XDSI_STORAGE_URL)"
        ) from None
    return True
