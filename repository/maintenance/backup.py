"""Backup and restore of the repository: the index, and every document that it serves.

Blobs are never changed, and stay for the grace time when nothing refers to them any more: what the index of
the backup refers to is there to be copied after it. The folder is a store of files itself, and so can be the
replica from which damaged documents are repaired. A backup into the folder of an earlier one copies only what
is new.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

from sqlalchemy import func, select

from repository.settings import RepositorySettings
from repository.store.blobs import Blobs
from repository.store.documents import doubt_since, find_blobs
from repository.store.tables import MIGRATIONS, metadata, provision
from shared.http.checked import DamagedBlob, StoreUnavailable
from shared.store import snapshot as snapshots
from shared.store.backup import BackupError, BackupManifest, contents_of, write_index, write_manifest
from shared.store.engine import Database, Transaction
from shared.store.opening import open_database
from shared.store.snapshot import open_snapshot

# How far the clocks of two services may be apart.
_SKEW_SECONDS = 600.0

_COUNT_PROVISIONS = select(func.count()).select_from(provision)


async def backup(
    settings: RepositorySettings, source: Blobs, target: Blobs, folder: Path
) -> AsyncIterator[tuple[str, int, bool]]:
    """Back up into `folder`, of which `target` is the store; yields digest, size and whether it is whole
    there.

    Documents that are damaged at the source are left out: the manifest is written all the same, and the
    caller tells of them.
    """
    async with open_snapshot(settings.database_url, folder=settings.folder) as snapshot:
        manifest = await write_index(
            snapshot,
            metadata,
            folder,
            migrations=MIGRATIONS,
            service=settings.service,
            identity=settings.repository_unique_id,
            contents=find_blobs(snapshot),
        )
    for sha256, size in contents_of(folder / manifest.index):
        yield sha256, size, await copied(source, target, sha256, size)
    await asyncio.to_thread(write_manifest, folder, manifest)


async def copied(source: Blobs, target: Blobs, sha256: str, size: int) -> bool:
    """Copy one blob unless it is whole at the target already; False when the source has no whole copy.

    Raises
    ------
    OutOfResources
        The target takes nothing.
    """
    if await target.is_intact(sha256, size):
        return True
    try:
        received = await source.fetch(sha256, size)
    except (DamagedBlob, StoreUnavailable):
        return False
    try:
        moved = await target.adopt(received)
        await target.keep(moved)
    finally:
        await asyncio.to_thread(partial(received.path.unlink, missing_ok=True))
    await asyncio.to_thread(partial(moved.path.unlink, missing_ok=True))
    return True


async def check_empty(database: Database) -> None:
    """Raise `BackupError` unless nothing was ever provided here."""
    [(number,)] = await database.fetch(_COUNT_PROVISIONS)
    if number:
        raise BackupError(
            f"the repository holds {number} submissions; restore into an empty one (another XDSI_DATA and "
            "XDSI_DATABASE_URL)"
        )


async def restore(
    settings: RepositorySettings,
    source: Blobs,
    target: Blobs,
    folder: Path,
    manifest: BackupManifest,
    *,
    registry_taken: float | None = None,
) -> AsyncIterator[tuple[str, int, bool]]:
    """Restore from `folder`, of which `source` is the store; yields digest, size and whether it is whole
    here.

    Documents come first and the rows last, in one transaction: a restore that was broken off is begun anew.

    Parameters
    ----------
    registry_taken
        When the registry's own backup was taken (seconds since 1970), if that is restored too: what was
        registered from about then on is registered again at the next start, which the registry carries out
        once.

    Raises
    ------
    BackupError
        The repository is not empty.
    DatabaseUnavailable
        The service is running.
    """
    if manifest.identity != settings.repository_unique_id:
        raise BackupError(
            f"the backup is of the repository {manifest.identity}; set "
            "XDSI_REPOSITORY__REPOSITORY_UNIQUE_ID to that, under which its documents are registered"
        )
    index = folder / manifest.index
    database = await open_database(settings.database_url, folder=settings.folder, migrations=MIGRATIONS)

    async def rows(transaction: Transaction) -> None:
        await snapshots.load(transaction, metadata, index)
        if registry_taken is not None:
            await doubt_since(transaction, registry_taken - _SKEW_SECONDS)

    try:
        await check_empty(database)
        for sha256, size in contents_of(index):
            yield sha256, size, await copied(source, target, sha256, size)
        await database.write(rows)
    finally:
        await database.close()
