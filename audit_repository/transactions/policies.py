"""Who may see what of a patient: asked, tried and changed at the registry, for privacy officers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from audit_repository.peers.consents import ConsentsAway
from audit_repository.unit import Unit
from shared.audit import patterns
from shared.audit.events import Outcome
from shared.audit.patterns import Side
from shared.consent.policy import PatientPolicies, PolicyError, decode_patient_policies
from shared.http.problem import Conflict, Forbidden, HttpProblem, NotFound, Unavailable, Unprocessable

_PROBLEMS: Final[Mapping[int, type[HttpProblem]]] = {
    HTTPStatus.BAD_REQUEST: Unprocessable,
    HTTPStatus.UNPROCESSABLE_ENTITY: Unprocessable,
    HTTPStatus.NOT_FOUND: NotFound,
    HTTPStatus.CONFLICT: Conflict,
}


async def policies_of(unit: Unit, patient_id: str) -> PatientPolicies:
    """The policies of a patient, a CX; raises as `answered`."""
    answer = await _asked(unit, "policies", {"patient_id": patient_id})
    try:
        return decode_patient_policies(answer)
    except PolicyError:
        raise Unavailable("the registry answers with policies that cannot be read here") from None


async def answered(unit: Unit, action: str, content: Mapping[str, Any]) -> dict[str, Any]:
    """What the registry answers to what only asks: `preview`, `why`.

    Raises
    ------
    Unprocessable, NotFound, Conflict
        The registry says what is wrong with it.
    Forbidden
        It does not let this service, or the user, do that.
    Unavailable
        It cannot be asked; nothing was done.
    """
    return _object(await _asked(unit, action, content))


async def changed(
    unit: Unit, action: str, content: Mapping[str, Any], *, policy_id: str, change: str
) -> None:
    """Have the registry change a policy, and record that we did for the user; raises as `answered`."""
    await _asked(unit, action, content)
    event = patterns.consent_changed(
        Side.CLIENT,
        unit.parts.registry.as_seen(action, unit.caller),
        Outcome.SUCCESS,
        policy_id=policy_id,
        patient_id=content["patient_id"],
        change=change,
    )
    await unit.used(event)


async def _asked(unit: Unit, action: str, content: Mapping[str, Any]) -> bytes:
    try:
        answer = await unit.parts.registry.answer(action, content, unit.caller)
    except ConsentsAway:
        raise Unavailable(
            "the registry that keeps the policies cannot be asked now; nothing was changed, try again later "
            "(XDSI_REGISTRY_URL)"
        ) from None
    match answer.status_code:
        case HTTPStatus.OK:
            return answer.content
        case status if status in _PROBLEMS:
            raise _PROBLEMS[status](str(_object(answer.content).get("detail", "the registry refuses it")))
        case HTTPStatus.UNAUTHORIZED | HTTPStatus.FORBIDDEN:
            raise Forbidden("the registry does not let you; it needs XDSI_RIGHTS__CONSENT there")
        case _:
            raise Unavailable("the registry did not do it; try again later")


def _object(octets: bytes) -> dict[str, Any]:
    try:
        content = json.loads(octets)
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise Unavailable("the registry answers with what cannot be read here")
    return content
