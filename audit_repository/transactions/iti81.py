"""Retrieve ATNA Audit Event [ITI-81]: AuditEvents by what they say (RESTful ATNA; FHIR R4).

Every use is itself an event, kept before the answer leaves. Auditors see the whole trail; a patient sees, at
an address of its own, who used the data of that patient.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final
from urllib.parse import urlencode

from audit_repository.domain.balp import patterned, transactions_of
from audit_repository.domain.parameters import PARAMETERS, Asked, Criterion, Kind, Token
from audit_repository.domain.record import RecordState, instant, is_resource, patient_term, resource_in, term
from audit_repository.domain.sources import Standing
from audit_repository.store.events import StoredRecord
from audit_repository.store.identities import identities
from audit_repository.store.selection import Narrowing, Position, Selection, selected
from audit_repository.transactions.iti20_feed import base_of
from audit_repository.transactions.log_use import ITI81, check_auditor, own_patients, used
from audit_repository.transactions.reading import continuation, refused, search_of
from audit_repository.unit import Unit
from shared.audit.events import AuditEvent, Outcome
from shared.audit.resource import Resource
from shared.http.problem import NotFound
from shared.pages.visitors import Visitor
from shared.rest.fhir import (
    OperationOutcome,
    check_either_format,
    in_asked_form,
    resource_response,
    search_parameters,
)
from shared.rest.message import HttpRequest
from shared.rest.served import ServedRest
from shared.security.caller import Caller
from shared.security.rights import Right
from shared.security.speaker import Speaker

#: Records that one page looks at; beyond them it ends early, and the next goes on.
MOST_SCANNED: Final = 5_000
STANDING: Final = "urn:xdsi:standing"
_LONGEST: Final = 4 * 1024
_DIGITS: Final = 18


class Continued(StrEnum):
    """What is sealed into a link to the next page."""

    SEARCH = "audit search"


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrieval:
    """A search, and its parameters as they came."""

    search: Asked
    parameters: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """AuditEvents of one page, and where the search goes on."""

    events: tuple[dict[str, Any], ...]
    position: Position
    more: bool


# --- what is asked -----------------------------------------------------------------------------------


async def decode_search(request: HttpRequest) -> Retrieval:
    """The parameters of a search.

    Raises
    ------
    BadRequest
        One cannot be read, or is not supported.
    """
    check_either_format(request)
    parameters = await search_parameters(request)
    strict = "handling=strict" in request.headers.get("prefer", "").replace(" ", "")
    if len(octets := urlencode(parameters).encode()) > _LONGEST:
        raise refused("too-long", f"the parameters are longer than {_LONGEST} octets")
    cursor = dict(parameters).get("_cursor", "")
    return Retrieval(
        search=Asked(cursor=cursor) if cursor else search_of(parameters, strict=strict), parameters=octets
    )


async def decode_id(request: HttpRequest) -> int:
    """Which AuditEvent is asked for; 0 is none."""
    check_either_format(request)
    text = request.parameters["id"]
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= _DIGITS else 0


# --- what is done ------------------------------------------------------------------------------------


async def retrieve(unit: Unit, request: Retrieval) -> dict[str, Any]:
    """Find AuditEvents, the latest first."""
    check_auditor(unit.caller, unit.parts.settings.auditor_roles)
    await unit.used(used(unit.caller, search=request.parameters))
    return await _page(unit, request, ())


async def retrieve_own(unit: Unit, request: Retrieval) -> dict[str, Any]:
    """Find the AuditEvents about the patient who asks, the latest first."""
    own = own_patients(unit.caller, unit.parts.settings.patient_roles)
    await unit.used(used(unit.caller, search=request.parameters))
    return await _page(unit, request, own)


async def read(unit: Unit, sequence: int) -> dict[str, Any]:
    """Give one AuditEvent."""
    check_auditor(unit.caller, unit.parts.settings.auditor_roles)
    record = await unit.parts.trail.record(sequence)
    resource = None if record is None else event_of(record)
    if resource is None:
        raise NotFound("there is no AuditEvent of this id")
    await unit.used(used(unit.caller))
    return resource


async def _page(unit: Unit, request: Retrieval, own: tuple[str, ...]) -> dict[str, Any]:
    search, position = _continued(unit, request.search)
    of_whom = search.with_patients([_token(patient_term(one)) for one in own]) if own else search
    page = await find(unit, await with_merged(unit, of_whom), position, own=frozenset(own))
    return _bundle(unit, search, page, first=not position.sequence)


def _continued(unit: Unit, search: Asked) -> tuple[Asked, Position]:
    """What is asked, and from where on: by the link of a page before, or from the newest record on."""
    if not search.cursor:
        return search, Position(upto=unit.parts.trail.sequence)
    parameters, upto, time, sequence = continuation(
        unit.parts.handles, Continued.SEARCH, _holder(unit.caller), search.cursor
    )
    return (
        search_of((name, value) for name, value in json.loads(parameters)),
        Position(upto=int(upto), event_time=time, sequence=int(sequence)),
    )


def _holder(caller: Caller) -> str:
    return f"{caller.endpoint.removesuffix('/_search')} {Visitor.of(caller).holder}"


async def with_merged(unit: Unit, search: Asked) -> Asked:
    """The search, also for ids that were merged into those of the patients it names."""
    return replace(search, criteria=tuple([await _merged(unit, one) for one in search.criteria]))


async def _merged(unit: Unit, criterion: Criterion) -> Criterion:
    if criterion.name != "patient.identifier":
        return criterion
    tokens = dict.fromkeys(criterion.tokens)
    for token in criterion.tokens:
        for patient in await identities(unit.parts.trail.database, term(_cx(token))):
            tokens |= {_token(patient): None}
    return replace(criterion, tokens=tuple(tokens))


def _cx(token: Token) -> str:
    """The patient of a token as the index has it."""
    if token.system and token.system.startswith("urn:oid:"):
        return f"{token.code}^^^&{token.system.removeprefix('urn:oid:')}&ISO"
    return patient_term(token.code)


def _token(patient: str) -> Token:
    identifier, _, authority = patient.partition("^^^&")
    if not authority:
        return Token(None, patient)
    return Token(f"urn:oid:{authority.removesuffix('&ISO')}", identifier)


async def find(unit: Unit, search: Asked, position: Position, *, own: frozenset[str] = frozenset()) -> Found:
    """The AuditEvents of the next page."""
    selection = Selection(
        narrowings=tuple(_narrowings(search)),
        since="" if search.since is None else instant(search.since),
        until="9999" if search.until is None else instant(search.until),
        newest_first=search.newest_first,
        position=position,
    )
    events: list[dict[str, Any]] = []
    scanned = 0
    while scanned < MOST_SCANNED:
        selection = replace(selection, position=position)
        records = await selected(unit.parts.trail.database, selection)
        room = search.count - len(events)
        matching, last = await asyncio.to_thread(_matching, records, search, room, own)
        events += matching
        if last is not None:
            position = replace(position, event_time=last.record.event_time, sequence=last.sequence)
        full = len(events) == search.count
        if full or len(records) < selection.limit:
            more = len(records) == selection.limit or (full and records[-1] is not last)
            return Found(events=tuple(events), position=position, more=more)
        scanned += len(records)
    return Found(events=tuple(events), position=position, more=True)


def _matching(
    records: list[StoredRecord], search: Asked, room: int, own: frozenset[str]
) -> tuple[list[dict[str, Any]], StoredRecord | None]:
    """At most `room` AuditEvents that match, and the last record that was looked at."""
    events: list[dict[str, Any]] = []
    last = None
    for record in records:
        if len(events) == room:
            break
        last = record
        event = event_of(record)
        if event is None or not search.matches(event):
            continue
        if not own:
            events.append(event)
        elif record.record.standing is not Standing.MISMATCHED:
            events.append(_for_the_patient(event))
    return events, last


def _narrowings(search: Asked) -> Iterable[Narrowing]:
    """By what the index finds all that can match, and little else."""
    for criterion in search.criteria:
        parameter = PARAMETERS[criterion.name]
        if not parameter.terms or any(not token.code for token in criterion.tokens):
            continue
        if parameter.kind is Kind.STRING:
            # The index knows cases, the parameter does not.
            continue
        patterns: list[str] = []
        values: list[str] = []
        for token in criterion.tokens:
            values += {term(token.code), term(token.code.removeprefix("urn:oid:"))}
            if "type" in parameter.terms:
                values += transactions_of(token.code)
            if "patient" in parameter.terms:
                values.append(term(_cx(token)))
                if not (token.system and token.system.startswith("urn:oid:")) and "^" not in token.code:
                    patterns.append(f"{term(token.code)}^^^%")
        yield Narrowing(kinds=parameter.terms, values=tuple(values), patterns=tuple(patterns))


# --- what is answered --------------------------------------------------------------------------------


def event_of(item: StoredRecord) -> dict[str, Any] | None:
    """A record as AuditEvent with its id; None when it could not be read."""
    if item.record.state is RecordState.UNPARSED:
        return None
    resource = resource_in(item.record.raw)
    if resource is None:
        return None
    if not is_resource(item.record.raw):
        resource = patterned(resource)
    meta = resource.get("meta")
    meta_of_sender = meta if isinstance(meta, Mapping) else {}
    tags = meta_of_sender.get("tag", ())
    meta_of_ours = {
        "lastUpdated": item.record.received,
        "tag": [
            *(tags if isinstance(tags, list) else ()),
            {"system": STANDING, "code": item.record.standing.value},
        ],
    }
    return {
        "resourceType": "AuditEvent",
        "id": str(item.sequence),
        "meta": {**meta_of_sender, **meta_of_ours},
        **{name: value for name, value in resource.items() if name not in ("resourceType", "id", "meta")},
    }


def _for_the_patient(event: Resource) -> dict[str, Any]:
    """An event as its patient sees it: what was searched by, and further patients, are left out."""
    entities = [
        {name: value for name, value in entity.items() if name not in ("query", "detail", "description")}
        for entity in event.get("entity", ())
        if entity.get("what", {}).get("type") != "Patient"
    ]
    members = {name: value for name, value in event.items() if name not in ("entity", "contained", "text")}
    # What is left is of no profile.
    members["meta"] = {name: value for name, value in event["meta"].items() if name != "profile"}
    return {**members, **({"entity": entities} if entities else {})}


def _bundle(unit: Unit, search: Asked, page: Found, *, first: bool) -> dict[str, Any]:
    address = unit.caller.endpoint.removesuffix("/_search")
    links = [{"relation": "self", "url": f"{address}?{urlencode(search.understood)}"}]
    if page.more:
        position = page.position
        cursor = unit.parts.handles.seal(
            Continued.SEARCH,
            _holder(unit.caller),
            json.dumps(search.understood),
            str(position.upto),
            position.event_time,
            str(position.sequence),
        )
        links.append({"relation": "next", "url": f"{address}?_cursor={cursor}"})
    entries = [
        {
            "fullUrl": f"{base_of(address)}/AuditEvent/{event['id']}",
            "resource": event,
            "search": {"mode": "match"},
        }
        for event in page.events
    ]
    return {
        "resourceType": "Bundle",
        "type": "searchset",
        **({"total": len(entries)} if first and not page.more else {}),
        "link": links,
        **({"entry": entries} if entries else {}),
    }


# --- what is served ----------------------------------------------------------------------------------


def audit(
    request: Retrieval, _: dict[str, Any] | None, caller: Caller, outcome: Outcome
) -> tuple[AuditEvent, ...]:
    """Describe a search that failed; its beginning is recorded before anything is found."""
    return (used(caller, outcome, search=request.parameters),)


def audit_read(_: int, __: dict[str, Any] | None, caller: Caller, outcome: Outcome) -> tuple[AuditEvent, ...]:
    """Describe a reading that failed."""
    return (used(caller, outcome),)


async def decode_nothing(request: HttpRequest) -> None:
    """Nothing but the form of the answer."""
    check_either_format(request)


async def capabilities(unit: Unit, _: None) -> dict[str, Any]:
    """Tell what is served here (CapabilityStatement)."""
    parameters = [{"name": "date", "type": "date"}]
    parameters += [{"name": name, "type": parameter.kind.value} for name, parameter in PARAMETERS.items()]
    return {
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": "2026-11-30",
        "kind": "instance",
        "implementation": {"description": "audit record repository", "url": base_of(unit.caller.endpoint)},
        "fhirVersion": "4.0.1",
        "format": ["json", "xml"],
        "rest": [
            {
                "mode": "server",
                "resource": [
                    {
                        "type": "AuditEvent",
                        "interaction": [{"code": "create"}, {"code": "read"}, {"code": "search-type"}],
                        "searchParam": parameters,
                    }
                ],
                "interaction": [{"code": "batch"}],
            }
        ],
    }


SERVED: tuple[ServedRest[Any, Any], ...] = (
    ServedRest(
        number="ITI-81",
        name="Retrieve ATNA Audit Event",
        routes=("GET /fhir/AuditEvent", "POST /fhir/AuditEvent/_search"),
        right=Right.TRAIL,
        decode=decode_search,
        handle=retrieve,
        audit=audit,
        encode=resource_response,
        answered=in_asked_form,
        error_form=OperationOutcome,
    ),
    ServedRest(
        name="Read AuditEvent",
        routes=("GET /fhir/AuditEvent/{id}",),
        right=Right.TRAIL,
        decode=decode_id,
        handle=read,
        audit=audit_read,
        event=ITI81,
        encode=resource_response,
        answered=in_asked_form,
        error_form=OperationOutcome,
    ),
    ServedRest(
        name="Retrieve own AuditEvents",
        routes=("GET /own/fhir/AuditEvent", "POST /own/fhir/AuditEvent/_search"),
        right=Right.ASK,
        speaker=Speaker.USER,
        decode=decode_search,
        handle=retrieve_own,
        audit=audit,
        event=ITI81,
        encode=resource_response,
        answered=in_asked_form,
        error_form=OperationOutcome,
    ),
    ServedRest(
        name="Capabilities",
        routes=("GET /fhir/metadata",),
        right=None,
        decode=decode_nothing,
        handle=capabilities,
        encode=resource_response,
        answered=in_asked_form,
        error_form=OperationOutcome,
    ),
)
