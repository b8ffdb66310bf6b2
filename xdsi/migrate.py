"""`xdsi migrate`: studies of an archive that the imaging source fronts become its own."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from imaging_source.settings import ImagingSourceSettings
from shared.dicom.uids import UID_FORM, is_uid
from xdsi.configuration import load
from xdsi.failures import Failed
from xdsi.listing import counted
from xdsi.options import AsJson, Config
from xdsi.publish import Source

_MEGABYTE = 1_000_000
_PORTION = 256 * 1024**2
_PORTION_SECONDS = 4.0
# Portions that brought nothing, after which a study is given up for this time.
_MOST_IDLE = 2


@dataclass(slots=True)
class MigratedStudy:
    """What became of one study: `whole` when all that its archive lists is kept and was read back; `failed`
    instances with why, and the reason where nothing could be done."""

    study_instance_uid: str
    whole: bool = False
    listed: int = 0
    instances: int = 0
    bytes: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    reason: str = ""


def command(
    archive: Annotated[str, typer.Argument(help="Its name in XDSI_IMAGING_SOURCE__ARCHIVES.")],
    studies: Annotated[
        Path | None,
        typer.Option(
            help="A file of Study Instance UIDs, one a line; all studies of the archive without.",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    dates: Annotated[
        str, typer.Option(metavar="YYYYMMDD-YYYYMMDD", help="Studies of these dates alone.")
    ] = "",
    rate: Annotated[
        float, typer.Option(metavar="MB/S", min=0, help="At most so many megabytes a second; 0 for no limit.")
    ] = 0.0,
    report: Annotated[
        Path,
        typer.Option(help="What became of each study, a line of JSON each; whole ones are not repeated."),
    ] = Path("migration.jsonl"),
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Migrate studies of an archive into the imaging source that fronts it, while both are used.

    Each instance is retrieved, kept durably, and read back; a study is whole when all that the archive lists
    of it is kept. The report names every study; the same command goes on where it was broken off, and tries
    again what failed. Exit status 1 when a study is not whole.

    Example: [bold]xdsi migrate pacs --rate 20[/bold]
    """
    if studies is not None and dates:
        raise typer.BadParameter("--studies and --dates exclude each other")
    settings = load(ImagingSourceSettings, config)
    if archive not in settings.archives:
        raise Failed(
            f"there is no archive {archive} in XDSI_IMAGING_SOURCE__ARCHIVES; there are "
            f"{', '.join(settings.archives) or 'none'}"
        )
    chosen = None if studies is None else list(_uids(studies))
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    no_progress = as_json or not sys.stderr.isatty()
    with Progress(*columns, disable=no_progress, transient=True) as progress:
        task = progress.add_task("studies", total=None)

        def tell(number: int, total: int) -> None:
            progress.update(task, completed=number, total=total)

        outcomes = asyncio.run(_migrated(settings, archive, chosen, dates, rate * _MEGABYTE, report, tell))
    _show(outcomes, report, as_json=as_json)
    if not all(one.whole for one in outcomes):
        raise typer.Exit(1)


def _uids(path: Path) -> Iterator[str]:
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        if (uid := line.strip()) and not uid.startswith("#"):
            if not is_uid(uid):
                raise typer.BadParameter(f"{path}, line {number}: no UID; {UID_FORM}")
            yield uid


async def _migrated(
    settings: ImagingSourceSettings,
    archive: str,
    studies: Sequence[str] | None,
    dates: str,
    bytes_per_second: float,
    report: Path,
    tell: Callable[[int, int], None],
) -> list[MigratedStudy]:
    before = _reported(report)
    outcomes = []
    pace = _Pace(bytes_per_second)
    async with Source.open(settings) as source:
        if studies is None:
            studies = await source.studies_of_archive(archive, dates)
        with report.open("a", encoding="utf-8") as lines:
            _begin_line(report, lines)
            for number, study in enumerate(dict.fromkeys(studies), 1):
                outcome = before.get(study)
                if outcome is None or not outcome.whole:
                    outcome = await _migrate(source, study, pace)
                    lines.write(json.dumps(asdict(outcome)) + "\n")
                    lines.flush()
                    os.fsync(lines.fileno())
                outcomes.append(outcome)
                tell(number, len(studies))
    return outcomes


def _begin_line(report: Path, lines: TextIO) -> None:
    """End a line that was broken off, so that what follows is one of its own."""
    with report.open("rb") as file:
        if not file.seek(0, os.SEEK_END):
            return
        file.seek(-1, os.SEEK_END)
        if file.read(1) != b"\n":
            lines.write("\n")


def _reported(report: Path) -> dict[str, MigratedStudy]:
    """What an earlier run tells of each study, at last; a line that was broken off tells nothing."""
    outcomes: dict[str, MigratedStudy] = {}
    if report.exists():
        for line in report.read_text("utf-8", "replace").splitlines():
            try:
                outcome = MigratedStudy(**json.loads(line))
            except (ValueError, TypeError):
                continue
            outcomes[outcome.study_instance_uid] = outcome
    return outcomes


async def _migrate(source: Source, study: str, pace: _Pace) -> MigratedStudy:
    """Portion by portion, until nothing remains or nothing comes."""
    outcome = MigratedStudy(study)
    idle = 0
    while idle < _MOST_IDLE:
        answer, outcome.reason = await source.migrate(study, pace.portion)
        if outcome.reason:
            return outcome
        _note(outcome, answer)
        await pace.passed(answer["bytes"])
        if outcome.whole or not answer["remaining"]:
            return outcome
        idle = 0 if answer["bytes"] else idle + 1
    return outcome


def _note(outcome: MigratedStudy, answer: dict[str, Any]) -> None:
    outcome.listed, outcome.instances = answer["listed"], answer["kept"]
    outcome.bytes += answer["bytes"]
    outcome.failed, outcome.reason = answer["failed"], answer["reason"]
    if not outcome.listed and not outcome.reason:
        outcome.reason = "no archive lists it"
    outcome.whole = bool(outcome.listed) and outcome.instances == outcome.listed and not outcome.failed


class _Pace:
    """Waits so that no more than so many bytes pass in a second; 0 is no limit."""

    def __init__(self, bytes_per_second: float) -> None:
        self._rate = bytes_per_second
        self._free_at = time.monotonic()

    @property
    def portion(self) -> int:
        """Most bytes that come in one go: those of a few seconds."""
        return max(1, min(_PORTION, int(self._rate * _PORTION_SECONDS))) if self._rate else _PORTION

    async def passed(self, size: int) -> None:
        """So many bytes passed."""
        if self._rate:
            self._free_at = max(self._free_at, time.monotonic() - 1.0) + size / self._rate
            await self.rest(max(0.0, self._free_at - time.monotonic()))

    async def rest(self, seconds: float) -> None:
        """Let `seconds` pass."""
        await asyncio.sleep(seconds)


def _show(outcomes: Sequence[MigratedStudy], report: Path, *, as_json: bool) -> None:
    whole = sum(one.whole for one in outcomes)
    if as_json:
        summary = {
            "studies": len(outcomes),
            "whole": whole,
            "instances": sum(one.instances for one in outcomes),
            "bytes": sum(one.bytes for one in outcomes),
            "not_whole": [asdict(one) for one in outcomes if not one.whole],
            "report": str(report),
        }
        typer.echo(json.dumps(summary, indent=2))
        return
    instances = counted(sum(one.instances for one in outcomes), "instance")
    typer.echo(f"{whole} of {counted(len(outcomes), 'study', 'studies')} whole, {instances}; {report}")
    for one in outcomes:
        if not one.whole:
            why = one.reason or next(iter(one.failed.values()), "not all came; migrate it again")
            typer.echo(f"{one.study_instance_uid}: {one.instances} of {one.listed}: {why}", err=True)
