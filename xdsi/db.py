"""`xdsi db`: the documents of the repository backed up, restored and verified."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from repository import backup as backups
from repository.integrity import Integrity
from repository.scrub import Report, scrub
from repository.settings import RepositorySettings
from repository.store.documents import count_blobs
from repository.store.encoding import Encoding, read_key
from repository.store.files import FileBlobs
from repository.store.snapshot import open_snapshot
from repository.store.stores import open_blobs, open_replica
from shared.audit.forwarder import Forwarder
from shared.audit.recorder import AuditRecorder, AuditUnavailable
from shared.errors import OutOfResources
from shared.store.failures import DatabaseError
from xdsi.cli import Failed

app = typer.Typer(help="Back up, restore and verify the documents of the repository.")

Config = Annotated[Path | None, typer.Option(help="TOML file with settings; the environment wins over it.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object instead of text.")]
Folder = Annotated[Path, typer.Argument(help="Folder of the backup.", file_okay=False)]

Result = TypeVar("Result")


@app.command()
def verify(
    rate: Annotated[float, typer.Option(min=0, help="Most MB read in a second; 0 is no limit.")] = 0,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Read every document and compare it with its digest; beside the running service.

    Damage is recorded in the audit trail, and repaired from XDSI_REPLICA_URL when that is set. Exit status 1
    when a document stays damaged or could not be read.

    Example: [bold]xdsi db verify --rate 50[/bold]
    """
    report = _run(_verify(RepositorySettings.load(config), rate * 1e6))
    counts = {finding.value: count for finding, count in report.counts.items()}
    _show(
        as_json,
        {
            **counts,
            "bytes": report.bytes,
            "not_whole": [{"sha256": sha256, "finding": finding} for sha256, finding in report.not_whole],
        },
        [
            f"{sum(counts.values())} documents, {report.bytes / 1e6:.1f} MB: "
            + ", ".join(f"{count} {name}" for name, count in counts.items()),
            *(f"{finding}: {sha256}" for sha256, finding in report.not_whole),
        ],
    )
    if not report.clean:
        raise Failed("documents are damaged or could not be read; restore them from a backup")


@app.command()
def backup(folder: Folder, as_json: AsJson = False, config: Config = None) -> None:
    """Back up the index and every document, as they are at one moment; beside the running service.

    A second backup into the same folder copies only what is new. Exit status 1 when a document is damaged.

    Example: [bold]xdsi db backup /mnt/backup/repository[/bold]
    """
    missing = _run(_backup(RepositorySettings.load(config), folder))
    manifest = backups.read_manifest(folder)
    _show(
        as_json,
        {"documents": manifest.documents, "rows": manifest.rows, "missing": missing},
        [
            f"{manifest.documents - len(missing)} documents and {manifest.rows} rows in {folder}",
            *(f"not whole, left out: {sha256}" for sha256 in missing),
        ],
    )
    if missing:
        raise Failed("documents are damaged and not in the backup; xdsi db verify tells more")


@app.command()
def restore(folder: Folder, as_json: AsJson = False, config: Config = None) -> None:
    """Restore a backup into an empty repository whose service is stopped.

    What had no outcome when the backup was taken is asked of the registry at the next start. Exit status 1
    when a document of the backup is damaged; the others are restored all the same.

    Example: [bold]XDSI_DATA=/srv/new xdsi db restore /mnt/backup/repository[/bold]
    """
    missing = _run(_restore(RepositorySettings.load(config), folder))
    manifest = backups.read_manifest(folder)
    _show(
        as_json,
        {"documents": manifest.documents, "rows": manifest.rows, "missing": missing},
        [
            f"{manifest.documents - len(missing)} documents and {manifest.rows} rows restored",
            *(f"not whole in the backup: {sha256}" for sha256 in missing),
        ],
    )
    if missing:
        raise Failed("documents of the backup are damaged")


def _run(work: Coroutine[Any, Any, Result]) -> Result:
    try:
        return asyncio.run(work)
    except (backups.BackupError, DatabaseError, AuditUnavailable, OSError) as error:
        raise Failed(str(error)) from None
    except OutOfResources as error:
        raise Failed(error.context) from None


def _show(as_json: bool, found: dict[str, Any], lines: list[str]) -> None:
    sys.stdout.write(json.dumps(found) + "\n" if as_json else "".join(f"{line}\n" for line in lines))


# --- the work ----------------------------------------------------------------------------------------


async def _verify(settings: RepositorySettings, bytes_per_second: float) -> Report:
    blobs, report = open_blobs(settings), Report()
    async with open_snapshot(settings) as index, _recording(settings) as recorder:
        integrity = Integrity(blobs, open_replica(settings), recorder)
        _, total = await count_blobs(index)
        with _progress("verify", total) as advance:
            async for sha256, size, finding in scrub(
                index, blobs, integrity, bytes_per_second=bytes_per_second
            ):
                report.add(sha256, size, finding)
                advance(size)
    return report


async def _backup(settings: RepositorySettings, folder: Path) -> list[str]:
    folder.mkdir(parents=True, exist_ok=True)
    async with open_snapshot(settings) as index:
        _, total = await count_blobs(index)
    copies = backups.backup(settings, open_blobs(settings), _files(settings, folder), folder)
    return await _missing("backup", copies, total)


async def _restore(settings: RepositorySettings, folder: Path) -> list[str]:
    manifest = await asyncio.to_thread(backups.read_manifest, folder)
    if manifest.repository_unique_id != settings.repository_unique_id:
        raise Failed(
            f"the backup is of the repository {manifest.repository_unique_id}; set "
            "XDSI_REPOSITORY__REPOSITORY_UNIQUE_ID to that, under which its documents are registered"
        )
    copies = backups.restore(settings, _files(settings, folder), open_blobs(settings), folder, manifest)
    return await _missing("restore", copies, None)


async def _missing(what: str, copies: AsyncIterator[tuple[str, int, bool]], total: int | None) -> list[str]:
    missing = []
    with _progress(what, total) as advance:
        async for sha256, size, whole in copies:
            advance(size)
            if not whole:
                missing.append(sha256)
    return missing


def _files(settings: RepositorySettings, folder: Path) -> FileBlobs:
    """The store in a backup; encrypted when the repository's own is."""
    keys = [read_key(path) for path in settings.encryption_keys]
    return FileBlobs(folder, Encoding(keys, compress=settings.compress))


@asynccontextmanager
async def _recording(settings: RepositorySettings) -> AsyncIterator[AuditRecorder]:
    """A recorder with a spool of its own: that of the service belongs to its process."""
    own = settings.model_copy(update={"data": settings.folder / "tools"})
    recorder = AuditRecorder(own, settings.service)
    forwarder = Forwarder(own, recorder.spool)
    await forwarder.start()
    try:
        yield recorder
    finally:
        await forwarder.stop()
        await recorder.close()


@contextmanager
def _progress(what: str, total: int | None) -> Iterator[Any]:
    """A bar on standard error when that is a terminal; gives the function that is told of bytes done."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda count: bar.advance(task, count)
