"""Backup and restore of the trail: its records and signatures, the public key and the published checkpoints.

The key that signs is no part of it: it must not lie beside the rows that it vouches for. A restored trail
goes on under the key of its new place, and is verified by both.
"""

from __future__ import annotations

import asyncio
import hashlib
import shutil
from pathlib import Path

from sqlalchemy import func, select

from audit_repository.settings import AuditRepositorySettings
from audit_repository.store.signing import PUBLIC, PUBLISHED, succeed
from audit_repository.store.tables import MIGRATIONS, audit_record, metadata
from shared.store import snapshot as snapshots
from shared.store.backup import BackupError, BackupManifest, no_contents, write_index, write_manifest
from shared.store.engine import Transaction
from shared.store.folders import sync
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
            migrations=MIGRATIONS,
            service=settings.service,
            identity=identity,
            contents=no_contents(),
        )
    await asyncio.to_thread(write_manifest, folder, manifest)
    return manifest


async def restore(settings: AuditRepositorySettings, folder: Path, manifest: BackupManifest) -> None:
    """Restore all rows in one transaction, with the public key and the published checkpoints.

    Raises
    ------
    BackupError
        The trail is not empty, or of another schema than the backup, whose public key is not there.
    DatabaseUnavailable
        The service is running.
    """
    public = await asyncio.to_thread(_public_keys, folder)

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
        # Until the rows are there it can be done again.
        await asyncio.to_thread(_taken_over, folder, settings.folder, public)
        await database.write(rows)
    finally:
        await database.close()


def _copied(source: Path, target: Path) -> str:
    """Copy the public keys and what was published; the digest of the keys."""
    public = _public_keys(source)
    (target / PUBLIC).write_bytes(public)
    _copy_published(source, target)
    return hashlib.sha256(public).hexdigest()


def _taken_over(source: Path, target: Path, public: bytes) -> None:
    succeed(target, public)
    _copy_published(source, target)


def _copy_published(source: Path, target: Path) -> None:
    if (source / PUBLISHED).is_file():
        shutil.copyfile(source / PUBLISHED, target / PUBLISHED)
    sync(target)


def _public_keys(folder: Path) -> bytes:
    try:
        return (folder / PUBLIC).read_bytes()
    except OSError:
        raise BackupError(f"{folder / PUBLIC} is not there: without it nobody can verify the trail") from None
