"""The application of a service over HTTP: its routes, and how it refuses what none of them takes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from http import HTTPStatus

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from shared.http.problem import CONTENT_TYPE, asks_for_html
from shared.telemetry.trace import asked_for

#: Tells a person at a browser what is wrong: of a request, the status and what is said.
RefusalPage = Callable[[Request, HTTPStatus, str], Response]

_DETAIL = "nothing is served here by this method; what is served stands in the folder docs"
_FOR_PEOPLE = "there is nothing at this address"


def application(routes: Iterable[BaseRoute], *, page: RefusalPage | None = None) -> FastAPI:
    """An application of `routes`; what it refuses by itself is told as a problem (RFC 9457), and by a
    `page`, where it has one, to whoever asks for HTML."""

    async def refused(request: Request, error: HTTPException) -> Response:
        if page is None or not asks_for_html(request.headers.get("accept", "")):
            return _refused(error)
        answer = page(request, HTTPStatus(error.status_code), _FOR_PEOPLE)
        answer.headers.update(error.headers or {})
        return answer

    return FastAPI(
        routes=list(map(_told, routes)),
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        exception_handlers={HTTPException: refused},
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


def _refused(error: HTTPException) -> Response:
    members = {
        "title": error.detail,
        "status": error.status_code,
        "detail": _DETAIL,
    }
    return Response(json.dumps(members), error.status_code, error.headers, media_type=CONTENT_TYPE)
