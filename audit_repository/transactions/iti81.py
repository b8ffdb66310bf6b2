"""The trail is asked: a search by what ITI-81 asks by, as JSON, for this product's own pages and command
line.

Every use is itself an event, kept before the answer leaves (DICOM PS3.15 A.5.3.2, Audit Log Used). The
trail is shown to nodes of this community, to those that have the right, and to users nowhere yet.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from datetime import datetime
from ipaddress import ip_address
from typing import Any

from fastapi import APIRouter, HTTPException, Request
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from audit_repository.domain.record import instant, is_patient, message_of, name_id, patient_term, term
from audit_repository.settings import AuditRepositorySettings
from audit_repository.store.events import Search, Stored, Trail
from audit_repository.store.verification import verify
from shared.audit.events import (
    REFUSED,
    AuditEvent,
    Coded,
    Participant,
    ParticipantObject,
    ihe,
    is_refusal,
    log_used,
)
from shared.audit.refusals import Refusals
from shared.http.door import Doors
from shared.http.json_body import read_json
from shared.http.problem import HttpProblem
from shared.security.authenticator import Authenticator
from shared.security.rights import is_fingerprint, normal_dn

ITI81 = ihe("ITI-81", "Retrieve ATNA Audit Event")
MOST_RECORDS = 500
MOST_OCTETS = 64 * 1024


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
            **_node(self.node),
            standing=self.standing,
            since=_bound(self.since),
            until=_bound(self.until),
            outcome=REFUSED if self.outcome == REFUSED else "",
            failed={"failure": True, "success": False}.get(self.outcome),
            unparsed=self.unparsed,
            before=self.before,
            limit=self.limit,
        )


def _node(named: str) -> dict[str, str]:
    """By which column a node is found: its fingerprint, its address, or else its subject."""
    plain = named.strip()
    if is_fingerprint(octets := plain.replace(":", "").lower()):
        return {"fingerprint": octets}
    try:
        return {"peer": str(ip_address(plain))}
    except ValueError:
        pass
    try:
        return {"subject": normal_dn(plain)}
    except ValueError:
        return {"subject": plain}


def _bound(moment: datetime | None) -> str:
    return "" if moment is None else instant(moment)


def routes(
    settings: AuditRepositorySettings,
    trail: Trail,
    authenticator: Authenticator,
    record: Callable[[AuditEvent], Awaitable[None]],
    refusals: Refusals,
) -> APIRouter:
    """The routes below `/api`; `record` keeps an event of our own in the trail."""
    router = APIRouter(prefix="/api")
    doors = Doors(authenticator=authenticator, refusals=refusals, public_url=settings.public_url)

    async def used(request: Request) -> SearchRequest:
        """What is searched for by a node that may; that it asks is recorded."""
        try:
            caller = await doors.admit(request.scope, f"{request.method} {request.scope['route'].path}")
            wanted = await read_json(request.headers, request.receive, SearchRequest, limit=MOST_OCTETS)
        except HttpProblem as problem:
            raise HTTPException(problem.status, problem.detail) from None
        await record(log_used(caller, ITI81, caller.endpoint))
        return wanted

    @router.post("/search")
    async def search(request: Request) -> dict[str, Any]:
        wanted = await used(request)
        found = await trail.search(wanted.search())
        shown = await asyncio.to_thread(lambda: list(map(show, found)))
        return {"records": shown, "before": found[-1].sequence if found else None}

    @router.get("/records/{sequence}/raw")
    async def raw(sequence: int, request: Request) -> dict[str, Any]:
        await used(request)
        found = await trail.record(sequence)
        if found is None:
            raise HTTPException(404, f"there is no record {sequence}")
        return {**_head(found), "raw": found.record.raw.decode("utf-8", "backslashreplace")}

    @router.post("/verify")
    async def verification(request: Request) -> dict[str, Any]:
        await used(request)
        return asdict(await verify(trail.database, trail.folder))

    return router


# --- how a record is shown ---------------------------------------------------------------------------


def show(item: Stored) -> dict[str, Any]:
    """A record as JSON; an unparsed one with its reason and no more."""
    event = message_of(item.record.raw)
    if event is None:
        return {**_head(item), "reason": item.record.reason}
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


def _head(item: Stored) -> dict[str, Any]:
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
