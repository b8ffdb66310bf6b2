"""Backup and restore of the trail: its records and signatures, the public key and the published checkpoints.

The key that signs is no part of it: it must not lie beside the rows that it vouches for. Whoever restores a
trail brings the key from where it was copied to.
"""

from __future__ import annotations

import asyncio
import hashlib
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

from sqlalchemy import func, select

from audit_repository.settings import AuditRepositorySettings
from audit_repository.store.signing import PRIVATE, PUBLIC, PUBLISHED, SigningKeyError, public_key_of
from audit_repository.store.tables import MIGRATIONS, audit_record, metadata
from shared.store import snapshot as snapshots
from shared.store.backup import BackupError, BackupManifest, write_index, write_manifest
from shared.store.engine import Transaction
from shared.store.folders import make_folder, sync
from shared.store.opening import open_database
from shared.store.snapshot import open_snapshot, revision

_COUNT = select(func.count()).select_from(audit_record)


async def backup(settings: AuditRepositorySettings, folder: Path) -> BackupManifest:
    """Back up into `folder`, beside the running service.

    Raises
    ------
    BackupError
        The public key of the trail is not there.
    """
    # Checkpoints are published after their rows: those that are copied first are among the rows.
    identity = await asyncio.to_thread(_copied, settings.folder, folder)
    async with open_snapshot(settings.database_url, folder=settings.folder) as snapshot:
        manifest = await write_index(
            snapshot,
            metadata,
            folder,
            service=settings.service,
            identity=identity,
            contents=_nothing(),
        )
    await asyncio.to_thread(write_manifest, folder, manifest)
    return manifest


async def _nothing() -> AsyncIterator[tuple[str, int]]:
    return
    yield


async def restore(settings: AuditRepositorySettings, folder: Path, manifest: BackupManifest) -> None:
    """Restore all rows in one transaction, with the public key and the published checkpoints.

    Raises
    ------
    BackupError
        The signing key of the trail is not there, the trail is not empty, or of another schema.
    DatabaseUnavailable
        The service is running.
    """
    await asyncio.to_thread(_check_key, settings.folder, manifest.identity)

    async def rows(transaction: Transaction) -> None:
        await snapshots.load(transaction, metadata, folder / manifest.index)

    database = await open_database(settings.database_url, folder=settings.folder, migrations=MIGRATIONS)
    try:
        async with open_snapshot(settings.database_url, folder=settings.folder) as snapshot:
            here = await revision(snapshot)
        if here != manifest.revision:
            raise BackupError(
                f"the backup is of schema {manifest.revision} and this release makes {here}; restore it with "
                "the release that wrote it, then upgrade"
            )
        if (await database.fetch(_COUNT))[0][0]:
            raise BackupError(
                "the audit repository is not empty; restore into an empty one (another XDSI_DATA and "
                "XDSI_DATABASE_URL)"
            )
        await database.write(rows)
    finally:
        await database.close()
    await asyncio.to_thread(_copied, folder, settings.folder)


def _copied(source: Path, target: Path) -> str:
    """Copy the public key and what was published; the digest of the key."""
    if not (source / PUBLIC).is_file():
        raise BackupError(f"{source / PUBLIC} is not there: without it nobody can verify the trail")
    make_folder(target)
    for name in (PUBLIC, PUBLISHED):
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)
    sync(target)
    return hashlib.sha256((source / PUBLIC).read_bytes()).hexdigest()


def _check_key(folder: Path, identity: str) -> None:
    path = folder / PRIVATE
    if not path.is_file():
        raise BackupError(
            f"{path} is not there: it is in no backup; copy the signing key of the trail there before, from "
            "where it is kept"
        )
    try:
        public = public_key_of(folder)
    except SigningKeyError as error:
        raise BackupError(str(error)) from None
    if hashlib.sha256(public).hexdigest() != identity:
        raise BackupError(f"{path} is the key of another trail; copy that of the trail in the backup there")
