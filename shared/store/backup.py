"""A backup of one service: a folder with the rows as they were at one moment, what these refer to, and a
manifest.

The rows come first, into one file, which ends with a line for each file or object that they refer to
(`contents`). What the rows refer to is never changed, and stays for long enough to be copied after them,
whoever writes on meanwhile. The manifest comes last: a folder without one is no backup.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from sqlalchemy import MetaData

from shared.store import schema
from shared.store import snapshot as snapshots
from shared.store.folders import sync
from shared.store.snapshot import Snapshot

FORMAT = 2
MANIFEST = "manifest.json"

_CONTENT = "content"
_CONTENT_LINE = b'["content",'


class BackupError(Exception):
    """The backup or the restore cannot be done; the text says why and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupManifest:
    """What a backup holds.

    `identity` is what the service is known by, under which others refer to it; `revision` that of the schema,
    empty where there are none; `taken` seconds since 1970; `index` the file of the rows, `sha256` its digest;
    `contents` how many files or objects belong to it.
    """

    format: int
    service: str
    identity: str
    revision: str
    taken: float
    index: str
    sha256: str
    rows: int
    contents: int


async def no_contents() -> AsyncIterator[tuple[str, int]]:
    """Of rows that refer to no content."""
    return
    yield


async def write_index(
    snapshot: Snapshot,
    metadata: MetaData,
    folder: Path,
    *,
    migrations: str,
    service: str,
    identity: str,
    contents: AsyncIterator[tuple[str, int]],
) -> BackupManifest:
    """Write the rows, and the SHA-256 and size of what they refer to; the manifest is given back and not yet
    written.

    Raises
    ------
    BackupError
        The schema is of a newer release, of which this one knows a part.
    """
    revision, newest = await snapshots.revision(snapshot), schema.latest(migrations)
    if revision > newest:
        raise BackupError(
            f"the schema of the {service.replace('_', '-')} is of a newer release (revision {revision}), and "
            f"this one, which knows them up to {newest}, would leave a part out; back up with "
            "the newer release"
        )
    path = folder / f"index-{time.time_ns()}.jsonl"
    moment = time.time()
    number = 0
    with path.open("wb") as file:
        rows = await snapshots.dump(snapshot, metadata, file)
        async for sha256, size in contents:
            file.write(snapshots.line_of(_CONTENT, {"sha256": sha256, "size": size}))
            number += 1
        file.flush()
        await asyncio.to_thread(os.fsync, file.fileno())
    return BackupManifest(
        format=FORMAT,
        service=service,
        identity=identity,
        revision=revision,
        taken=moment,
        index=path.name,
        sha256=await asyncio.to_thread(_digest, path),
        rows=rows,
        contents=number,
    )


def contents_of(index: Path) -> Iterator[tuple[str, int]]:
    """SHA-256 and size of what the rows of an index refer to, each once; blocks."""
    with index.open("rb") as file:
        for line in file:
            if line.startswith(_CONTENT_LINE):
                content = json.loads(line)[1]
                yield content["sha256"], content["size"]


def read_manifest(folder: Path, service: str) -> BackupManifest:
    """The manifest of a backup of `service`, with its index compared with its digest; blocks.

    Raises
    ------
    BackupError
        The folder is no complete backup, or one of another format or service.
    """
    try:
        values = json.loads((folder / MANIFEST).read_text("utf-8"))
        if values["format"] != FORMAT:
            raise BackupError(
                f"{folder} is a backup of format {values['format']}; this release reads {FORMAT}"
            )
        manifest = BackupManifest(**values)
    except (OSError, ValueError, TypeError, KeyError):
        raise BackupError(f"{folder} is no complete backup: it has no readable {MANIFEST}") from None
    if manifest.service != service:
        raise BackupError(f"{folder} is a backup of the {manifest.service} and not of the {service}")
    path = folder / Path(manifest.index).name
    if not path.is_file() or _digest(path) != manifest.sha256:
        raise BackupError(f"{path} is damaged or absent; use another backup")
    return manifest


def write_manifest(folder: Path, manifest: BackupManifest) -> None:
    """Complete a backup: put the manifest in its place durably, and remove the index of the backup before;
    blocks."""
    coming = folder / f"{MANIFEST}.new"
    with coming.open("w", encoding="utf-8") as file:
        json.dump(asdict(manifest), file, indent=2)
        file.flush()
        os.fsync(file.fileno())
    coming.replace(folder / MANIFEST)
    sync(folder)
    for old in folder.glob("index-*.jsonl"):
        if old.name != manifest.index:
            old.unlink()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
