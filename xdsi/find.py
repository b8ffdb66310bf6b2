"""`xdsi find`: published studies of a patient."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Annotated

import typer

from consumer.domain.clinician import Clinician
from consumer.domain.studies import DCM, FoundStudy
from consumer.imaging_document_consumer import open_consumer
from consumer.settings import ConsumerSettings
from shared.ebrim.identifiers import is_dtm
from shared.ebrim.model import Code, DocumentEntry, Timestamp
from shared.errors import Actor, Rejected, XdsError
from shared.faults import SoapFault
from shared.soap.client import PeerError
from xdsi.clinician import Organization, Purpose, Role, User, clinician_of
from xdsi.configuration import load
from xdsi.failures import Failed, WrongUsage
from xdsi.listing import Column, show
from xdsi.options import AsJson, Config, Quiet
from xdsi.patient_ids import domain_patient_id

_COLUMNS = (
    Column("date"),
    Column("modality"),
    Column("study"),
    Column("made"),
    Column("accession"),
    Column("manifest", is_id=True),
    Column("home", is_id=True),
)
_DATE = re.compile(r"\d{4}-\d\d(-\d\d)?")


def command(
    patient: Annotated[str, typer.Option(help="Patient id: ID of the affinity domain, or a whole CX.")],
    modality: Annotated[list[str], typer.Option(help="Modality, for example CT; may be repeated.")] = [],
    since: Annotated[str, typer.Option(help="Service begun on or after 2026-09-01 or YYYY[MM[DD]].")] = "",
    before: Annotated[str, typer.Option(help="Service begun before 2026-09-01 or YYYY[MM[DD]].")] = "",
    all_documents: Annotated[bool, typer.Option("--all", help="Not manifests alone.")] = False,
    user: User = None,
    role: Role = [],
    purpose: Purpose = "TREAT",
    organization: Organization = [],
    as_json: AsJson = False,
    quiet: Quiet = False,
    config: Config = None,
) -> None:
    """Find the published studies of a patient by a stored query (ITI-18).

    With XDSI_GATEWAY_URL set, other communities are asked too; ends with status 1 when one did not answer.

    Example: [bold]xdsi find --patient P-1001 --modality CT --user dr.roe --role RAD-PHYS^^2.999.40.1[/bold]
    """
    settings = load(ConsumerSettings, config)
    clinician = clinician_of(user, role, purpose, organization)
    filters: dict[str, object] = {
        "modalities": tuple(Code(each, DCM) for each in modality),
        "service_start_from": service_time("--since", since),
        "service_start_to": service_time("--before", before),
    }
    if all_documents:
        filters["format_codes"] = ()
    patient_id = domain_patient_id(patient, settings.affinity_domain)
    errors: list[XdsError] = []
    entries = asyncio.run(find(settings, clinician, patient_id, filters | {"on_error": errors.append}))
    if as_json:
        typer.echo(json.dumps([asdict(FoundStudy.of(entry)) for entry in entries], indent=2))
    elif quiet:
        for entry in entries:
            typer.echo(entry.unique_id)
    else:
        _show(entries, settings)
    if errors:
        raise Failed(f"this is not all there may be: {_told(errors)}")


def service_time(option: str, text: str) -> Timestamp | None:
    """A time as it is typed: a date or time of ISO 8601, local when it has no zone, or the digits of a DTM.

    Raises
    ------
    WrongUsage
        It is neither, or no date of the calendar.
    """
    if not text:
        return None
    digits = text.replace("-", "") if _DATE.fullmatch(text) else text
    if is_dtm(digits):
        return Timestamp(digits)
    try:
        return Timestamp.of(datetime.fromisoformat(text))
    except (ValueError, OverflowError):
        raise WrongUsage(
            f"{option} {text}: write a time as 2026-09-01, 2026-09-01T09:15Z, or YYYY[MM[DD[hh[mm[ss]]]]]"
        ) from None


async def find(
    settings: ConsumerSettings, clinician: Clinician | None, patient_id: str, filters: dict[str, object]
) -> tuple[DocumentEntry, ...]:
    """The entries, or `Failed` with what the registry or the network said."""
    try:
        async with open_consumer(settings, clinician) as consumer:
            return await consumer.find(patient_id, **filters)
    except Rejected as rejected:
        raise Failed(f"the registry refused the query: {_told(rejected.errors)}") from None
    except SoapFault as fault:
        raise Failed(f"the registry refused the message: {fault.reason}") from None
    except PeerError as error:
        raise Failed(
            f"the registry cannot be asked: {error}; is it running? XDSI_REGISTRY_URL or --config names it"
        ) from None


def _told(errors: Sequence[XdsError]) -> str:
    return "; ".join(f"{error.code_for(Actor.REGISTRY)}: {error.context}" for error in errors)


def _show(entries: tuple[DocumentEntry, ...], settings: ConsumerSettings) -> None:
    if not entries:
        typer.echo("nothing found (or nothing that you may see)")
        return
    shown = [(FoundStudy.of(entry), settings.across(entry.home_community_id)) for entry in entries]
    show(
        _COLUMNS,
        (
            (
                study.date,
                " ".join(study.modalities),
                study.title,
                "on demand" if study.on_demand else "",
                study.accession_number,
                study.manifest_id,
                study.home_community_id if elsewhere else "",
            )
            for study, elsewhere in shown
        ),
    )
