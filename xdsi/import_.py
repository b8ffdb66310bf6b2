"""`xdsi import`: DICOM files into the imaging source, by STOW-RS as any other sender does (RAD-108)."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import httpx2
import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from imaging_source.domain.stow import reason_of
from imaging_source.settings import ImagingSourceSettings
from shared.dicom.json import MEDIA_TYPE, items, text, texts
from shared.dicom.multipart import APPLICATION_DICOM, closing, content_type, new_boundary, part_head
from shared.dicom.part10 import DicomError, is_dicom, scan, uid_of
from shared.http.client import http_client
from shared.http.problem import detail_of
from xdsi.configuration import load
from xdsi.failures import Failed
from xdsi.listing import counted
from xdsi.options import AsJson, Config, Quiet

_CHUNK = 256 * 1024
_FILES_PER_REQUEST = 100
_BYTES_PER_REQUEST = 256 * 1024**2
_TIMEOUT_SECONDS = 300.0
# Statuses whose answer lists what became of each instance (PS3.18 10.5.3).
_LISTS = frozenset({200, 202, 400, 409, 413, 507})

_SOP_INSTANCE_UID = 0x00080018
_REFERENCED, _FAILED, _OTHER = 0x00081199, 0x00081198, 0x0008119A
_SOP_INSTANCE, _RETRIEVE_URL, _FAILURE_REASON, _WARNING_REASON = (
    0x00081155,
    0x00081190,
    0x00081197,
    0x00081196,
)

Sent = Callable[[int], None]


@dataclass(slots=True)
class Imported:
    """What became of the files: SOP Instance UIDs that are kept now, and files with what is wrong with them.

    `warned` are kept all the same, `refused` are not, `left_out` were not sent.
    """

    stored: set[str] = field(default_factory=set)
    studies: set[str] = field(default_factory=set)
    warned: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)


def command(
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH…", help="DICOM files, or folders of them.", exists=True)
    ],
    to: Annotated[
        str, typer.Option("--to", help="Base URL of the DICOM web services; that of the settings if absent.")
    ] = "",
    as_json: AsJson = False,
    quiet: Quiet = False,
    config: Config = None,
) -> None:
    """Send DICOM files into the imaging source; what is there already stays as it is.

    Files that are not DICOM are left out, and told by name. Ends with status 1 when an instance is refused.

    Example: [bold]xdsi import ./studies[/bold]
    """
    settings = load(ImagingSourceSettings, config)
    files = list(dicom_files(paths))
    if not files:
        raise Failed("no DICOM file there; name files or folders that hold some")
    total = sum(path.stat().st_size for path in files)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    no_progress = as_json or not sys.stderr.isatty()
    with Progress(*columns, disable=no_progress, transient=True) as progress:
        task = progress.add_task(f"{len(files)} files", total=total)
        imported = asyncio.run(
            import_files(settings, files, to=to, sent=lambda size: progress.advance(task, size))
        )
    imported.left_out.update(left_out(paths))
    _tell(imported, as_json=as_json, quiet=quiet)
    if imported.refused:
        raise typer.Exit(1)


def dicom_files(paths: Iterable[Path]) -> Iterator[Path]:
    """The DICOM files at or below `paths`, bare data sets included, each once, by name; no DICOMDIR."""
    return (path for path in _files(paths) if not _why_left_out(path))


def left_out(paths: Iterable[Path]) -> dict[str, str]:
    """The other files at or below `paths`, and why they are not sent."""
    return {str(path): why for path in _files(paths) if (why := _why_left_out(path))}


def _files(paths: Iterable[Path]) -> Iterator[Path]:
    paths_below = (
        path for place in paths for path in (sorted(place.rglob("*")) if place.is_dir() else (place,))
    )
    return (path for path in dict.fromkeys(paths_below) if path.is_file())


def _why_left_out(path: Path) -> str:
    if path.name == "DICOMDIR":
        return "a DICOMDIR is no instance of a study"
    try:
        return "" if is_dicom(path) else "no DICOM: neither DICM at byte 128 nor a data set"
    except OSError as error:
        return f"cannot be read: {error.strerror}"


async def send_files(settings: ImagingSourceSettings, paths: Sequence[Path]) -> int:
    """Send `paths` to the imaging source of `settings`; how many instances it keeps of them now."""
    return len((await import_files(settings, paths)).stored)


async def import_files(
    settings: ImagingSourceSettings, paths: Sequence[Path], *, to: str = "", sent: Sent = lambda size: None
) -> Imported:
    """Send `paths`, several in each request.

    Parameters
    ----------
    to
        Base URL of the receiver; the imaging source of `settings` without it.
    sent
        Called with the number of bytes of each piece that was sent.

    Raises
    ------
    Failed
        The receiver cannot be reached, or does not take anything from us.
    """
    base = to.rstrip("/") or settings.dicomweb_url
    imported = Imported()
    async with http_client(settings.tls, peers=(base,), timeout_seconds=_TIMEOUT_SECONDS) as http:
        for batch in _batches(paths):
            await _send(http, base, batch, imported, sent)
    return imported


def _batches(paths: Sequence[Path]) -> Iterator[list[Path]]:
    batch: list[Path] = []
    size = 0
    for path in paths:
        if batch and (len(batch) == _FILES_PER_REQUEST or size >= _BYTES_PER_REQUEST):
            yield batch
            batch, size = [], 0
        batch.append(path)
        size += path.stat().st_size
    if batch:
        yield batch


async def _send(
    http: httpx2.AsyncClient, base: str, batch: list[Path], imported: Imported, sent: Sent
) -> None:
    answer = await _post(http, base, batch, sent)
    if items(answer, _OTHER) and len(batch) > 1:
        # The answer cannot say of which part it speaks: one file in each request tells.
        for path in batch:
            await _send(http, base, [path], imported, lambda size: None)
        return
    stored, failed = items(answer, _REFERENCED), items(answer, _FAILED)
    warned = [item for item in stored if texts(item, _WARNING_REASON)]
    names = await asyncio.to_thread(_names, batch) if warned or failed else {}
    for item in stored:
        imported.stored.add(text(item, _SOP_INSTANCE))
        imported.studies.add(_study_of(text(item, _RETRIEVE_URL)))
    for item in warned:
        uid = text(item, _SOP_INSTANCE)
        imported.warned[names.get(uid, uid)] = _reason(item, "kept with warnings", _WARNING_REASON)
    for item in failed:
        uid = text(item, _SOP_INSTANCE)
        imported.refused[names.get(uid, uid)] = _reason(item)
    for item in items(answer, _OTHER):
        imported.refused[str(batch[0])] = _reason(item)


def _names(batch: list[Path]) -> dict[str, str]:
    """The names of files by SOP Instance UID; of several with one, all."""
    names: dict[str, str] = {}
    for path in batch:
        try:
            uid = uid_of(scan(path).data_set, _SOP_INSTANCE_UID)
        except (DicomError, OSError):
            continue
        names[uid] = f"{names[uid]}, {path}" if uid in names else str(path)
    return names


def _study_of(url: str) -> str:
    return url.partition("/studies/")[2].partition("/")[0]


def _reason(item: Any, otherwise: str = "refused", tag: int = _FAILURE_REASON) -> str:
    codes = ", ".join(f"{int(code):04X}H" for code in texts(item, tag))
    return f"{reason_of(item) or otherwise} ({codes})"


async def _post(http: httpx2.AsyncClient, base: str, batch: list[Path], sent: Sent) -> Any:
    boundary = new_boundary()
    head = part_head(boundary, [("Content-Type", APPLICATION_DICOM)])
    length = sum(len(head) + path.stat().st_size for path in batch) + len(closing(boundary))
    headers = {
        "Content-Type": content_type(boundary),
        "Content-Length": str(length),
        "Accept": MEDIA_TYPE,
    }
    try:
        answer = await http.post(
            f"{base}/studies", content=_message(batch, head, closing(boundary), sent), headers=headers
        )
    except httpx2.TransportError as error:
        raise Failed(f"no answer from {base}: {error or type(error).__name__}; is it running?") from None
    if answer.status_code not in _LISTS or not answer.headers.get("content-type", "").startswith(MEDIA_TYPE):
        raise Failed(f"{base} answered {answer.status_code}: {detail_of(answer.content)}")
    return answer.json()


async def _message(batch: list[Path], head: bytes, end: bytes, sent: Sent) -> AsyncIterator[bytes]:
    for path in batch:
        yield head
        with path.open("rb") as file:
            while piece := file.read(_CHUNK):
                yield piece
                sent(len(piece))
    yield end


def _tell(imported: Imported, *, as_json: bool, quiet: bool) -> None:
    if as_json:
        typer.echo(
            json.dumps(
                {
                    "stored": len(imported.stored),
                    "studies": sorted(imported.studies),
                    "warned": imported.warned,
                    "refused": imported.refused,
                    "left_out": imported.left_out,
                }
            )
        )
        return
    for study in sorted(imported.studies):
        typer.echo(study)
    if not quiet:
        number = len(imported.stored)
        instances = f"{counted(number, 'instance')} of {counted(len(imported.studies), 'study', 'studies')}"
        typer.echo(f"{instances} {'is' if number == 1 else 'are'} kept")
    for word, reasons in (
        ("left out", imported.left_out),
        ("kept, but", imported.warned),
        ("refused", imported.refused),
    ):
        for what, reason in reasons.items():
            typer.echo(f"{word} {what}: {reason}", err=True)
