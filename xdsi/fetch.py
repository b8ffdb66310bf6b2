"""`xdsi fetch`: the images that a manifest points at."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from consumer.domain.clinician import Clinician
from consumer.domain.study import Delivery, UnsafeManifest, Via
from consumer.imaging_document_consumer import ImagingDocumentConsumer, Retrieval, open_consumer
from consumer.settings import ConsumerSettings
from shared.dicom.kos import Manifest, ManifestError, TooManyReferences
from shared.ebrim.model import DocumentEntry
from shared.errors import Actor, Rejected, XdsError
from shared.faults import SoapFault
from shared.soap.client import PeerError
from xdsi.clinician import Organization, Purpose, Role, User, clinician_of
from xdsi.configuration import load
from xdsi.failures import Failed
from xdsi.listing import Column, counted, show
from xdsi.options import AsJson, Config

_COLUMNS = (
    Column("series"),
    Column("modality"),
    Column("description"),
    Column("instances"),
    Column("uid", is_id=True),
)


def command(
    manifest_id: Annotated[str, typer.Argument(help="uniqueId of the manifest, as `xdsi find` shows it.")],
    to: Annotated[Path, typer.Option(help="Folder for the images; what is there is not fetched again.")],
    home: Annotated[
        str, typer.Option(help="homeCommunityId, when `xdsi find` shows that another community has it.")
    ] = "",
    via: Annotated[Via, typer.Option(help="Transaction by which images are retrieved.")] = Via.RAD69,
    user: User = None,
    role: Role = [],
    purpose: Purpose = "TREAT",
    organization: Organization = [],
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Fetch a manifest (ITI-43) and every instance that it references, by RAD-69 or WADO-RS.

    An interrupted fetch is resumed by the same command. Ends with status 1 when anything is missing.

    Example: [bold]xdsi fetch 2.25.1001 --to ./images --via wado-rs --user dr.roe[/bold]
    """
    settings = load(ConsumerSettings, config)
    clinician = clinician_of(user, role, purpose, organization)
    manifest, result = asyncio.run(_fetch(settings, clinician, manifest_id, home, to, via, quiet=as_json))
    _tell(manifest, result, to, as_json)
    if not result.complete:
        raise typer.Exit(1)


async def _fetch(
    settings: ConsumerSettings,
    clinician: Clinician | None,
    manifest_id: str,
    home: str,
    to: Path,
    via: Via,
    *,
    quiet: bool,
) -> tuple[Manifest, Retrieval]:
    try:
        async with open_consumer(settings, clinician) as consumer:
            entry = await consumer.entry(manifest_id, home_community_id=home)
            manifest = await consumer.manifest(entry)
            return manifest, await _retrieve(consumer, manifest, to, via, entry, quiet=quiet)
    except Rejected as rejected:
        reasons = "; ".join(
            f"{error.code_for(Actor.REPOSITORY)}: {error.context}" for error in rejected.errors
        )
        raise Failed(f"the manifest is not available: {reasons}") from None
    except XdsError as error:
        raise Failed(error.context) from None
    except TooManyReferences as error:
        raise Failed(
            f"manifest {manifest_id} references more than {error.most} instances; "
            "set XDSI_CONSUMER__FETCH_REFERENCES higher to fetch it all the same"
        ) from None
    except (ManifestError, UnsafeManifest) as error:
        raise Failed(f"document {manifest_id} is not a manifest: {error}") from None
    except SoapFault as fault:
        raise Failed(f"the message was refused: {fault.reason}") from None
    except PeerError as error:
        raise Failed(
            f"no answer: {error}; is it running? XDSI_REGISTRY_URL and XDSI_REPOSITORY_URL, or --config, "
            "name who is asked"
        ) from None


async def _retrieve(
    consumer: ImagingDocumentConsumer,
    manifest: Manifest,
    to: Path,
    via: Via,
    entry: DocumentEntry,
    *,
    quiet: bool,
) -> Retrieval:
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"))
    with Progress(*columns, TimeRemainingColumn(), disable=quiet, transient=True) as progress:
        task = progress.add_task("images", total=sum(1 for _ in manifest.instances))

        def told(delivery: Delivery) -> None:
            if not delivery.reason:
                progress.advance(task)

        return await consumer.retrieve(
            manifest,
            to,
            patient_id=entry.patient_id,
            home_community_id=entry.home_community_id,
            via=via,
            on_delivery=told,
        )


def _series(manifest: Manifest) -> list[dict[str, Any]]:
    """The series of a manifest in its order; one that lies in several places once."""
    by_uid: dict[str, dict[str, Any]] = {}
    for one in (series for study in manifest.studies for series in study.series):
        shown = by_uid.setdefault(
            one.series_instance_uid,
            {
                "number": one.number,
                "modality": one.modality,
                "description": one.description,
                "instances": 0,
                "series_instance_uid": one.series_instance_uid,
            },
        )
        shown["instances"] += len(one.instances)
    return list(by_uid.values())


def _tell(manifest: Manifest, result: Retrieval, to: Path, as_json: bool) -> None:
    series = _series(manifest)
    if as_json:
        missing = {one.instance.sop_instance_uid: one.reason for one in result.missing}
        typer.echo(
            json.dumps(
                {
                    "instances": result.instances,
                    "bytes": result.size,
                    "already_there": result.already_there,
                    "missing": missing,
                    "notes": result.notes,
                    "series": series,
                }
            )
        )
        return
    show(_COLUMNS, (tuple(one.values()) for one in series))
    typer.echo(
        f"{counted(result.instances, 'instance')}, {result.size / 1024**2:.1f} MiB, to {to}"
        + (f"; {result.already_there} were there" if result.already_there else "")
    )
    for note in result.notes:
        typer.echo(note, err=True)
    for one in result.missing:
        typer.echo(f"missing {one.instance.sop_instance_uid}: {one.reason}", err=True)
