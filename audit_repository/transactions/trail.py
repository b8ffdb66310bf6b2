"""The trail is asked by this product's own command line, in a JSON of its own (ITI-81 is beside it).

Every use is itself an event, kept before the answer leaves (DICOM PS3.15 A.5.3.2, Audit Log Used). The
trail is shown to nodes of this community, to those that have the right, and to users nowhere yet.
"""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from datetime import datetime
from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from audit_repository.domain.nodes import named_by
from audit_repository.domain.record import (
    RecordState,
    instant,
    is_patient,
    message_of,
    name_id,
    patient_term,
    term,
)
from audit_repository.store.events import Search, StoredRecord
from audit_repository.store.verification import verify
from audit_repository.transactions.log_use import ITI81
from audit_repository.unit import Unit
from shared.audit import patterns
from shared.audit.events import (
    REFUSED,
    AuditEvent,
    Coded,
    Outcome,
    Participant,
    ParticipantObject,
    is_refusal,
)
from shared.http.problem import BadRequest, NotFound
from shared.rest.message import HttpRequest, JsonBody, json_response
from shared.rest.served import ServedRest
from shared.security.caller import Caller
from shared.security.rights import Right

MOST_RECORDS = 500
#: Of the number of a record in decimal digits: numbers have 63 bits.
_DIGITS = 18


class Nothing(BaseModel):
    """An object without members, or no body at all."""


class SearchRequest(BaseModel):
    """What to find; everything that is given must hold."""

    model_config = ConfigDict(extra="forbid")

    patient: str = Field("", max_length=1_000, description="CX of the patient")
    user: str = Field("", max_length=1_000, description="NameID, or any UserID or UserName")
    type: str = Field("", max_length=100, description="EventTypeCode or EventID, for example ITI-18")
    object: str = Field(
        "", max_length=1_000, description="uniqueId, Study Instance UID or another object's id"
    )
    source: str = Field("", max_length=1_000, description="AuditSourceID")
    address: str = Field("", max_length=1_000, description="NetworkAccessPointID")
    node: str = Field(
        "",
        max_length=1_000,
        description="the node that delivered the record: its subject DN, the SHA-256 of its certificate, "
        "or its address",
    )
    standing: str = Field(
        "",
        pattern="^(|proved|claimed|mismatched|unknown)$",
        description="whether the record's source is the node that delivered it",
    )
    outcome: str = Field(
        "", pattern="^(|success|failure|refused)$", description="success, failure, refused or empty"
    )
    since: AwareDatetime | None = Field(None, description="EventDateTime from here on")
    until: AwareDatetime | None = Field(None, description="EventDateTime before this")
    unparsed: bool = Field(False, description="only records that could not be read")
    before: int = Field(2**62, ge=1, le=2**62, description="only records below this sequence: the next page")
    limit: int = Field(100, ge=1, le=MOST_RECORDS, description="most records in the answer")

    def search(self) -> Search:
        """As the store is asked."""
        return Search(
            patient=term(patient_term(self.patient)),
            user=term(self.user),
            type=term(self.type),
            object=term(self.object),
            source=term(self.source),
            address=term(self.address),
            **named_by(self.node),
            standing=self.standing,
            since=_bound(self.since),
            until=_bound(self.until),
            outcome=REFUSED if self.outcome == REFUSED else "",
            failed={"failure": True, "success": False}.get(self.outcome),
            unparsed=self.unparsed,
            before=self.before,
            limit=self.limit,
        )


def _bound(moment: datetime | None) -> str:
    return "" if moment is None else instant(moment)


# --- the three ---------------------------------------------------------------------------------------


async def search(unit: Unit, request: SearchRequest) -> dict[str, Any]:
    """Find records, the latest first."""
    await unit.used(_use(unit.caller))
    records = await unit.parts.trail.search(request.search())
    shown = await asyncio.to_thread(lambda: list(map(show, records)))
    return {"records": shown, "before": records[-1].sequence if records else None}


async def raw(unit: Unit, sequence: int) -> dict[str, Any]:
    """The octets of one record, as they came."""
    record = await unit.parts.trail.record(sequence)
    if record is None:
        raise NotFound(f"there is no record {sequence}")
    await unit.used(_use(unit.caller))
    return {**_head(record), "raw": record.record.raw.decode("utf-8", "backslashreplace")}


async def verification(unit: Unit, _: Nothing) -> dict[str, Any]:
    """Verify the chain of the whole trail, and its signatures."""
    await unit.used(_use(unit.caller))
    return asdict(await verify(unit.parts.trail.database, unit.parts.trail.folder))


async def decode_sequence(request: HttpRequest) -> int:
    """Which record is asked for."""
    text = request.parameters["sequence"]
    if not text.isascii() or not text.isdecimal() or len(text) > _DIGITS:
        raise BadRequest("the number of a record is needed")
    return int(text)


def audit(_: Any, __: Any, caller: Caller, outcome: Outcome) -> tuple[AuditEvent, ...]:
    """Describe a use that failed; its beginning is recorded before anything is found."""
    return (_use(caller, outcome),)


def _use(caller: Caller, outcome: Outcome = Outcome.SUCCESS) -> AuditEvent:
    return patterns.log_used(ITI81, caller, caller.endpoint, outcome)


# --- how a record is shown ---------------------------------------------------------------------------


def show(item: StoredRecord) -> dict[str, Any]:
    """A record as JSON; an unparsed one with its reason and no more."""
    message = None if item.record.state is RecordState.UNPARSED else message_of(item.record.raw)
    if message is None:
        return {**_head(item), "reason": item.record.reason}
    event = message.event
    return {
        **_head(item),
        "time": item.record.event_time,
        "event": _coded(event.event_id),
        "types": list(map(_coded, event.event_types)),
        "action": event.action,
        "outcome": int(event.outcome),
        "description": event.outcome_description,
        "refused": is_refusal(event),
        "source": item.record.source,
        "purposes": list(map(_coded, event.purposes)),
        "participants": list(map(_participant, event.participants)),
        "patients": [patient.object_id for patient in event.objects if is_patient(patient)],
        "objects": [_object(other) for other in event.objects if not is_patient(other)],
    }


def _head(item: StoredRecord) -> dict[str, Any]:
    record = item.record
    return {
        "sequence": item.sequence,
        "received": record.received,
        "peer": record.peer,
        "subject": record.subject,
        "fingerprint": record.fingerprint,
        "standing": record.standing.value,
        "state": record.state.value,
    }


def _coded(code: Coded) -> dict[str, str]:
    return {"code": code.code, "system": code.system, "text": code.text}


def _participant(participant: Participant) -> dict[str, Any]:
    return {
        "user_id": participant.user_id,
        "user_name": participant.user_name,
        "name_id": name_id(participant.user_name or participant.user_id),
        "process": participant.alternative_user_id,
        "requestor": participant.requestor,
        "roles": list(map(_coded, participant.roles)),
        "address": participant.network_id,
    }


def _object(item: ParticipantObject) -> dict[str, Any]:
    return {
        "id": item.object_id,
        "id_type": _coded(item.id_type),
        "role": item.role,
        "name": item.name,
        "query": None if item.query is None else item.query.decode("utf-8", "backslashreplace"),
        "details": {kind: value.decode("utf-8", "backslashreplace") for kind, value in item.details},
        "instances": sum(number for _, number in item.sop_classes),
    }


SERVED: tuple[ServedRest[Any, Any], ...] = (
    ServedRest(
        name="Search the trail",
        routes=("POST /api/search",),
        right=Right.TRAIL,
        decode=JsonBody(SearchRequest),
        handle=search,
        audit=audit,
        event=ITI81,
        encode=json_response,
    ),
    ServedRest(
        name="Record as received",
        routes=("GET /api/records/{sequence}/raw",),
        right=Right.TRAIL,
        decode=decode_sequence,
        handle=raw,
        audit=audit,
        event=ITI81,
        encode=json_response,
    ),
    ServedRest(
        name="Verify the trail",
        routes=("POST /api/verify",),
        right=Right.TRAIL,
        decode=JsonBody(Nothing),
        handle=verification,
        audit=audit,
        event=ITI81,
        encode=json_response,
    ),
)
