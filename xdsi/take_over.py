"""`xdsi take-over`: studies of other hospitals into the own archive, or onto media, under own identifiers."""

from __future__ import annotations

import asyncio
import json
import sys
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TextColumn

from consumer.background.taking_over import TakenOver, take_over
from consumer.domain.clinician import Clinician
from consumer.domain.destination import Destination, WrongDestination
from consumer.imaging_document_consumer import open_consumer
from consumer.settings import ConsumerSettings
from consumer.store.take_overs import AtWork, TakeOver, TakeOverOrder, TakeOvers
from shared.imaging.local_identity import LocalIdentity, WrongIdentity
from xdsi.clinician import Organization, Purpose, Role, User, clinician_of
from xdsi.configuration import load
from xdsi.failures import Failed, WrongUsage
from xdsi.library import Told
from xdsi.listing import Column, counted, show
from xdsi.options import AsJson, Config, Quiet

app = typer.Typer()

Number = Annotated[str, typer.Argument(metavar="NUMBER", help="As `xdsi take-over list` shows it.")]

_AT_WORK = "another command works on this order now; wait for it, or end it"
_COLUMNS = (
    Column("state"),
    Column("there"),
    Column("to"),
    Column("ordered"),
    Column("number", is_id=True),
)


@app.command()
def add(
    manifest_id: Annotated[str, typer.Argument(help="uniqueId of the manifest, as `xdsi find` shows it.")],
    to: Annotated[
        str,
        typer.Option(
            help="dicom://AETITLE@host:port or dicoms://… (C-STORE), https://host/dicomweb (STOW-RS), "
            "a folder, or a file that ends with .zip; media have a DICOMDIR."
        ),
    ],
    local_id: Annotated[
        str,
        typer.Option(
            help="Patient ID of the own hospital; needed where an archive takes the study, unless its PIX "
            "manager (XDSI_CONSUMER__PIX_URL) knows exactly one."
        ),
    ] = "",
    local_issuer: Annotated[str, typer.Option(help="Who issued it, Issuer of Patient ID.")] = "",
    local_name: Annotated[str, typer.Option(help="FAMILY^GIVEN as the own hospital has it.")] = "",
    local_birth_date: Annotated[str, typer.Option(help="YYYYMMDD.")] = "",
    local_sex: Annotated[str, typer.Option(help="M, F or O.")] = "",
    local_accession: Annotated[
        str, typer.Option(help="Accession number of the own order of the import.")
    ] = "",
    home: Annotated[
        str, typer.Option(help="homeCommunityId, when `xdsi find` shows that another community has it.")
    ] = "",
    user: User = None,
    role: Role = [],
    purpose: Purpose = "TREAT",
    organization: Organization = [],
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Fetch a study, put it under local identifiers, and store it; the same order again goes on.

    What is replaced stays in each image (Original Attributes Sequence). Ends with status 1 when anything is
    missing.

    Example: [bold]xdsi take-over add 2.25.1001 --to dicom://PACS@127.0.0.1:4242 --local-id L-77[/bold]
    """
    settings = load(ConsumerSettings, config)
    clinician = clinician_of(user, role, purpose, organization)
    destination = _destination(to)
    if not local_id and destination.is_archive and settings.pix_url is not None:
        local_id = asyncio.run(_known_here(settings, clinician, manifest_id, home))
    local = _local(local_id, local_issuer, local_name, local_birth_date, local_sex, local_accession)
    order = _order(manifest_id, home, destination, local)
    _go_on(settings, clinician, _queue(settings).add(order), as_json=as_json)


@app.command("list")
def list_(as_json: AsJson = False, quiet: Quiet = False, config: Config = None) -> None:
    """What was ordered, how far it is, and why something is missing.

    Example: [bold]xdsi take-over list[/bold]
    """
    orders = _queue(load(ConsumerSettings, config)).all()
    if as_json:
        typer.echo(json.dumps([_shown(one) for one in orders]))
        return
    if quiet:
        for one in orders:
            typer.echo(one.order.number)
        return
    rows = [_shown(one) for one in orders]
    show(
        _COLUMNS,
        (
            (
                row["state"],
                f"{row['there']} of {row['total'] or '?'}",
                row["to"],
                row["ordered"],
                row["number"],
            )
            for row in rows
        ),
    )
    for row in rows:
        for uid, reason in row["missing"].items():
            typer.echo(f"{row['number']} missing {uid}: {reason}", err=True)


@app.command()
def retry(
    number: Number,
    user: User = None,
    role: Role = [],
    purpose: Purpose = "TREAT",
    organization: Organization = [],
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Go on with an order: what is at its destination is not brought again.

    Example: [bold]xdsi take-over retry 3f2a9c11d0e4 --user dr.roe[/bold]
    """
    settings = load(ConsumerSettings, config)
    clinician = clinician_of(user, role, purpose, organization)
    _go_on(settings, clinician, _ordered(settings, number), as_json=as_json)


@app.command()
def forget(number: Number, as_json: AsJson = False, config: Config = None) -> None:
    """Remove an order from the list, and what was fetched for it; what is at its destination stays there.

    Example: [bold]xdsi take-over forget 3f2a9c11d0e4[/bold]
    """
    settings = load(ConsumerSettings, config)
    order = _ordered(settings, number)
    try:
        with order.locked():
            _queue(settings).forget(order)
    except AtWork:
        raise Failed(_AT_WORK) from None
    typer.echo(json.dumps({"forgotten": number}) if as_json else f"forgot {number}")


def _queue(settings: ConsumerSettings) -> TakeOvers:
    return TakeOvers(settings.data / "take-overs")


def _ordered(settings: ConsumerSettings, number: str) -> TakeOver:
    order = _queue(settings).find(number)
    if order is None:
        raise Failed(f"there is no order {number!r}; `xdsi take-over list` shows those that there are")
    return order


def _local(
    patient_id: str, issuer: str, name: str, birth_date: str, sex: str, accession_number: str
) -> LocalIdentity | None:
    values = (patient_id, issuer, name, birth_date, sex, accession_number)
    if not any(values):
        return None
    try:
        return LocalIdentity(
            patient_id=patient_id,
            issuer=issuer,
            name=name,
            birth_date=birth_date,
            sex=sex,
            accession_number=accession_number,
        )
    except WrongIdentity as error:
        raise WrongUsage(f"{error}: --local-id and its neighbours") from None


def _destination(to: str) -> Destination:
    try:
        return Destination.of(to)
    except WrongDestination as error:
        raise WrongUsage(f"--to is no destination; {error}") from None


async def _known_here(
    settings: ConsumerSettings, clinician: Clinician | None, manifest_id: str, home: str
) -> str:
    """The only id that the PIX manager knows here for the patient of a manifest (ITI-83)."""
    with Told():
        async with open_consumer(settings, clinician) as consumer:
            entry = await consumer.entry(manifest_id, home_community_id=home)
            ids = await consumer.local_ids(entry.patient_id)
    if len(ids) != 1:
        what = f"several ids of this patient: {', '.join(ids)}" if ids else "no id of this patient"
        raise Failed(f"the PIX manager knows {what}; look them up, and order again with --local-id")
    typer.echo(f"as patient {ids[0]} of the own hospital, its PIX manager says", err=True)
    return ids[0]


def _order(
    manifest_id: str, home: str, destination: Destination, local: LocalIdentity | None
) -> TakeOverOrder:
    if destination.is_archive and local is None:
        raise WrongUsage(
            "--local-id is needed: the ids of another hospital would mix up patients in an archive of ours"
        )
    return TakeOverOrder(
        manifest_id=manifest_id,
        home_community_id=home,
        destination=destination.text,
        local=local,
        ordered=datetime.now(UTC),
    )


def _go_on(
    settings: ConsumerSettings, clinician: Clinician | None, order: TakeOver, *, as_json: bool
) -> None:
    result = asyncio.run(_taken_over(settings, clinician, order, quiet=as_json or not sys.stderr.isatty()))
    shown = _shown(order) | {"ended": result.ended}
    if as_json:
        typer.echo(json.dumps(shown))
    else:
        typer.echo(
            f"{order.order.number}: {counted(result.there, 'instance')} of {result.total} at {shown['to']}"
        )
        for uid, reason in result.missing.items():
            typer.echo(f"missing {uid}: {reason}", err=True)
        if result.ended:
            typer.echo(f"{result.ended}; go on with: xdsi take-over retry {order.order.number}", err=True)
    if not result.complete:
        raise typer.Exit(1)


async def _taken_over(
    settings: ConsumerSettings, clinician: Clinician | None, order: TakeOver, *, quiet: bool
) -> TakenOver:
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"))
    with Progress(*columns, disable=quiet, transient=True) as bar:
        steps: dict[str, Any] = {}

        def progress(step: str, done: int, total: int) -> None:
            if step not in steps:
                steps[step] = bar.add_task(step, total=total)
            bar.update(steps[step], completed=done)

        try:
            with Told():
                async with open_consumer(settings, clinician) as consumer:
                    return await take_over(consumer, order, progress=progress)
        except AtWork:
            raise Failed(_AT_WORK) from None


def _shown(one: TakeOver) -> dict[str, Any]:
    outcomes = one.outcomes
    missing = {uid: reason for uid, reason in outcomes.items() if reason}
    return {
        "number": one.order.number,
        "state": str(one.state),
        "manifest_id": one.order.manifest_id,
        "to": one.order.destination,
        "ordered": one.order.ordered.isoformat(timespec="seconds"),
        "total": one.total,
        "there": len(outcomes) - len(missing),
        "missing": missing,
    }
