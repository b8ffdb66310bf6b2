"""The repository's own HTTP interface, for tools of this community: entries of documents made on demand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from repository.domain.assembly import Kind
from repository.provider import CannotMake, ProviderUnavailable
from repository.transactions import iti61
from repository.unit import Unit
from shared.errors import Actor, Severity
from shared.faults import SecurityFault
from shared.http.raw_asgi import BodyTooLarge, node_of, receive_body
from shared.messages.registry import RegistryResponse, Status
from shared.security.authenticator import Authenticator
from shared.store.failures import DatabaseError
from shared.telemetry.log import logger

_log = logger(__name__)

MAX_BODY: Final = 16 * 1024


class EntryRequest(BaseModel):
    """Register an entry of a study whose manifest is made when it is asked for: each time, or once
    (`delayed`); `patient_id` is the CX of the affinity domain, when it is not the study's own id."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    study_instance_uid: str = Field(pattern=r"^[0-9.]{1,64}$")
    patient_id: str = Field("", max_length=256)
    kind: Kind = Kind.ON_DEMAND


class _Problem(Exception):
    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


def router(unit: Callable[[], Unit], authenticator: Authenticator) -> APIRouter:
    """The routes below `/api`; every one answers JSON, and errors as problem details (RFC 9457)."""
    routes = APIRouter(prefix="/api", include_in_schema=False)

    @routes.post("/entries")
    async def entries(request: Request) -> JSONResponse:
        try:
            _admit(authenticator, request)
            return await _entered(unit(), await _read(request))
        except _Problem as problem:
            return _problem(problem.status, problem.detail)

    return routes


async def _entered(unit: Unit, asked: EntryRequest) -> JSONResponse:
    try:
        entered = await iti61.enter(unit, asked.study_instance_uid, asked.patient_id, asked.kind)
    except CannotMake as error:
        raise _Problem(404, str(error)) from None
    except ProviderUnavailable as error:
        raise _Problem(503, str(error)) from None
    except DatabaseError as error:
        _log.error("the database is not available", error=type(error).__name__)
        raise _Problem(503, "the database is not available now; try again later") from None
    if entered.response.status is Status.SUCCESS:
        return JSONResponse({"document_unique_id": entered.unique_id, "kind": asked.kind}, 201)
    raise _Problem(409 if entered.final else 503, _errors(entered.response))


def _errors(response: RegistryResponse) -> str:
    return "; ".join(
        f"{error.code_for(Actor.REPOSITORY)}: {error.context}"
        for error in response.errors
        if error.severity is Severity.ERROR
    )


def _admit(authenticator: Authenticator, request: Request) -> None:
    try:
        caller = authenticator.caller(
            node_of(request.scope), endpoint=str(request.url.replace(query="")), speaker_is_user=False
        )
    except SecurityFault as fault:
        raise _Problem(401, fault.reason) from None
    if not caller.community_node:
        raise _Problem(403, "this is for nodes of this community; see XDSI_COMMUNITY_NODES")


async def _read(request: Request) -> EntryRequest:
    try:
        return EntryRequest.model_validate_json(await receive_body(request.receive, limit=MAX_BODY))
    except BodyTooLarge as error:
        raise _Problem(413, str(error)) from None
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, detail['loc'])) or 'body'}: {detail['msg']}" for detail in error.errors()
        )
        raise _Problem(400, problems) from None


def _problem(status: int, detail: str) -> JSONResponse:
    headers = {"retry-after": "5"} if status == 503 else None
    return JSONResponse(
        {"status": status, "detail": detail}, status, headers, media_type="application/problem+json"
    )
