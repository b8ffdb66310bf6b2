"""A use of break-glass is signed off: at the registry that keeps it, and in the trail.

One that no registry of ours knows, of another product or signed off there meanwhile, is signed off by the
trail alone.
"""

from __future__ import annotations

from datetime import datetime
from http import HTTPStatus
from typing import Final

from audit_repository.domain.emergencies import Emergency, emergencies
from audit_repository.domain.record import instant, message_of
from audit_repository.peers.consents import ConsentsAway
from audit_repository.store.selection import Narrowing, Position, Selection, selected
from audit_repository.unit import Unit
from shared.audit import patterns
from shared.audit.events import EMERGENCY_OVERRIDE_STARTED, EMERGENCY_OVERRIDE_STOPPED, Outcome
from shared.audit.patterns import Side
from shared.http.problem import Conflict, Forbidden, Unavailable

MOST: Final = 1_000
_ACTION: Final = "sign-off"
_KINDS = (EMERGENCY_OVERRIDE_STARTED.code, EMERGENCY_OVERRIDE_STOPPED.code)


async def emergencies_since(unit: Unit, since: datetime) -> list[Emergency]:
    """The uses that the trail tells of since then, the latest first."""
    selection = Selection(
        narrowings=(Narrowing(kinds=("type",), values=_KINDS),),
        since=instant(since),
        position=Position(upto=unit.parts.trail.sequence),
        limit=MOST,
    )
    records = await selected(unit.parts.trail.database, selection)
    read = ((one.sequence, message_of(one.record.raw)) for one in records)
    return emergencies((sequence, message.event) for sequence, message in read if message is not None)


async def sign_off(unit: Unit, emergency: Emergency, note: str) -> None:
    """Sign a use off for the user of `unit`, and record it.

    Raises
    ------
    Conflict
        It was signed off before, or is that user's own.
    Forbidden
        The registry does not let this service, or the user, sign it off.
    Unavailable
        The registry cannot be asked; nothing was done.
    """
    caller = unit.caller
    if emergency.reviewer:
        raise Conflict(f"it was signed off by {emergency.reviewer}; open the list again")
    if caller.user is not None and caller.user.audit_name == emergency.who:
        raise Conflict("an emergency is signed off by another person than the one whose it was")
    at_registry = await _signed_off_there(unit, emergency.break_id, note)
    event = patterns.break_glass(
        Side.CLIENT if at_registry else Side.SERVER,
        unit.parts.registry.as_seen(_ACTION, caller) if at_registry else caller,
        Outcome.SUCCESS,
        kind=EMERGENCY_OVERRIDE_STOPPED,
        policy_id=emergency.break_id,
        patient_id=emergency.patient,
        reason=f"signed off: {note}",
    )
    await unit.used(event)


async def _signed_off_there(unit: Unit, break_id: str, note: str) -> bool:
    """Whether the registry signed the break off; it may know none."""
    content = {"policy_id": break_id, "note": note}
    try:
        answer = await unit.parts.registry.answer(_ACTION, content, unit.caller)
    except ConsentsAway:
        raise Unavailable(
            "the registry that keeps the break cannot be asked now; nothing was signed off, try again later "
            "(XDSI_REGISTRY_URL)"
        ) from None
    match answer.status_code:
        case HTTPStatus.OK:
            return True
        case HTTPStatus.NOT_FOUND:
            return False
        case HTTPStatus.CONFLICT:
            raise Conflict("an emergency is signed off once, and by another person than the one whose it was")
        case HTTPStatus.UNAUTHORIZED | HTTPStatus.FORBIDDEN:
            raise Forbidden("the registry does not let you sign off; it needs XDSI_RIGHTS__CONSENT there")
        case _:
            raise Unavailable("the registry did not sign the break off; try again later")
