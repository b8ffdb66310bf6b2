"""`xdsi audit`: search, verify and report the audit trail."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import httpx2
import typer
from rich.console import Console

from audit_repository.domain.accesses import Manner, accesses
from audit_repository.domain.sources import Standing
from audit_repository.settings import AuditRepositorySettings
from shared.http.client import http_client
from xdsi import audit_export, audit_holds
from xdsi.audit_client import Since, Until, Url, base_of, complete, moment, post
from xdsi.audit_tables import (
    show_access,
    show_accesses,
    show_gaps,
    show_records,
    write_accesses,
    write_records,
)
from xdsi.configuration import load
from xdsi.failures import Failed
from xdsi.listing import counted
from xdsi.options import AsJson, Config
from xdsi.set_aside import sent_again

app = typer.Typer(help="Search, verify and report the audit trail.")
app.command(name="export")(audit_export.export)
app.add_typer(audit_holds.app, name="hold")

PAGE = 500
MOST_PLACES = 20
MOST_REPORTED = 20_000
VERIFY_SECONDS = 3_600.0


class OutcomeFilter(StrEnum):
    """How an event ended."""

    SUCCESS = "success"
    FAILURE = "failure"
    REFUSED = "refused"


OfUser = Annotated[str, typer.Option(help="User: NameID, or any UserID or UserName.")]
Node = Annotated[
    str, typer.Option(help="Node that delivered: subject DN, SHA-256 of the certificate, or address.")
]
OfOutcome = Annotated[
    OutcomeFilter | None,
    typer.Option(help="Only events that ended so; refused, by consent or rights, is one way to fail."),
]
AsCsv = Annotated[bool, typer.Option("--csv", help="Print CSV with all columns, for spreadsheets.")]


@app.command()
def search(
    patient: Annotated[str, typer.Option(help="Patient id, bare or as CX.")] = "",
    user: OfUser = "",
    type_: Annotated[
        str, typer.Option("--type", help="Transaction or event code: ITI-18, RAD-69, 110114.")
    ] = "",
    object_: Annotated[str, typer.Option("--object", help="Id of a document, study or other object.")] = "",
    outcome: OfOutcome = None,
    since: Since = "",
    until: Until = "",
    node: Node = "",
    standing: Annotated[
        Standing | None,
        typer.Option(help="Only records whose source is proved, claimed by a node, or another node's."),
    ] = None,
    unparsed: Annotated[bool, typer.Option(help="Only records that could not be read.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="Most records shown, newest first.")] = 100,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    url: Url = "",
    config: Config = None,
) -> None:
    """Show records of the trail, newest first. Looking is itself recorded.

    Example: [bold]xdsi audit search --patient P0001 --type ITI-18 --since 7d[/bold]
    """
    settings = load(AuditRepositorySettings, config)
    criteria = _wanted(
        patient=complete(patient, settings),
        user=user,
        type=type_,
        object=object_,
        outcome=outcome.value if outcome else "",
        since=moment(since, "--since"),
        until=moment(until, "--until"),
        node=node,
        standing=standing.value if standing else "",
        unparsed=unparsed,
    )
    records = asyncio.run(collect(settings, url, criteria, limit))
    if as_json:
        sys.stdout.write(json.dumps(records, ensure_ascii=False, indent=1) + "\n")
    elif as_csv:
        write_records(sys.stdout, records)
    else:
        show_records(records, settings.affinity_domain)


@app.command()
def verify(
    data: Annotated[
        Path | None, typer.Option(help="Verify the files below this folder, of a service that does not run.")
    ] = None,
    export: Annotated[
        Path | None, typer.Option(help="Verify this export instead, of whatever trail.")
    ] = None,
    key: Annotated[
        Path | None, typer.Option(help="Its public key (audit-signing.pub), instead of the one it names.")
    ] = None,
    as_json: AsJson = False,
    url: Url = "",
    config: Config = None,
) -> None:
    """Check that no record was changed, deleted, put in or moved. Exit status 1 when one was.

    Example: [bold]xdsi audit verify[/bold]
    """
    if export is not None:
        load(AuditRepositorySettings, config)
        if problems := list(audit_export.problems_told(export, key)):
            raise Failed("\n".join(problems))
        return
    if data is None:
        report = asyncio.run(verified_by_service(load(AuditRepositorySettings, config), url))
    else:
        report = asyncio.run(_verified(load(AuditRepositorySettings, config, data=data)))
    if as_json:
        sys.stdout.write(json.dumps(report, indent=1) + "\n")
    else:
        _tell(report)
    if report["problems"]:
        raise typer.Exit(1)


@app.command()
def report(
    patient: Annotated[str, typer.Option(help="Patient id, bare or as CX.")],
    since: Since = "90d",
    until: Until = "",
    user: OfUser = "",
    node: Node = "",
    outcome: OfOutcome = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    url: Url = "",
    config: Config = None,
) -> None:
    """Tell who saw, searched for, tried to see or changed the data of a patient.

    What was recorded under an id that was merged into this one is shown with it, not the other way round. The
    records of both sides of an exchange are shown as one. Looking is itself recorded.

    Example: [bold]xdsi audit report --patient P0001 --since 90d[/bold]
    """
    settings = load(AuditRepositorySettings, config)
    criteria = _wanted(
        patient=complete(patient, settings),
        since=moment(since, "--since"),
        until=moment(until, "--until"),
        user=user,
        node=node,
        outcome=outcome.value if outcome else "",
    )
    records = asyncio.run(collect(settings, url, criteria, MOST_REPORTED))
    if len(records) == MOST_REPORTED:
        raise Failed(f"there are more than {MOST_REPORTED} records; give a later --since")
    entries = accesses(records)
    if as_json:
        shown = json.dumps([show_access(access) for access in entries], ensure_ascii=False, indent=1)
        sys.stdout.write(f"{shown}\n")
    elif as_csv:
        write_accesses(sys.stdout, entries)
    elif not entries:
        typer.echo("Nobody touched the data of this patient in that time.")
    else:
        for manner in Manner:
            if of_manner := [access for access in entries if access.manner is manner]:
                typer.echo(f"who {manner.value}")
                show_accesses(of_manner, settings.affinity_domain)


@app.command(name="gaps")
def missing(
    since: Since = "1d",
    until: Until = "",
    silence: Annotated[float, typer.Option(help="Hours that a source may say nothing.", min=0.01)] = 24,
    as_json: AsJson = False,
    url: Url = "",
    config: Config = None,
) -> None:
    """Tell what is not in the trail and should be. Exit status 1 when something is.

    A transaction of which one side alone tells; a source that fell silent, or began anew without having
    ended; a hole in what a sender counts; a clock that runs off. Looking is itself recorded.

    Example: [bold]xdsi audit gaps --since 7d[/bold]
    """
    settings = load(AuditRepositorySettings, config)
    criteria = _wanted(since=moment(since, "--since"), until=moment(until, "--until"), silence_hours=silence)
    gaps = asyncio.run(_gaps(settings, url, criteria))
    if as_json:
        sys.stdout.write(json.dumps(gaps, ensure_ascii=False, indent=1) + "\n")
    elif not gaps:
        typer.echo("no gaps: nothing is missing that these records tell of")
    else:
        show_gaps(gaps)
    if gaps:
        raise typer.Exit(1)


@app.command(name="resend")
def send_again(as_json: AsJson = False, config: Config = None) -> None:
    """Send again the audit records of this machine that the audit repository did not take.

    A service sets aside a record upon which the repository ends the connection again and again
    (docs/decisions/0010). Call this when the repository takes such records now; what is taken is set aside no
    more. Exit status 1 when some are refused again.

    Example: [bold]xdsi audit resend[/bold]
    """
    resent = asyncio.run(sent_again(load(AuditRepositorySettings, config)))
    taken, refused = (list(map(str, files)) for files in (resent.taken, resent.refused))
    if as_json:
        sys.stdout.write(json.dumps({"taken": taken, "refused": refused}, indent=1) + "\n")
    elif not taken and not refused:
        typer.echo("no record is set aside")
    else:
        typer.echo(f"{counted(len(taken), 'record')} sent again and taken")
    if refused:
        raise Failed("\n".join(f"{file}: refused again; it stays there" for file in refused))


# --- what is asked -----------------------------------------------------------------------------------


def _wanted(**criteria: Any) -> dict[str, Any]:
    return {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in criteria.items()
        if value
    }


# --- the repository ----------------------------------------------------------------------------------


async def collect(
    settings: AuditRepositorySettings, url: str, criteria: dict[str, Any], limit: int
) -> list[dict[str, Any]]:
    """At most `limit` records, the newest first."""
    at = base_of(settings, url)
    async with http_client(settings.tls, peers=[at]) as http:
        return [record async for record in _pages(http, at, criteria, limit)]


async def _pages(
    http: httpx2.AsyncClient, at: str, criteria: dict[str, Any], limit: int
) -> AsyncIterator[dict[str, Any]]:
    page = dict(criteria)
    while limit > 0:
        answer = await post(http, f"{at}/api/search", page | {"limit": min(limit, PAGE)})
        if not answer["records"]:
            return
        for record in answer["records"]:
            yield record
        limit -= len(answer["records"])
        page["before"] = answer["before"]


async def _gaps(
    settings: AuditRepositorySettings, url: str, criteria: dict[str, Any]
) -> list[dict[str, Any]]:
    at = base_of(settings, url)
    async with http_client(settings.tls, peers=[at], timeout_seconds=VERIFY_SECONDS) as http:
        gaps: list[dict[str, Any]] = (await post(http, f"{at}/api/gaps", criteria))["gaps"]
    return gaps


async def verified_by_service(settings: AuditRepositorySettings, url: str) -> dict[str, Any]:
    """What the running audit repository finds when it verifies its own trail."""
    at = base_of(settings, url)
    async with http_client(settings.tls, peers=[at], timeout_seconds=VERIFY_SECONDS) as http:
        return await post(http, f"{at}/api/verify", {})


async def _verified(settings: AuditRepositorySettings) -> dict[str, Any]:
    from dataclasses import asdict

    from audit_repository.store.identities import read_backlog
    from audit_repository.store.signing import SigningKeyError
    from audit_repository.store.tables import MIGRATIONS
    from audit_repository.store.verification import verify as verify_trail
    from shared.store.failures import DatabaseError
    from shared.store.opening import open_database

    if not settings.folder.is_dir():
        raise Failed(f"{settings.folder} does not exist; --data names the folder given as XDSI_DATA")
    try:
        database = await open_database(settings.database_url, folder=settings.folder, migrations=MIGRATIONS)
        try:
            await read_backlog(database)
            with Console(stderr=True).status("verifying") as status:
                verification = await verify_trail(
                    database, settings.folder, progress=lambda records: status.update(f"{records:,} records")
                )
        finally:
            await database.close()
    except (DatabaseError, SigningKeyError) as error:
        raise Failed(str(error)) from None
    return asdict(verification)


# --- what verification tells ---------------------------------------------------------------------------


def _tell(report: dict[str, Any]) -> None:
    looked_at = (
        f"{counted(report['records'], 'record')}, {counted(report['checkpoints'], 'signed checkpoint')}"
    )
    _tell_standings(report)
    if report["given_up"]:
        typer.echo(f"given up by retention, by signed certificates: {', '.join(report['given_up'])}")
    if not report["problems"]:
        typer.echo(f"the trail is whole: {looked_at}, nothing changed, deleted or moved")
        return
    for problem in report["problems"]:
        typer.echo(problem, err=True)
    more = f", {report['unlisted']:,} more not listed" if report["unlisted"] else ""
    problems = counted(len(report["problems"]), "problem")
    typer.echo(f"the trail was changed: {problems}{more} in {looked_at}", err=True)


def _tell_standings(report: dict[str, Any]) -> None:
    counts = report["standings"]
    if number := counts[Standing.MISMATCHED]:
        places = ", ".join(map(str, report["mismatched"][:MOST_PLACES]))
        more = f" and {number - MOST_PLACES:,} more" if number > MOST_PLACES else ""
        typer.echo(
            f"not genuine, by a source that is not the node that sent it: {counted(number, 'record')}: "
            f"{places}{more}; xdsi audit search --standing mismatched",
            err=True,
        )
    if number := counts[Standing.CLAIMED]:
        typer.echo(f"named by themselves, of nodes to which no source is bound: {counted(number, 'record')}")
    if number := counts[Standing.UNKNOWN]:
        typer.echo(f"kept before nodes were compared with sources: {counted(number, 'record')}")
