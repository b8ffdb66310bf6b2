"""Assertions for one use: which were used, for the services of this community (JSON over HTTP).

POST /assertions/use   {"key", "until"}: whether this is the first use; `key` as of `shared.security.once`
"""

from __future__ import annotations

from datetime import UTC, timedelta

from pydantic import AwareDatetime, BaseModel, Field

from registry.store.assertions import UsedAssertions
from registry.unit import Unit
from shared.faults import SecurityFault
from shared.http.problem import Unavailable
from shared.rest.message import JsonBody, json_response
from shared.rest.served import ServedRest
from shared.security.once import PATH
from shared.security.rights import Right

MAX_BODY = 4 * 1024
#: No assertion is valid for longer, whatever a service says.
LONGEST = timedelta(days=1)


class UseRequest(BaseModel):
    """An assertion that is used, and until when it could be."""

    key: str = Field(pattern="^[0-9a-f]{64}$")
    until: AwareDatetime


async def use(unit: Unit, request: UseRequest) -> dict[str, bool]:
    """Whether this is the first use, durable before it is told."""
    until = min(request.until.astimezone(UTC), unit.parts.now() + LONGEST)
    return {"first": await UsedAssertions(unit.parts.database).use(request.key, until)}


SERVED = ServedRest(
    name="Use assertion",
    routes=(f"POST {PATH}",),
    right=Right.POLICIES,
    decode=JsonBody(UseRequest, limit=MAX_BODY),
    handle=use,
    encode=json_response,
    problems={SecurityFault: Unavailable},
)
