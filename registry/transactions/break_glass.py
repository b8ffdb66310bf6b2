"""Break-glass: what policies deny is seen in an emergency, for a time, and looked at afterwards.

POST /consent/break     {"patient_id", "reason"}, with the assertion of a user in a role of
                        `XDSI_BREAK_GLASS_ROLES` for a purpose of `XDSI_BREAK_GLASS_PURPOSES`: a break,
                        which is a policy that every service decides by
POST /consent/breaks    {}: the breaks that nobody signed off, oldest first
POST /consent/sign-off  {"policy_id", "note"}: it was looked at; one in force ends. The trail keeps it

The trail has the start and the sign-off, each with the patient, the person and the reason (110127, 110138).
"""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

from pydantic import BaseModel, Field

from registry.store import consents, patients
from registry.transactions.consent import PoliciesRequest, known_patient
from registry.unit import Unit
from shared.audit import patterns
from shared.audit.events import (
    EMERGENCY_OVERRIDE_STARTED,
    EMERGENCY_OVERRIDE_STOPPED,
    AuditEvent,
    Outcome,
)
from shared.audit.patterns import Side
from shared.consent import cedar
from shared.consent.policy import Effect, PolicyError, encode_policy, new_break, read_policy
from shared.http.problem import BadRequest, Conflict, Forbidden, NotFound
from shared.rest.message import JsonBody, json_response
from shared.rest.served import ServedRest
from shared.security.caller import Caller, User
from shared.security.rights import Right
from shared.security.speaker import Speaker
from shared.store.engine import Transaction

REFUSED = (
    "breaking the glass needs a user's assertion with a role and a purpose of use for which this registry "
    "allows it (XDSI_BREAK_GLASS_ROLES, XDSI_BREAK_GLASS_PURPOSES)"
)


class BreakRequest(PoliciesRequest):
    """Whose documents must be seen, and why."""

    reason: str = Field(min_length=1, max_length=1_000, pattern=r"\S")


class BreaksRequest(BaseModel):
    """All of them."""


class SignOffRequest(BaseModel):
    """Which break was looked at, and what was found."""

    policy_id: str = Field(min_length=1, max_length=256)
    note: str = Field(min_length=1, max_length=1_000, pattern=r"\S")


async def declare(unit: Unit, request: BreakRequest) -> dict[str, Any]:
    """Keep a break for the user who calls."""
    settings, now = unit.parts.settings, unit.parts.now()
    user = _allowed(unit)
    patient = await known_patient(unit.parts, request)
    declared = new_break(
        patient_id=patient.survivor,
        user=user.identity,
        reason=request.reason,
        until=now + timedelta(seconds=settings.break_glass_seconds),
        roles=settings.break_glass_roles,
        purposes=settings.break_glass_purposes,
        created=now,
        author=user.audit_name,
    )

    async def done(transaction: Transaction) -> bool | None:
        return await consents.find_kept(transaction, declared.policy_id) is not None or None

    async def work(transaction: Transaction) -> bool:
        # The patient is held, so that a merge does not leave the break behind, and one user declares one.
        await patients.hold_patient(transaction, patient.survivor)
        breaks = map(read_policy, await consents.find_breaks(transaction, patient.survivor))
        running = next((one for one in breaks if one.users == declared.users and one.in_force(now)), None)
        if running is not None:
            raise Conflict(f"the user's last break for this patient holds until {running.valid_until}")
        await consents.keep_policy(
            transaction,
            policy_id=declared.policy_id,
            patient_id=patient.survivor,
            policy=json.dumps(encode_policy(declared)),
            is_new=True,
        )
        return True

    event = patterns.break_glass(
        Side.SERVER,
        unit.caller,
        Outcome.SUCCESS,
        kind=EMERGENCY_OVERRIDE_STARTED,
        policy_id=declared.policy_id,
        patient_id=patient.survivor,
        reason=f"{declared.description} (until {declared.valid_until})",
    )
    await unit.write(work, events=(event,), done=done)
    return encode_policy(declared)


async def unreviewed(unit: Unit, _: BreaksRequest) -> dict[str, Any]:
    """The breaks that wait for a review."""
    breaks = map(read_policy, await consents.find_all_breaks(unit.parts.database))
    return {"breaks": [encode_policy(one) for one in sorted(breaks, key=lambda one: one.created)]}


async def sign_off(unit: Unit, request: SignOffRequest) -> dict[str, Any]:
    """Take a break from those that wait; nobody signs off an own one."""
    of_this_id = await consents.find_kept(unit.parts.database, request.policy_id)
    reviewed = read_policy(of_this_id[1]) if of_this_id else None
    if of_this_id is None or reviewed is None or reviewed.effect is not Effect.BREAK:
        raise NotFound("no break of this id waits for a review")
    reviewer = unit.caller.user
    if reviewer is not None and reviewer.identity in reviewed.users:
        raise Conflict("a break is signed off by another person than the one who declared it")
    patient_id = of_this_id[0]

    async def done(transaction: Transaction) -> bool | None:
        return await consents.find_kept(transaction, reviewed.policy_id) is None or None

    async def work(transaction: Transaction) -> bool:
        if not await consents.remove_policy(transaction, policy_id=reviewed.policy_id, patient_id=patient_id):
            raise Conflict("the break was signed off, or its patient merged, meanwhile; list them again")
        return True

    event = patterns.break_glass(
        Side.SERVER,
        unit.caller,
        Outcome.SUCCESS,
        kind=EMERGENCY_OVERRIDE_STOPPED,
        policy_id=reviewed.policy_id,
        patient_id=patient_id,
        reason=f"signed off: {request.note.strip()} (declared by {reviewed.author}: {reviewed.description})",
    )
    await unit.write(work, events=(event,), done=done)
    return encode_policy(reviewed)


def _allowed(unit: Unit) -> User:
    """The user, whose role and purpose allow it."""
    user, settings = unit.caller.user, unit.parts.settings
    subject = cedar.subject_of(user)
    if user is None or not (
        subject.roles.intersection(map(cedar.code, settings.break_glass_roles))
        and subject.purposes.intersection(map(cedar.code, settings.break_glass_purposes))
    ):
        raise Forbidden(REFUSED)
    return user


# --- the trail ----------------------------------------------------------------------------------------


def audit_refusal(request: BreakRequest, _: Any, caller: Caller, outcome: Outcome) -> tuple[AuditEvent, ...]:
    """Describe a break that was not let be; one that was is recorded with it."""
    return (
        patterns.break_glass(
            Side.SERVER,
            caller,
            outcome,
            kind=EMERGENCY_OVERRIDE_STARTED,
            policy_id="",
            patient_id=request.patient_id,
            reason=request.reason,
        ),
    )


def audit_unsigned(
    request: SignOffRequest, _: Any, caller: Caller, outcome: Outcome
) -> tuple[AuditEvent, ...]:
    """Describe a sign-off that was refused."""
    return (
        patterns.break_glass(
            Side.SERVER,
            caller,
            outcome,
            kind=EMERGENCY_OVERRIDE_STOPPED,
            policy_id=request.policy_id,
            patient_id="",
            reason=f"not signed off: {request.note}",
        ),
    )


SERVED: tuple[ServedRest[Any, Any], ...] = (
    ServedRest(
        name="Break glass",
        routes=("POST /consent/break",),
        right=Right.ASK,
        speaker=Speaker.USER,
        decode=JsonBody(BreakRequest),
        handle=declare,
        audit=audit_refusal,
        event=EMERGENCY_OVERRIDE_STARTED,
        encode=json_response,
        problems={PolicyError: BadRequest},
    ),
    ServedRest(
        name="Breaks to review",
        routes=("POST /consent/breaks",),
        right=Right.CONSENT,
        decode=JsonBody(BreaksRequest),
        handle=unreviewed,
        encode=json_response,
    ),
    ServedRest(
        name="Sign off break",
        routes=("POST /consent/sign-off",),
        right=Right.CONSENT,
        decode=JsonBody(SignOffRequest),
        handle=sign_off,
        audit=audit_unsigned,
        event=EMERGENCY_OVERRIDE_STOPPED,
        encode=json_response,
    ),
)
