"""Record Audit Event [ITI-20], receiving side of the FHIR feed (RESTful ATNA, ATX: FHIR Feed).

One AuditEvent, or many in a batch, of which one that is wrong does not sink the others. What is accepted is
kept as it came; what is not is told why, so that its sender keeps it. Nothing can be changed or removed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Final

from audit_repository.domain.record import Record, RecordState, record_of
from audit_repository.transactions.reading import entries_of_body, resource_of_body
from audit_repository.unit import Unit
from shared.audit.resource_xml import BundleEntry
from shared.audit.structure import Flaw, flaws
from shared.http.problem import BadRequest, Unprocessable
from shared.rest.fhir import (
    Issue,
    OperationOutcome,
    check_either_format,
    in_asked_form,
    outcome,
    resource_octets,
    resource_response,
)
from shared.rest.message import HttpRequest, HttpResponse
from shared.rest.served import ServedRest
from shared.security.rights import Right

MOST_OF_A_BATCH: Final = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """One AuditEvent as it came, or why it is none."""

    octets: bytes
    flaws: Sequence[Flaw] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """Where an AuditEvent stands now, or why it does not; `base` is the address of the interface."""

    base: str
    sequence: int = 0
    flaws: Sequence[Flaw] = ()

    @property
    def location(self) -> str:
        """Its address."""
        return f"{self.base}/AuditEvent/{self.sequence}"


async def decode_resource(request: HttpRequest) -> Sent:
    """One AuditEvent.

    Raises
    ------
    BadRequest, Unprocessable
        It is none; every reason with its place.
    """
    check_either_format(request)
    octets, is_xml = await resource_octets(request)
    if flaws_found := flaws(resource_of_body(octets, is_xml=is_xml)):
        raise Unprocessable("the resource is no AuditEvent of FHIR R4", issues=_issues(flaws_found))
    return Sent(octets=octets)


async def decode_batch(request: HttpRequest) -> tuple[Sent, ...]:
    """The entries of a batch.

    Raises
    ------
    BadRequest
        It is none, or asks for something else than to record AuditEvents.
    """
    check_either_format(request)
    octets, is_xml = await resource_octets(request)
    entries = await asyncio.to_thread(entries_of_body, octets, is_xml=is_xml)
    if entries is None:
        raise BadRequest("a Bundle of type batch is needed, whose entries are AuditEvents")
    if len(entries) > MOST_OF_A_BATCH:
        raise BadRequest(f"a batch has at most {MOST_OF_A_BATCH} entries; send several")
    return await asyncio.to_thread(lambda: tuple(map(_sent, entries)))


def _sent(entry: BundleEntry) -> Sent:
    if entry.resource is None:
        return Sent(octets=b"", flaws=(Flaw("required", "Bundle.entry.resource", "it is needed"),))
    request = entry.request
    if (request.get("method", "POST"), request.get("url", "AuditEvent")) != ("POST", "AuditEvent"):
        return Sent(
            octets=b"", flaws=(Flaw("not-supported", "Bundle.entry.request", "POST AuditEvent alone"),)
        )
    return Sent(octets=entry.octets, flaws=tuple(flaws(entry.resource)))


async def record(unit: Unit, resource: Sent) -> Kept:
    """Keep an AuditEvent durably; one that comes again is the same."""
    (place,) = await record_all(unit, (resource,))
    if place.flaws:
        raise Unprocessable("the AuditEvent cannot be understood", issues=_issues(place.flaws))
    return place


async def record_all(unit: Unit, batch: tuple[Sent, ...]) -> tuple[Kept, ...]:
    """Keep the AuditEvents of a batch, all that are right."""
    received = datetime.now(UTC)
    base = base_of(unit.caller.endpoint)

    def read() -> list[Record | Sequence[Flaw]]:
        return [
            one.flaws
            or _understood(
                record_of(one.octets, node=unit.caller.node, received=received, sources=unit.parts.sources)
            )
            for one in batch
        ]

    read_records = await asyncio.to_thread(read)
    records = [one for one in read_records if isinstance(one, Record)]
    await unit.parts.keep(records)
    places = await unit.parts.trail.places(records) if records else {}
    return tuple(
        Kept(base=base, sequence=places[one.digest])
        if isinstance(one, Record)
        else Kept(base=base, flaws=one)
        for one in read_records
    )


def _understood(record: Record) -> Record | Sequence[Flaw]:
    if record.state is RecordState.PARSED:
        return record
    return (Flaw("value", "AuditEvent", record.reason),)


def base_of(endpoint: str) -> str:
    """The address of the interface, of an address below it."""
    before, fhir, _ = endpoint.partition("/fhir")
    return before + fhir


def _issues(flaws_found: Iterable[Flaw]) -> tuple[Issue, ...]:
    return tuple(Issue(code=one.code, text=one.text, expression=one.expression) for one in flaws_found)


def encode_resource(place: Kept) -> HttpResponse:
    """Where it stands."""
    return HttpResponse(status=HTTPStatus.CREATED, headers={"location": place.location})


def encode_batch(batch: tuple[Kept, ...]) -> HttpResponse:
    """What became of each entry, in their order."""
    bundle = {"resourceType": "Bundle", "type": "batch-response", "entry": list(map(_answered, batch))}
    return resource_response({name: value for name, value in bundle.items() if value != []})


def _answered(place: Kept) -> dict[str, Any]:
    if place.flaws:
        return {"response": {"status": "422 Unprocessable Entity", "outcome": outcome(_issues(place.flaws))}}
    return {"response": {"status": "201 Created", "location": place.location}}


SERVED: tuple[ServedRest[Any, Any], ...] = (
    ServedRest(
        number="ITI-20",
        name="Record Audit Event",
        routes=("POST /fhir/AuditEvent",),
        right=Right.RECORD,
        decode=decode_resource,
        handle=record,
        encode=encode_resource,
        answered=in_asked_form,
        error_form=OperationOutcome,
    ),
    ServedRest(
        number="ITI-20",
        name="Record Audit Event",
        routes=("POST /fhir",),
        right=Right.RECORD,
        decode=decode_batch,
        handle=record_all,
        encode=encode_batch,
        answered=in_asked_form,
        error_form=OperationOutcome,
    ),
)
