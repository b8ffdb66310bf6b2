"""Legal holds: what must stay of the trail, whatever retention says.

POST /api/holds          {}: all of them
POST /api/holds/add      {"patient", "study", "since", "until", "reason"}: one of the four at least
POST /api/holds/release  {"hold_id", "reason"}

Each change is in the trail, with who made it and why, before it is answered.
"""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from audit_repository.domain.holds import Hold
from audit_repository.domain.record import instant, patient_term, term
from audit_repository.store.retention import holds
from audit_repository.transactions.log_use import ITI81, used
from audit_repository.unit import Unit
from shared.audit import patterns
from shared.audit.events import SECURITY_CONFIGURATION, AuditEvent, Outcome
from shared.http.problem import NotFound, Unprocessable
from shared.rest.message import JsonBody, json_response
from shared.rest.served import ServedRest
from shared.security.caller import Caller
from shared.security.rights import Right


class HoldsRequest(BaseModel):
    """All of them."""


class HoldRequest(BaseModel):
    """What must stay; all that is given must hold of a record."""

    model_config = ConfigDict(extra="forbid")

    patient: str = Field("", max_length=1_000, description="CX of the patient")
    study: str = Field("", max_length=64, description="Study Instance UID, or the id of another object")
    since: AwareDatetime | None = Field(None, description="EventDateTime from here on")
    until: AwareDatetime | None = Field(None, description="EventDateTime before this")
    reason: str = Field(min_length=1, max_length=1_000, pattern=r"\S", description="why")


class ReleaseRequest(BaseModel):
    """Which hold ends, and why."""

    model_config = ConfigDict(extra="forbid")

    hold_id: str = Field(min_length=1, max_length=64)
    reason: str = Field(min_length=1, max_length=1_000, pattern=r"\S", description="why")


async def listed(unit: Unit, _: HoldsRequest) -> dict[str, Any]:
    """All holds, with those that were released."""
    await unit.used(used(unit.caller))
    return {"holds": [asdict(hold) for hold in await holds(unit.parts.trail.database)]}


async def add(unit: Unit, request: HoldRequest) -> dict[str, Any]:
    """Let a hold begin; `given_up` are the months that were given up before."""
    if not (request.patient or request.study or request.since or request.until):
        raise Unprocessable("a hold names a patient, a study or a time; to keep everything set no retention")
    hold = Hold(
        hold_id=f"urn:uuid:{uuid4()}",
        patient=term(patient_term(request.patient)),
        study=term(request.study),
        since=instant(request.since) if request.since else "",
        until=instant(request.until) if request.until else "",
        reason=request.reason.strip(),
        placed=instant(datetime.now(UTC)),
        placed_by=by(unit.caller),
    )
    await unit.used(
        patterns.hold_changed(
            unit.caller,
            Outcome.SUCCESS,
            hold_id=hold.hold_id,
            patient_id=hold.patient,
            change=f"legal hold placed: {hold.reason}",
        )
    )
    months = await unit.parts.retention.place(hold)
    return {**asdict(hold), "given_up": months}


async def release(unit: Unit, request: ReleaseRequest) -> dict[str, Any]:
    """Let a hold end."""
    of_this_id = [one for one in await holds(unit.parts.trail.database) if one.hold_id == request.hold_id]
    if not of_this_id or of_this_id[0].released:
        raise NotFound("no hold of this id is in force")
    await unit.used(
        patterns.hold_changed(
            unit.caller,
            Outcome.SUCCESS,
            hold_id=request.hold_id,
            patient_id=of_this_id[0].patient,
            change=f"legal hold released: {request.reason.strip()}",
        )
    )
    if not await unit.parts.retention.release(request.hold_id, by=by(unit.caller)):
        raise NotFound("no hold of this id is in force")
    return {"released": request.hold_id}


def by(caller: Caller) -> str:
    """Who it was: the user, or the node that came without one."""
    if caller.user is not None:
        return caller.user.audit_name
    return caller.node.subject or caller.node.address


def audit_list(_: HoldsRequest, __: Any, caller: Caller, outcome: Outcome) -> tuple[AuditEvent, ...]:
    """Describe a look that failed."""
    return (used(caller, outcome),)


def audit_hold(request: HoldRequest, _: Any, caller: Caller, outcome: Outcome) -> tuple[AuditEvent, ...]:
    """Describe a hold that was not placed; one that was is recorded before."""
    change = f"legal hold not placed: {request.reason}"
    return (patterns.hold_changed(caller, outcome, hold_id="", patient_id=request.patient, change=change),)


def audit_release(
    request: ReleaseRequest, _: Any, caller: Caller, outcome: Outcome
) -> tuple[AuditEvent, ...]:
    """Describe a hold that was not released; one that was is recorded before."""
    change = f"legal hold not released: {request.reason}"
    return (patterns.hold_changed(caller, outcome, hold_id=request.hold_id, patient_id="", change=change),)


SERVED: tuple[ServedRest[Any, Any], ...] = (
    ServedRest(
        name="Holds of the trail",
        routes=("POST /api/holds",),
        right=Right.TRAIL,
        decode=JsonBody(HoldsRequest),
        handle=listed,
        audit=audit_list,
        event=ITI81,
        encode=json_response,
    ),
    ServedRest(
        name="Place a hold",
        routes=("POST /api/holds/add",),
        right=Right.TRAIL,
        decode=JsonBody(HoldRequest),
        handle=add,
        audit=audit_hold,
        event=SECURITY_CONFIGURATION,
        encode=json_response,
    ),
    ServedRest(
        name="Release a hold",
        routes=("POST /api/holds/release",),
        right=Right.TRAIL,
        decode=JsonBody(ReleaseRequest),
        handle=release,
        audit=audit_release,
        event=SECURITY_CONFIGURATION,
        encode=json_response,
    ),
)
