"""The application of a service over HTTP: its router, and how it refuses what no route takes."""

from __future__ import annotations

import json

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException

from shared.http.problem import CONTENT_TYPE


def application(name: str) -> FastAPI:
    """An application without routes; what it refuses by itself is told as a problem (RFC 9457)."""
    made = FastAPI(title=f"xdsi {name}", docs_url=None, redoc_url=None, openapi_url=None)
    made.add_exception_handler(HTTPException, _refused)  # type: ignore[arg-type]  # of this exception alone
    return made


def _refused(_: Request, error: HTTPException) -> Response:
    said = {
        "title": error.detail,
        "status": error.status_code,
        "detail": "nothing is served here by this method; what is served stands in the folder docs",
    }
    return Response(json.dumps(said), error.status_code, error.headers, media_type=CONTENT_TYPE)
