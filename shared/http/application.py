"""The application of a service over HTTP: its routes, and how it refuses what none of them takes."""

from __future__ import annotations

import json
from collections.abc import Iterable

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from shared.http.problem import CONTENT_TYPE
from shared.telemetry.trace import asked_for


def application(routes: Iterable[BaseRoute]) -> FastAPI:
    """An application of `routes`; what it refuses by itself is told as a problem (RFC 9457)."""
    return FastAPI(
        routes=list(map(_told, routes)),
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        exception_handlers={HTTPException: _refused},
    )


def _told(route: BaseRoute) -> BaseRoute:
    """`route`, which the span of a request names as it is written: without a value of the request."""
    if isinstance(route, Route):
        app, path = route.app, route.path

        async def told(scope: Scope, receive: Receive, send: Send) -> None:
            asked_for("", f"{scope['method']} {path}")
            await app(scope, receive, send)

        route.app = told
    return route


async def _refused(_: Request, error: HTTPException) -> Response:
    members = {
        "title": error.detail,
        "status": error.status_code,
        "detail": "nothing is served here by this method; what is served stands in the folder docs",
    }
    return Response(json.dumps(members), error.status_code, error.headers, media_type=CONTENT_TYPE)
