"""Assertions for one use: which were used, for the services of this community (JSON over HTTP).

POST /assertions/use   {"key", "until"}: whether this is the first use; `key` as of `shared.security.once`
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from registry.store.assertions import UsedAssertions
from registry.unit import Parts
from shared.audit.recorder import AuditUnavailable
from shared.faults import SecurityFault
from shared.http.door import Doors
from shared.http.problem import HttpProblem
from shared.http.raw_asgi import BodyTooLarge, receive_body
from shared.security.authenticator import Authenticator
from shared.security.once import PATH

MAX_BODY = 4 * 1024
#: No assertion is valid for longer, whatever a service says.
LONGEST = timedelta(days=1)

_KEY = re.compile(r"[0-9a-f]{64}")


def assertion_routes(parts: Parts, authenticator: Authenticator) -> APIRouter:
    """The route."""
    router = APIRouter(include_in_schema=False)
    used = UsedAssertions(parts.database)
    doors = Doors(
        authenticator=authenticator, refusals=parts.recorder.refusals, public_url=parts.settings.public_url
    )

    async def use(request: Request) -> Response:
        try:
            await doors.admit(request.scope, f"POST {PATH}")
            key, until = _asked(await receive_body(request.receive, limit=MAX_BODY), parts.now())
            return JSONResponse({"first": await used.use(key, until)})
        except HttpProblem as problem:
            return JSONResponse({"status": problem.status, "title": problem.detail}, problem.status)
        except BodyTooLarge as error:
            return JSONResponse({"status": 413, "title": str(error)}, 413)
        except ValueError as error:
            return JSONResponse({"status": 400, "title": str(error)}, 400)
        except (AuditUnavailable, SecurityFault):
            return JSONResponse({"status": 503, "title": "it cannot be told now"}, 503)

    router.add_api_route(PATH, use, methods=["POST"])
    return router


def _asked(octets: bytes, now: datetime) -> tuple[str, datetime]:
    try:
        content = json.loads(octets)
        key, until = content["key"], datetime.fromisoformat(content["until"]).astimezone(UTC)
    except (ValueError, KeyError, TypeError, RecursionError, OverflowError):
        raise ValueError("an object with key and until, a time with its zone, is needed") from None
    if not isinstance(key, str) or not _KEY.fullmatch(key):
        raise ValueError("key must be 64 hexadecimal digits")
    return key, min(until, now + LONGEST)
