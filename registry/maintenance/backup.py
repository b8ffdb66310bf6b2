"""Backup and restore of the registry: all that is registered, with patients, policies and the memory for
messages that come again."""

from __future__ import annotations

import asyncio
from pathlib import Path

from sqlalchemy import func, select

from registry.settings import RegistrySettings
from registry.store.tables import METADATA, MIGRATIONS, consent, patient, registry_object
from shared.store import snapshot as snapshots
from shared.store.backup import BackupError, BackupManifest, no_contents, write_index, write_manifest
from shared.store.engine import Transaction
from shared.store.opening import open_database
from shared.store.snapshot import open_snapshot, revision

_COUNTS = tuple(select(func.count()).select_from(table) for table in (registry_object, patient, consent))


async def backup(settings: RegistrySettings, folder: Path) -> BackupManifest:
    """Back up into `folder`, beside the running service."""
    async with open_snapshot(settings.database_url, folder=settings.folder) as snapshot:
        manifest = await write_index(
            snapshot,
            METADATA,
            folder,
            migrations=MIGRATIONS,
            service=settings.service,
            identity=settings.affinity_domain,
            contents=no_contents(),
        )
    await asyncio.to_thread(write_manifest, folder, manifest)
    return manifest


async def restore(settings: RegistrySettings, folder: Path, manifest: BackupManifest) -> None:
    """Restore all rows in one transaction.

    Raises
    ------
    BackupError
        The registry is not empty, or is of another affinity domain or schema than the backup.
    DatabaseUnavailable
        The service is running.
    """
    if manifest.identity != settings.affinity_domain:
        raise BackupError(
            f"the backup is of the affinity domain {manifest.identity}; set XDSI_AFFINITY_DOMAIN to that"
        )

    async def rows(transaction: Transaction) -> None:
        await snapshots.load(transaction, METADATA, folder / manifest.index)

    database = await open_database(settings.database_url, folder=settings.folder, migrations=MIGRATIONS)
    try:
        async with open_snapshot(settings.database_url, folder=settings.folder) as snapshot:
            here = await revision(snapshot)
        if here != manifest.revision:
            raise BackupError(
                f"the backup is of schema {manifest.revision} and this release makes {here}; restore it with "
                "the release that wrote it, then upgrade"
            )
        counts = [(await database.fetch(count))[0][0] for count in _COUNTS]
        if any(counts):
            raise BackupError(
                "the registry is not empty; restore into an empty one (another XDSI_DATA and "
                "XDSI_DATABASE_URL)"
            )
        await database.write(rows)
    finally:
        await database.close()
