"""`xdsi reports`: reports that messages brought, what they wait for, and what a person decides about them."""

from __future__ import annotations

import asyncio
import json
from typing import Annotated, Any

import typer

from imaging_source.domain.imaging_reports import ReportState
from imaging_source.settings import ImagingSourceSettings
from shared.dicom.uids import UID_FORM, is_uid
from xdsi.configuration import load
from xdsi.failures import Failed
from xdsi.listing import Column, show
from xdsi.options import AsJson, Config, Quiet
from xdsi.publish import Source

_LIMIT = 1000
_COLUMNS = (
    Column("report", is_id=True),
    Column("study", is_id=True),
    Column("state"),
    Column("document", is_id=True),
    Column("why"),
)


def command(
    studies: Annotated[
        list[str] | None, typer.Argument(metavar="[STUDY_UID…]", help="Reports of these; all without.")
    ] = None,
    pending: Annotated[
        bool, typer.Option("--pending", help="What waits, was refused, or is set aside.")
    ] = False,
    undecided: Annotated[
        bool, typer.Option("--undecided", help="What does not go by itself: somebody has to decide.")
    ] = False,
    accept: Annotated[
        list[str] | None,
        typer.Option(
            metavar="REPORT", help="It is of its study's patient, whatever the message says; or of --study."
        ),
    ] = None,
    study: Annotated[
        str, typer.Option(metavar="STUDY_UID", help="The study that an accepted report is of.")
    ] = "",
    retry: Annotated[list[str] | None, typer.Option(metavar="REPORT", help="Try a report again now.")] = None,
    withdraw: Annotated[
        list[str] | None,
        typer.Option(metavar="REPORT", help="Register a report no more; its entry is deprecated (ITI-57)."),
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    config: Config = None,
) -> None:
    """Show reports that came by HL7, where they are registered, and what they wait for.

    A report is registered beside the manifest of its study as soon as that is. One that names another patient
    than its study is set aside: it is registered nowhere until it is accepted or withdrawn here, or comes
    again for the right patient. Exit status 1 when something could not be done.

    Example: [bold]xdsi reports --undecided[/bold]
    """
    for uid in (*(studies or ()), *([study] if study else ())):
        if not is_uid(uid):
            raise typer.BadParameter(f"{uid} is no UID: {UID_FORM}")
    if study and not accept:
        raise typer.BadParameter("--study says of which study an accepted report is; name it with --accept")
    if undecided and studies:
        raise typer.BadParameter("--undecided tells of all studies; name none with it")
    states = (ReportState.WAITING, ReportState.REFUSED) if pending else tuple(ReportState)
    question = {"states": [*map(str, states)], "limit": _LIMIT, "for_persons": undecided}
    orders = [
        *(("accept", one) for one in accept or ()),
        *(("retry", one) for one in retry or ()),
        *(("withdraw", one) for one in withdraw or ()),
    ]
    settings = load(ImagingSourceSettings, config)
    reports, problems = asyncio.run(_work(settings, studies or [], question, orders, study))
    if as_json:
        typer.echo(json.dumps(reports, indent=2))
    elif quiet:
        for each in reports:
            typer.echo(each["report_id"])
    else:
        show(_COLUMNS, map(_row, reports))
    if problems:
        raise Failed("\n".join(problems))


def _row(report: dict[str, Any]) -> tuple[str, ...]:
    return (
        report["report_id"],
        report["study_instance_uid"],
        report["state"],
        report["document_unique_id"],
        report["explanation"],
    )


async def _work(
    settings: ImagingSourceSettings,
    studies: list[str],
    question: dict[str, Any],
    orders: list[tuple[str, str]],
    study: str,
) -> tuple[list[dict[str, Any]], list[str]]:
    """The reports as they are afterwards, and what could not be done."""
    async with Source.open(settings) as source:
        problems = []
        for order, report_id in orders:
            if problem := await source.decide_report(order, report_id, study if order == "accept" else ""):
                problems.append(f"{report_id}: {problem}")
        listed = [await source.reports(question | {"study_instance_uid": each}) for each in studies or [""]]
        return [report for of_one in listed for report in of_one], problems
