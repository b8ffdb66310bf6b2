"""`xdsi demo`: two hospitals and a community on this machine, and studies shared between them."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from xdsi.acts import sharing
from xdsi.acts.members import ROLES, registry_settings
from xdsi.acts.refusals import refuse_clerk, turn_away
from xdsi.acts.studies import Study, present_studies
from xdsi.acts.trail import check_trail
from xdsi.community import NotReady
from xdsi.failures import Failed
from xdsi.stage import Stage
from xdsi.story import DoesNotHold, Story

_WIDTH = 122


def command(
    study_folder: Annotated[
        Path | None,
        typer.Argument(help="Folder with DICOM studies; a small built-in one is made when absent."),
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave everything running and print addresses.")
    ] = False,
) -> None:
    """Share studies between two hospitals: publish, find, retrieve, compare, refuse, audit.

    Starts a community (registry, audit repository), Hospital North (imaging source, repository) and a
    clinician of Hospital South on loopback, each with its own certificates; mutual TLS and signed
    assertions on every step. Ends with status 0 only if every step held.

    Example: [bold]xdsi demo --keep ./my-studies[/bold]
    """
    if study_folder is not None and not study_folder.is_dir():
        raise typer.BadParameter(f"{study_folder} is not a folder", param_hint="STUDY_FOLDER")
    console = Console(highlight=False, width=None if sys.stdout.isatty() else _WIDTH)
    folder = Path(tempfile.mkdtemp(prefix="xdsi-demo-"))
    story = Story(console)
    with ExitStack() as stack:
        if not keep:
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
        stage = Stage(folder)
        stack.callback(stage.stop)
        try:
            _tell(story, stage, study_folder)
        except (DoesNotHold, NotReady, Failed) as error:
            console.print(f"\n[red]The demo did not hold:[/red] {error}")
            raise typer.Exit(1) from None
        story.table()
        if keep:
            _wait(console, stage)
        else:
            _next_steps(console)


def _next_steps(console: Console) -> None:
    program = "xdsi" if shutil.which("xdsi") else os.path.relpath(sys.argv[0])
    steps = (
        (f"{program} demo --keep", "leave it running, and look around"),
        (f"{program} demo FOLDER", "the same with your own DICOM studies"),
        (f"{program} up", "your own community on this machine"),
        (f"{program} doctor", "is this machine ready for more?"),
        ("README.md", "the map of the house"),
    )
    width = max(len(what) for what, _ in steps)
    console.print("\nWhere to go next")
    for what, why in steps:
        console.print(f"  {what:<{width}}    {why}")


def _wait(console: Console, stage: Stage) -> None:
    console.print("\nEverything is running; Ctrl-C ends it.\n")
    table = Table(box=None, pad_edge=False)
    for heading in ("who", "service", "address"):
        table.add_column(heading)
    for who, member in stage.members:
        table.add_row(who, member.service.value, member.url)
    console.print(table)
    console.print(
        f"\nCertificates, data and logs: {stage.folder}\n"
        f"Commands as Hospital South:  xdsi find --config {stage.folder / 'south.toml'} --patient …"
        f" --user dr.south --role RAD-PHYS^^{ROLES}\n"
        f"Commands as the community:   xdsi audit search --config {stage.folder / 'community.toml'}"
    )
    try:
        while True:
            time.sleep(1)
    except KeyboardInterrupt:
        return


# --- the story ---------------------------------------------------------------------------------------


def _tell(story: Story, stage: Stage, study_folder: Path | None) -> None:
    with story.step("Two hospitals and a community start") as step:
        names = [member.service.value for member in stage.start()]
        step.outcome = ", ".join(names)
    studies = present_studies(story, stage, study_folder)
    asyncio.run(_shared(story, stage, studies))


async def _shared(story: Story, stage: Stage, studies: Sequence[Study]) -> None:
    from consumer.domain.clinician import Clinician
    from shared.ebrim.identifiers import CX
    from shared.ebrim.model import Code

    radiologist = Clinician(
        name_id="dr.south",
        roles=(Code("RAD-PHYS", ROLES, "Radiologist"),),
        organization="Hospital South",
        organization_ids=("urn:oid:2.999.8",),
    )
    clerk = Clinician(
        name_id="clerk.south",
        roles=(Code("BILLING", ROLES, "Billing clerk"),),
        organization="Hospital South",
        organization_ids=("urn:oid:2.999.8",),
    )
    domain = registry_settings(stage).affinity_domain
    patients = {study.patient_id: str(CX(study.patient_id, domain)) for study in studies}

    await sharing.feed(story, stage, list(patients.values()))
    await sharing.take(story, stage, studies)
    await sharing.publish(story, stage, studies)
    await sharing.permit(story, stage, list(patients.values()), radiologist)
    entries = await sharing.find(story, stage, radiologist, patients, studies)
    for via in ("rad69", "wado-rs"):
        await sharing.retrieve(story, stage, radiologist, entries, studies, via)
    await refuse_clerk(story, stage, clerk, patients, entries)
    await turn_away(story, stage, radiologist, patients)
    await check_trail(story, stage)
