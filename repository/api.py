"""The repository's own HTTP interface, for tools of this community: entries of documents made on demand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from repository.domain.assembly import Kind
from repository.provider import CannotMake, ProviderUnavailable
from repository.transactions import iti61
from repository.unit import Unit
from shared.dicom.uids import MAX_UID, UID_PATTERN
from shared.errors import Actor, Severity
from shared.http.door import Doors
from shared.http.json_body import read_json
from shared.http.problem import (
    CONTENT_TYPE,
    Conflict,
    HttpProblem,
    NotFound,
    Unavailable,
)
from shared.messages.registry import RegistryResponse, Status
from shared.store.failures import DatabaseError
from shared.telemetry.log import logger

_log = logger(__name__)

MAX_BODY: Final = 16 * 1024


class EntryRequest(BaseModel):
    """Register an entry of a study whose manifest is made when it is asked for: each time, or once
    (`delayed`); `patient_id` is the CX of the affinity domain, when it is not the study's own id."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    study_instance_uid: str = Field(pattern=UID_PATTERN, max_length=MAX_UID)
    patient_id: str = Field("", max_length=256)
    kind: Kind = Kind.ON_DEMAND


def router(unit: Callable[[], Unit], doors: Doors) -> APIRouter:
    """The routes below `/api`; every one answers JSON, and errors as problem details (RFC 9457)."""
    routes = APIRouter(prefix="/api", include_in_schema=False)

    @routes.post("/entries")
    async def entries(request: Request) -> Response:
        try:
            await doors.admit(request.scope, "POST /api/entries")
            return await _entered(
                unit(), await read_json(request.headers, request.receive, EntryRequest, limit=MAX_BODY)
            )
        except HttpProblem as problem:
            return Response(problem.body(), problem.status, problem.headers, media_type=CONTENT_TYPE)

    return routes


async def _entered(unit: Unit, asked: EntryRequest) -> JSONResponse:
    try:
        entered = await iti61.enter(unit, asked.study_instance_uid, asked.patient_id, asked.kind)
    except CannotMake as error:
        raise NotFound(str(error)) from None
    except ProviderUnavailable as error:
        raise Unavailable(str(error)) from None
    except DatabaseError as error:
        _log.error("the database is not available", error=type(error).__name__)
        raise Unavailable("the database is not available now; try again later") from None
    if entered.response.status is Status.SUCCESS:
        return JSONResponse({"document_unique_id": entered.unique_id, "kind": asked.kind}, 201)
    raise (Conflict if entered.final else Unavailable)(_errors(entered.response))


def _errors(response: RegistryResponse) -> str:
    return "; ".join(
        f"{error.code_for(Actor.REPOSITORY)}: {error.context}"
        for error in response.errors
        if error.severity is Severity.ERROR
    )
