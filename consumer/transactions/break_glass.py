"""Break-glass, asking side: a user declares to the registry that policies must give way, and why.

Its event is kept before the answer is told, as every other of the consumer.
"""

from __future__ import annotations

from datetime import datetime
from http import HTTPStatus

import httpx2

from consumer.transactions.bearer import authorization
from consumer.unit import Unit
from shared.audit import patterns
from shared.audit.events import EMERGENCY_OVERRIDE_STARTED, Outcome
from shared.audit.patterns import Side
from shared.http.problem import BadGateway, Conflict, Forbidden, HttpProblem, NotFound
from shared.soap.client import PeerUnreachable

_PATH = "/consent/break"
_PROBLEMS: dict[int, tuple[type[HttpProblem], str]] = {
    HTTPStatus.FORBIDDEN: (
        Forbidden,
        "your sign-in does not allow it: it needs a role that may, and an emergency as its purpose",
    ),
    HTTPStatus.UNAUTHORIZED: (Forbidden, "your sign-in is not accepted by the registry; sign in again"),
    HTTPStatus.NOT_FOUND: (NotFound, "the registry does not know this patient"),
    HTTPStatus.CONFLICT: (Conflict, "it is open for you already; search for the studies of this patient"),
}


async def declare(unit: Unit, patient_id: str, reason: str) -> datetime:
    """Break the glass for the user of `unit`; until when it is broken.

    Raises
    ------
    HttpProblem
        It is not, for a reason that the user is told.
    PeerUnreachable
        Nobody answers.
    """
    base = unit.settings.consent_url.removesuffix("/").removesuffix("/xds/registry")
    url, outcome, policy_id = base + _PATH, Outcome.SERIOUS_FAILURE, ""
    try:
        answer = await unit.http.post(
            url,
            json={"patient_id": patient_id, "reason": reason},
            headers=authorization(unit, "POST", url),
        )
        if answer.status_code != HTTPStatus.OK:
            problem, text = _PROBLEMS.get(answer.status_code, (BadGateway, "the registry did not allow it"))
            raise problem(text)
        declared = answer.json()
        until, policy_id = datetime.fromisoformat(declared["valid_until"]), str(declared["policy_id"])
        outcome = Outcome.SUCCESS
    except httpx2.HTTPError as error:
        raise PeerUnreachable(url, str(error)) from error
    except (ValueError, KeyError, TypeError):
        raise BadGateway("the registry answered with nothing that can be read") from None
    finally:
        await unit.record(
            patterns.break_glass(
                Side.CLIENT,
                unit.caller(url),
                outcome,
                kind=EMERGENCY_OVERRIDE_STARTED,
                policy_id=policy_id,
                patient_id=patient_id,
                reason=reason,
            )
        )
    return until
