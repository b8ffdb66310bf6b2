"""Backup and restore: the index as it was at one moment, and every document that it serves.

The index is taken first. Blobs are never changed, and stay for the grace time when nothing refers to them any
more: what the index of the backup refers to is therefore there to be copied, whoever writes on meanwhile. The
manifest comes last; a folder without one is no backup. The folder is a store of files itself, and so can be
the replica from which damaged documents are repaired. A backup into the folder of an earlier one copies only
what is new.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import time
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from sqlalchemy import func, select

from repository.settings import RepositorySettings
from repository.store import snapshot as snapshots
from repository.store.blobs import Blobs, DamagedBlob, StoreUnavailable
from repository.store.documents import count_blobs, find_blobs
from repository.store.tables import provision
from shared.store.engine import Database

FORMAT = 1
MANIFEST = "manifest.json"

_COUNT_PROVISIONS = select(func.count()).select_from(provision)


class BackupError(Exception):
    """The backup or the restore cannot be done; the text says why and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a backup holds; `index` is the file of the rows, `sha256` its digest, `taken` in seconds since
    1970."""

    format: int
    repository_unique_id: str
    taken: float
    index: str
    sha256: str
    rows: int
    documents: int


async def backup(
    settings: RepositorySettings, source: Blobs, target: Blobs, folder: Path
) -> AsyncIterator[tuple[str, int, bool]]:
    """Back up into `folder`, of which `target` is the store; yields digest, size and whether it is whole
    there.

    Documents that are damaged at the source are left out: the manifest is written all the same, and the
    caller tells of them.
    """
    index = f"index-{time.time_ns()}.jsonl"
    async with snapshots.open_snapshot(settings) as snapshot:
        taken = time.time()
        path = folder / index
        with path.open("wb") as file:
            rows = await snapshots.dump(snapshot, file)
            file.flush()
            await asyncio.to_thread(os.fsync, file.fileno())
        number, _ = await count_blobs(snapshot)
        async for sha256, size in find_blobs(snapshot):
            yield sha256, size, await copied(source, target, sha256, size)
    manifest = Manifest(
        format=FORMAT,
        repository_unique_id=settings.repository_unique_id,
        taken=taken,
        index=index,
        sha256=await asyncio.to_thread(_digest, path),
        rows=rows,
        documents=number,
    )
    await asyncio.to_thread(_write, folder, manifest)


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


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a backup, with its index compared with its digest; blocks.

    Raises
    ------
    BackupError
        The folder is no complete backup, or one of another format.
    """
    try:
        manifest = Manifest(**json.loads((folder / MANIFEST).read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        raise BackupError(f"{folder} is no complete backup: it has no readable {MANIFEST}") from None
    if manifest.format != FORMAT:
        raise BackupError(f"{folder} is a backup of format {manifest.format}; this release reads {FORMAT}")
    path = folder / Path(manifest.index).name
    if not path.is_file() or _digest(path) != manifest.sha256:
        raise BackupError(f"{path} is damaged or absent; use another backup")
    return manifest


async def check_empty(database: Database) -> None:
    """Raise `BackupError` unless nothing was ever provided here."""
    [(number,)] = await database.fetch(_COUNT_PROVISIONS)
    if number:
        raise BackupError(
            f"the repository holds {number} submissions; restore into an empty one (another XDSI_DATA and "
            "XDSI_DATABASE_URL)"
        )


async def restore(
    settings: RepositorySettings, source: Blobs, target: Blobs, folder: Path, manifest: Manifest
) -> AsyncIterator[tuple[str, int, bool]]:
    """Restore from `folder`, of which `source` is the store; yields digest, size and whether it is whole
    here.

    Documents come first and the rows last, in one transaction: a restore that was broken off is begun anew.

    Raises
    ------
    BackupError
        The repository is not empty.
    DatabaseUnavailable
        The service is running.
    """
    database = await snapshots.open_empty(settings)
    try:
        await check_empty(database)
        async for sha256, size in _listed(folder / manifest.index):
            yield sha256, size, await copied(source, target, sha256, size)
        await snapshots.load(database, folder / manifest.index)
    finally:
        await database.close()


async def _listed(index: Path) -> AsyncIterator[tuple[str, int]]:
    """Digest and size of every blob that the rows of a dump serve."""
    documents, provided = await asyncio.to_thread(_documents_of, index)
    for unique_id in sorted(provided, key=lambda name: documents[name]):
        yield documents[unique_id]


def _documents_of(index: Path) -> tuple[dict[str, tuple[str, int]], set[str]]:
    documents: dict[str, tuple[str, int]] = {}
    provided = set()
    with index.open("rb") as file:
        for line in file:
            table, row = json.loads(line)
            if table == "document":
                documents[row["unique_id"]] = (row["sha256"], row["size"])
            elif table == "provided_document":
                provided.add(row["unique_id"])
    return documents, provided


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write(folder: Path, manifest: Manifest) -> None:
    """Put the manifest in its place durably, and remove the index of the backup before."""
    coming = folder / f"{MANIFEST}.new"
    with coming.open("w", encoding="utf-8") as file:
        json.dump(asdict(manifest), file, indent=2)
        file.flush()
        os.fsync(file.fileno())
    coming.replace(folder / MANIFEST)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    for old in folder.glob("index-*.jsonl"):
        if old.name != manifest.index:
            old.unlink()
