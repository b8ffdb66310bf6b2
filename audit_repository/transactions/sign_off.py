"""A use of break-glass is signed off: at the registry that keeps it, and in the trail.

One that no registry of ours knows, of another product or signed off there meanwhile, is signed off by the
trail alone.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from datetime import datetime
from http import HTTPStatus
from typing import Final

import httpx2

from audit_repository.domain.emergencies import Emergency, emergencies
from audit_repository.domain.record import instant, message_of
from audit_repository.store.selection import Narrowing, Position, Selection, selected
from audit_repository.unit import Unit
from shared.audit import patterns
from shared.audit.events import EMERGENCY_OVERRIDE_STARTED, EMERGENCY_OVERRIDE_STOPPED, Outcome
from shared.audit.patterns import Side
from shared.http.client import ourselves
from shared.http.problem import Conflict, Forbidden, Unavailable
from shared.security.caller import Caller

MOST: Final = 1_000
_PATH: Final = "/consent/sign-off"
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
    url = await _asked(unit, emergency.break_id, note)
    node = ourselves(unit.parts.node, unit.parts.http, url) if url else caller.node
    event = patterns.break_glass(
        Side.CLIENT if url else Side.SERVER,
        Caller(node=node, endpoint=url or caller.endpoint, user=caller.user),
        Outcome.SUCCESS,
        kind=EMERGENCY_OVERRIDE_STOPPED,
        policy_id=emergency.break_id,
        patient_id=emergency.patient,
        reason=f"signed off: {note}",
    )
    await unit.used(event)


async def _asked(unit: Unit, break_id: str, note: str) -> str:
    """The address at which the registry signed the break off; empty where it knows none."""
    url = unit.parts.settings.consent_url.removesuffix("/").removesuffix("/xds/registry") + _PATH
    headers = {}
    if assertion := unit.caller.assertion:
        headers["authorization"] = f"Bearer {urlsafe_b64encode(assertion).rstrip(b'=').decode()}"
    try:
        answer = await unit.parts.http.post(url, json={"policy_id": break_id, "note": note}, headers=headers)
    except httpx2.HTTPError:
        raise Unavailable(
            "the registry that keeps the break cannot be asked now; nothing was signed off, try again later "
            "(XDSI_REGISTRY_URL)"
        ) from None
    match answer.status_code:
        case HTTPStatus.OK:
            return url
        case HTTPStatus.NOT_FOUND:
            return ""
        case HTTPStatus.CONFLICT:
            raise Conflict("an emergency is signed off once, and by another person than the one whose it was")
        case HTTPStatus.UNAUTHORIZED | HTTPStatus.FORBIDDEN:
            raise Forbidden("the registry does not let you sign off; it needs XDSI_RIGHTS__CONSENT there")
        case _:
            raise Unavailable("the registry did not sign the break off; try again later")
