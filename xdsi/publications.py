"""`xdsi publications`: what is published, what waits or failed and why; tried again, or withdrawn."""

from __future__ import annotations

import asyncio
import json
from typing import Annotated, Any

import typer

from imaging_source.settings import ImagingSourceSettings
from imaging_source.store.publications import PublicationState
from shared.dicom.uids import UID_FORM, is_uid
from xdsi.configuration import load
from xdsi.failures import Failed
from xdsi.listing import Column, show
from xdsi.options import AsJson, Config, Quiet
from xdsi.publish import Source

_FAILED = (PublicationState.REFUSED, PublicationState.ABANDONED)
_ENDED = (PublicationState.SUPERSEDED, PublicationState.REPLACED)
_LIMIT = 1000
SET_ASIDE = "set-aside"
_COLUMNS = (
    Column("study", is_id=True),
    Column("state"),
    Column("manifest", is_id=True),
    Column("instance", is_id=True),
    Column("why"),
)


def command(
    studies: Annotated[
        list[str] | None, typer.Argument(metavar="[STUDY_UID…]", help="These studies; all without.")
    ] = None,
    failed: Annotated[bool, typer.Option("--failed", help="What was refused or given up.")] = False,
    pending: Annotated[bool, typer.Option("--pending", help="What waits to be registered.")] = False,
    drifted: Annotated[
        bool,
        typer.Option(
            "--drifted",
            help="What others deprecated or removed, or was withdrawn, and what the drift watch mended; asks"
            " the registry.",
        ),
    ] = False,
    retry: Annotated[bool, typer.Option("--retry", help="Try it again, or publish it anew.")] = False,
    withdraw: Annotated[bool, typer.Option("--withdraw", help="Withdraw it from the registry.")] = False,
    accept: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SOP_INSTANCE_UID",
            help="Decide for an instance that is set aside: a note counts, or its study is its patient's.",
        ),
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    config: Config = None,
) -> None:
    """Show the last publication of each study, and what it waits for; try again or withdraw.

    Instances that are in conflict with their study are shown as set aside: they are kept, and shared with
    nobody until they are accepted, or corrected or rejected where they come from. A withdrawn manifest is
    deprecated in the registry (ITI-57); the images stay in the source. Exit status 1 when something could not
    be done.

    Example: [bold]xdsi publications --failed --retry[/bold]
    """
    if retry and withdraw:
        raise typer.BadParameter("--retry and --withdraw exclude each other")
    if withdraw and not studies:
        raise typer.BadParameter("name the studies that are to be withdrawn")
    if retry and not (studies or failed or pending or drifted):
        raise typer.BadParameter("name studies, or --failed, --pending or --drifted")
    for uid in (*(studies or ()), *(accept or ())):
        if not is_uid(uid):
            raise typer.BadParameter(f"{uid} is no UID: {UID_FORM}")
    states = [
        *(_FAILED if failed else ()),
        *((PublicationState.WAITING,) if pending else ()),
        *((PublicationState.WITHDRAWN, PublicationState.PUBLISHED) if drifted else ()),
    ] or [state for state in PublicationState if state not in _ENDED]
    settings = load(ImagingSourceSettings, config)
    publications, problems = asyncio.run(
        _work(settings, studies or [], states, drifted, retry, withdraw, accept or [])
    )
    if as_json:
        typer.echo(json.dumps(publications, indent=2))
    elif quiet:
        for study in dict.fromkeys(each["study_instance_uid"] for each in publications):
            typer.echo(study)
    else:
        show(_COLUMNS, map(_row, publications))
    if problems:
        raise Failed("\n".join(problems))


def _row(publication: dict[str, Any]) -> tuple[str, ...]:
    return (
        publication["study_instance_uid"],
        publication["state"],
        publication.get("document_unique_id", ""),
        publication.get("sop_instance_uid", ""),
        publication["explanation"] or _drift_of(publication).get("explanation", ""),
    )


def _drift_of(publication: dict[str, Any]) -> dict[str, Any]:
    return publication.get("drift") or {}


def _drifted(publication: dict[str, Any]) -> bool:
    return publication["state"] != PublicationState.PUBLISHED or bool(_drift_of(publication))


async def _work(
    settings: ImagingSourceSettings,
    studies: list[str],
    states: list[PublicationState],
    learn: bool,
    retry: bool,
    withdraw: bool,
    accept: list[str],
) -> tuple[list[dict[str, Any]], list[str]]:
    """The publications as they are afterwards with what is set aside, and what could not be done."""
    question = {"last": True, "learn": learn, "states": states, "limit": _LIMIT}
    async with Source.open(settings) as source:
        problems = [f"{uid}: {problem}" for uid in accept if (problem := await source.accept(uid))]
        publications = _of(studies, await source.publications(question))
        if learn:
            publications = list(filter(_drifted, publications))
        if withdraw:
            problems += [
                f"{study}: {problem}" for study in studies if (problem := await source.withdraw(study))
            ]
        elif retry:
            problems += [
                f"{each['study_instance_uid']}: {problem}"
                for each in publications
                if each["state"] != PublicationState.PUBLISHED
                and (problem := await source.retry(each["publication_id"]))
            ]
        if retry or withdraw:
            touched = studies or [each["study_instance_uid"] for each in publications]
            everything = question | {"learn": False, "states": list(PublicationState)}
            publications = _of(touched, await source.publications(everything))
        aside = [each | {"state": SET_ASIDE} for each in _of(studies, await source.set_aside())]
        return publications + aside, problems


def _of(studies: list[str], publications: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [each for each in publications if not studies or each["study_instance_uid"] in studies]
