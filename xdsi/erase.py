"""`xdsi erase`: images of the imaging source, for ever, with their manifests."""

from __future__ import annotations

import asyncio
import sys
from typing import Annotated

import typer

from imaging_source.settings import ImagingSourceSettings
from shared.dicom.uids import UID_FORM, is_uid
from xdsi.configuration import load
from xdsi.failures import Failed
from xdsi.options import Config
from xdsi.publish import Source


def command(
    studies: Annotated[list[str], typer.Argument(metavar="STUDY_UID…", help="The studies.")],
    reason: Annotated[str, typer.Option(help="Why; stands in the audit trail.")],
    instance: Annotated[
        list[str] | None,
        typer.Option(metavar="SOP_INSTANCE_UID", help="Of one study these instances alone."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    config: Config = None,
) -> None:
    """Erase studies from the imaging source: their manifests are withdrawn from the registry, then the images
    are gone for ever. A study of which something stays is published anew. Each stands in the audit trail.

    Example: [bold]xdsi erase 1.2.840.1 --reason "the patient asked for it"[/bold]
    """
    if instance and len(studies) > 1:
        raise typer.BadParameter("--instance names instances of one study: give that alone")
    for uid in (*studies, *(instance or ())):
        if not is_uid(uid):
            raise typer.BadParameter(f"{uid} is no UID: {UID_FORM}")
    settings = load(ImagingSourceSettings, config)
    what = f"{len(instance)} instances" if instance else f"{len(studies)} studies"
    if not (yes or sys.stdin.isatty()):
        raise typer.BadParameter("nobody can be asked here whether they are sure: say --yes")
    if not yes:
        typer.confirm(f"Erase {what} for ever?", abort=True, err=True)
    if problems := asyncio.run(_erased(settings, studies, instance or [], reason)):
        raise Failed("\n".join(problems))


async def _erased(
    settings: ImagingSourceSettings, studies: list[str], instances: list[str], reason: str
) -> list[str]:
    problems = []
    async with Source.open(settings) as source:
        for study in studies:
            number, problem = await source.erase(study, instances, reason)
            if problem:
                problems.append(f"{study}: {problem}")
            else:
                typer.echo(f"{study}  {number} instances erased")
    return problems
