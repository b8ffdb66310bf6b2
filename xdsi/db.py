"""`xdsi db`: databases and documents upgraded, backed up, restored and verified."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

import imaging_source.maintenance.scrub as instance_scrub
from imaging_source.settings import ImagingSourceSettings
from imaging_source.store.stores import open_contents
from repository.maintenance.scrub import scrub
from repository.settings import RepositorySettings
from repository.store.documents import count_blobs
from repository.store.integrity import Integrity
from repository.store.stores import open_blobs, open_replica
from shared.audit.recorder import AuditUnavailable
from shared.errors import OutOfResources
from shared.store.backup import BackupError
from shared.store.failures import DatabaseError
from shared.store.mirror import Mirrored
from shared.store.objects import ObjectsUnavailable
from shared.store.scrub import Finding, Report
from shared.store.snapshot import open_reader
from xdsi import copies, object_copies, schemas, tiers
from xdsi.configuration import load
from xdsi.copies import Copied
from xdsi.failures import Failed
from xdsi.listing import counted
from xdsi.options import AsJson, Config
from xdsi.progress import progress
from xdsi.recording import recording
from xdsi.services import Service

app = typer.Typer(help="Upgrade, back up, restore and verify databases and documents.")
app.command(name="tiers")(tiers.tiers)
app.command(name="warm")(tiers.warm)

Folder = Annotated[Path, typer.Argument(help="Folder of the backup.", file_okay=False)]
Of = Annotated[
    list[Service] | None,
    typer.Option("--service", help="This service alone; may be repeated. All whose data are here without."),
]

Result = TypeVar("Result")

# What has files beside its rows, and what they are.
_CONTENTS = {Service.REPOSITORY: "document", Service.IMAGING_SOURCE: "instance"}


@app.command()
def upgrade(service: Of = None, as_json: AsJson = False, config: Config = None) -> None:
    """Bring the database schemas of the services up to date.

    A service does so itself when it starts; this is for doing it before. On PostgreSQL a running service
    waits meanwhile, on SQLite it must be stopped. Exit status 1 when a schema is of a newer release: it is
    left as it is.

    Example: [bold]xdsi db upgrade --service registry[/bold]
    """
    upgrades = _run(_upgrade(config, service or []))
    _show(
        as_json,
        {one.service: {"before": one.before, "after": one.after} for one in upgrades},
        [f"{one.service}: {one}" for one in upgrades],
    )


@app.command()
def verify(
    service: Of = None,
    rate: Annotated[float, typer.Option(min=0, help="Most MB read in a second; 0 is no limit.")] = 0,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Read every document and every instance and compare it with its digest; beside the running services.

    Damage is recorded in the audit trail. Documents are repaired from XDSI_REPLICA_URL when that is set; an
    instance is repaired when it is sent again. Exit status 1 when something stays damaged or could not be
    read.

    Example: [bold]xdsi db verify --rate 50[/bold]
    """
    reports = _run(_verified(config, service or [], rate * 1e6))
    shown = {f"{_CONTENTS[name]}s": _shown(report) for name, report in reports.items()}
    _show(
        as_json,
        shown.pop("documents", {}) | shown,
        [line for name, report in reports.items() for line in _report_lines(_CONTENTS[name], report)],
    )
    if not all(report.clean for report in reports.values()):
        raise Failed(
            "something is damaged or could not be read; restore documents from a backup, send instances again"
        )


def _shown(report: Report) -> dict[str, Any]:
    return {
        **{finding.value: count for finding, count in report.counts.items()},
        "bytes": report.bytes,
        "not_whole": [{"sha256": sha256, "finding": finding} for sha256, finding in report.not_whole],
    }


def _report_lines(what: str, report: Report) -> Iterator[str]:
    counts = ", ".join(f"{count} {finding}" for finding, count in report.counts.items())
    yield f"{counted(sum(report.counts.values()), what)}, {report.bytes / 1e6:.1f} MB: {counts}"
    yield from (f"{finding}: {sha256}" for sha256, finding in report.not_whole)


@app.command()
def backup(folder: Folder, service: Of = None, as_json: AsJson = False, config: Config = None) -> None:
    """Back up registry, repository, imaging source and the audit trail, each as it is at one moment; beside
    the running services.

    Each gets a folder of its own: rows, documents, instances. Every document that the registry shows is in
    the repository's part. The key that signs the trail (audit-signing.key) is not copied: it must not lie
    beside what it vouches for. A second backup into the same folder copies only what is new. Exit status 1
    when something is damaged, and left out.

    Example: [bold]xdsi db backup /mnt/backup[/bold]
    """
    copied = _run(_backup(config, service or [], folder))
    _show_copied(copied, as_json, "backed up in", folder)
    if any(one.missing for one in copied):
        raise Failed("something is damaged and not in the backup; xdsi db verify tells more of documents")


@app.command()
def restore(folder: Folder, service: Of = None, as_json: AsJson = False, config: Config = None) -> None:
    """Restore a backup into empty services that are stopped, on SQLite or PostgreSQL as their settings say.

    The trail goes on under the key of its new place. What had no outcome when the backup was taken, or was
    registered after the registry's part was, is asked of the registry at the next start. Exit status 1 when
    something in the backup is damaged; the rest is restored all the same.

    Example: [bold]XDSI_DATA=/srv/new xdsi db restore /mnt/backup[/bold]
    """
    copied = _run(_restore(config, service or [], folder))
    _show_copied(copied, as_json, "restored from", folder)
    if any(one.missing for one in copied):
        raise Failed("something in the backup is damaged")


@app.command("save-objects")
def save_objects(folder: Folder, service: Of = None, as_json: AsJson = False, config: Config = None) -> None:
    """Copy documents and instances that lie in an S3-compatible store into a folder, each compared with its
    digest; beside the running services.

    What is in the folder already is not copied again. Rows are not copied: this is for a database that is
    backed up by its own means (docs/restore-drill.md). Exit status 1 when an object is damaged, and left out.

    Example: [bold]xdsi db save-objects /mnt/backup/objects[/bold]
    """
    _show_mirrored(_run(_mirrored(object_copies.save_objects, config, service, folder)), as_json, "copied")


@app.command("load-objects")
def load_objects(folder: Folder, service: Of = None, as_json: AsJson = False, config: Config = None) -> None:
    """Copy what save-objects put into a folder to the store that the settings name, which may be a new one.

    What is there already is not copied again. Exit status 1 when a file is damaged, and left out.

    Example: [bold]xdsi db load-objects /mnt/backup/objects[/bold]
    """
    _show_mirrored(_run(_mirrored(object_copies.load_objects, config, service, folder)), as_json, "restored")


async def _mirrored(
    copy: Callable[[Service, Path | None, Path], Awaitable[Mirrored | None]],
    config: Path | None,
    selection: list[Service] | None,
    folder: Path,
) -> dict[Service, Mirrored]:
    if other := [service for service in selection or () if service not in object_copies.SERVICES]:
        raise Failed(f"the {other[0]} keeps no objects; {', '.join(object_copies.SERVICES)} do")
    reports = {one: await copy(one, config, folder) for one in selection or object_copies.SERVICES}
    return {service: report for service, report in reports.items() if report is not None}


def _show_mirrored(reports: dict[Service, Mirrored], as_json: bool, done: str) -> None:
    lines = [
        f"{service}: {counted(one.copied, 'object')}, {one.bytes / 1e6:.1f} MB {done}, {one.present} there "
        f"already, {len(one.damaged)} damaged"
        for service, one in reports.items()
    ]
    _show(as_json, {service: asdict(one) for service, one in reports.items()}, lines or ["no objects here"])
    if any(one.damaged for one in reports.values()):
        raise Failed("something is damaged and was left out; xdsi db verify tells more of what is in use")


def _run(work: Coroutine[Any, Any, Result]) -> Result:
    try:
        return asyncio.run(work)
    except (BackupError, DatabaseError, AuditUnavailable, ObjectsUnavailable, OSError) as error:
        raise Failed(str(error)) from None
    except OutOfResources as error:
        raise Failed(error.context) from None


def _show(as_json: bool, document: dict[str, Any], lines: list[str]) -> None:
    sys.stdout.write(json.dumps(document) + "\n" if as_json else "".join(f"{line}\n" for line in lines))


def _show_copied(copied: Sequence[Copied], as_json: bool, done: str, folder: Path) -> None:
    _show(
        as_json,
        {
            one.service: {
                "rows": one.manifest.rows,
                "contents": one.manifest.contents,
                "missing": one.missing,
            }
            for one in copied
        },
        [line for one in copied for line in _lines(one, done, folder)],
    )


def _lines(one: Copied, done: str, folder: Path) -> Iterator[str]:
    what = _CONTENTS.get(one.service)
    whole = one.manifest.contents - len(one.missing)
    contents = f"{counted(whole, what)} and " if what else ""
    yield f"{one.service}: {contents}{counted(one.manifest.rows, 'row')} {done} {folder / one.service}"
    for sha256 in one.missing:
        yield f"{one.service}: not whole, left out: {sha256}"


# --- the work ----------------------------------------------------------------------------------------


async def _upgrade(config: Path | None, services: list[Service]) -> list[schemas.Upgraded]:
    if other := [service for service in services if service not in schemas.SERVICES]:
        raise Failed(f"the {other[0]} keeps no database; {', '.join(schemas.SERVICES)} do")
    return await schemas.upgrade_all(config, services or await _here(config, schemas.SERVICES))


async def _here(config: Path | None, among: Sequence[Service]) -> list[Service]:
    here = await copies.services_here(config, among)
    if not here:
        raise Failed("no service has data here; name the place with XDSI_DATA, XDSI_DATABASE_URL or --config")
    return here


async def _backup(config: Path | None, selection: list[Service], folder: Path) -> list[Copied]:
    services = _ordered(selection) or await _here(config, copies.SERVICES)
    return [await copies.back_up(service, config, folder, progress) for service in services]


async def _restore(config: Path | None, selection: list[Service], folder: Path) -> list[Copied]:
    services = await asyncio.to_thread(copies.services_in, folder, _ordered(selection) or copies.SERVICES)
    restored: list[Copied] = []
    for service in services:
        registry_taken = next(
            (one.manifest.taken for one in restored if one.service is Service.REGISTRY), None
        )
        restored.append(
            await copies.restore(service, config, folder, progress, registry_taken=registry_taken)
        )
    return restored


def _ordered(services: Sequence[Service]) -> list[Service]:
    """The services that are wanted, in the order in which they are copied."""
    if other := [service for service in services if service not in copies.SERVICES]:
        raise Failed(f"the {other[0]} keeps nothing of its own; {', '.join(copies.SERVICES)} do")
    return [service for service in copies.SERVICES if service in services]


async def _verified(
    config: Path | None, selection: list[Service], bytes_per_second: float
) -> dict[Service, Report]:
    if other := [service for service in selection if service not in _CONTENTS]:
        raise Failed(
            f"the {other[0]} keeps rows alone; its database verifies them, there are no files to read"
        )
    services = selection or await copies.services_here(config, list(_CONTENTS)) or [Service.REPOSITORY]
    verify = {Service.REPOSITORY: _documents, Service.IMAGING_SOURCE: _instances}
    return {service: await verify[service](config, bytes_per_second) for service in services}


async def _documents(config: Path | None, bytes_per_second: float) -> Report:
    settings = load(RepositorySettings, config)
    blobs = open_blobs(settings)
    async with (
        open_reader(settings.database_url, folder=settings.folder) as index,
        recording(settings, settings.service) as recorder,
    ):
        integrity = Integrity(blobs, open_replica(settings), recorder)
        _, total = await count_blobs(index)
        return await _counted(scrub(index, blobs, integrity, bytes_per_second=bytes_per_second), total)


async def _instances(config: Path | None, bytes_per_second: float) -> Report:
    settings = load(ImagingSourceSettings, config)
    with closing(await asyncio.to_thread(open_contents, settings)) as files:
        async with (
            open_reader(settings.database_url, folder=settings.folder) as index,
            recording(settings, settings.service) as recorder,
        ):
            total = await instance_scrub.count_bytes(index)
            findings = instance_scrub.scrub(index, files, recorder, bytes_per_second=bytes_per_second)
            return await _counted(findings, total)


async def _counted(findings: AsyncIterator[tuple[str, int, Finding]], total: int) -> Report:
    report = Report()
    with progress("verify", total) as advance:
        async for sha256, size, finding in findings:
            report.add(sha256, size, finding)
            advance(size)
    return report
