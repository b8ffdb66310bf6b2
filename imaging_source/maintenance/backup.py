"""Backup and restore of the imaging source: the index, and the file of every instance.

Files are never changed, and one that has a row is not removed; what the index of the backup refers to is
there to be copied after it. A backup into the folder of an earlier one copies only what is new.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

from sqlalchemy import bindparam, func, select

import imaging_source.store.publications as publications
from imaging_source.domain.intake import Refused, TooLong
from imaging_source.settings import ImagingSourceSettings
from imaging_source.store.files import ContentFiles
from imaging_source.store.tables import MIGRATIONS, instance, metadata
from shared.store import snapshot as snapshots
from shared.store.backup import BackupError, BackupManifest, contents_of, write_index, write_manifest
from shared.store.engine import Reader, Transaction
from shared.store.opening import open_database
from shared.store.snapshot import open_snapshot

FILES = "instances"

_CHUNK = 1024 * 1024
_TABLES = (instance, publications.publication)
_COUNTS = tuple(select(func.count()).select_from(table) for table in _TABLES)
_FILES_OF = (
    select(instance.c.sha256, instance.c.size)
    .where(instance.c.sha256 > bindparam("after"))
    .distinct()
    .order_by(instance.c.sha256)
    .limit(1000)
)


async def backup(settings: ImagingSourceSettings, folder: Path) -> AsyncIterator[tuple[str, int, bool]]:
    """Back up into `folder`, beside the running service; yields digest, size and whether the file is whole
    there. What is damaged at the source is left out, and the caller tells of it."""
    async with open_snapshot(settings.database_url, folder=settings.folder) as snapshot:
        manifest = await write_index(
            snapshot,
            metadata,
            folder,
            service=settings.service,
            identity=settings.retrieve_location_uid,
            contents=_files(snapshot),
        )
    source, target = settings.folder / FILES, folder / FILES
    async for sha256 in _copied(folder / manifest.index, source, target):
        yield sha256
    await asyncio.to_thread(write_manifest, folder, manifest)


async def restore(
    settings: ImagingSourceSettings, folder: Path, manifest: BackupManifest
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
        async for sha256 in _copied(index, folder / FILES, settings.folder / FILES):
            yield sha256
        await database.write(rows)
    finally:
        await database.close()


async def _files(index: Reader) -> AsyncIterator[tuple[str, int]]:
    """SHA-256 and size of every file that an instance has, by digest."""
    after = ""
    while rows := await index.fetch(_FILES_OF, after=after):
        for sha256, size in rows:
            yield sha256, size
        after = rows[-1][0]


async def _copied(index: Path, source: Path, target: Path) -> AsyncIterator[tuple[str, int, bool]]:
    files = await asyncio.to_thread(ContentFiles, target)
    for sha256, size in contents_of(index):
        yield sha256, size, await asyncio.to_thread(_copy, source, files, sha256, size)


def _copy(source: Path, target: ContentFiles, sha256: str, size: int) -> bool:
    """Copy one file unless it is whole there; False when the source has none that is whole."""
    kept = target.path(sha256)
    if _is_whole(kept, sha256):
        return True
    kept.unlink(missing_ok=True)
    try:
        incoming = target.new(max_bytes=size)
        try:
            with (source / sha256[:2] / f"{sha256}.dcm").open("rb") as file:
                while octets := file.read(_CHUNK):
                    incoming.write(octets)
            spooled = incoming.finish()
            if spooled.sha256 != sha256:
                return False
            target.place(spooled)
        finally:
            incoming.discard()
    except (FileNotFoundError, TooLong):
        return False
    except Refused as error:
        raise BackupError(f"{target.folder}: {error}") from None
    return True


def _is_whole(path: Path, sha256: str) -> bool:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == sha256
    except FileNotFoundError:
        return False
