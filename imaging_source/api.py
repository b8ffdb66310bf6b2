"""The imaging source's own HTTP interface, for tools of this community: publish, and learn the outcome."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from imaging_source.domain.publishing import NotPublishable
from imaging_source.explanation import explanation
from imaging_source.publisher import Publisher
from imaging_source.registrations import RegistryAway
from imaging_source.store import outbox
from imaging_source.store.publications import (
    PublicationStatus,
    State,
    find_last_publications,
    find_publication,
    find_publications,
)
from imaging_source.store.set_aside import SetAside, find_set_aside
from imaging_source.transactions import on_demand, rad68, reconciliation
from imaging_source.unit import Parts
from shared.audit.recorder import AuditUnavailable
from shared.dicom.uids import MAX_UID, UID_PATTERN
from shared.http.door import Doors
from shared.http.json_body import read_json
from shared.http.problem import (
    CONTENT_TYPE,
    Conflict,
    HttpProblem,
    NotFound,
    TooLarge,
    Unavailable,
)
from shared.http.raw_asgi import BodyTooLarge
from shared.messages.on_demand import ManifestRequest
from shared.security.caller import Caller
from shared.store.failures import DatabaseError
from shared.telemetry.log import logger

_log = logger(__name__)

MAX_BODY: Final = 64 * 1024


class _Body(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


Body = TypeVar("Body", bound=_Body)


class PublishRequest(_Body):
    """Publish a study; `patient_id` is the CX of the affinity domain, when it is not the study's own id."""

    study_instance_uid: str = Field(pattern=UID_PATTERN, max_length=MAX_UID)
    patient_id: str = Field("", max_length=256)


class PublicationsRequest(_Body):
    """Publications by id, of one study, or in some states; the newest first.

    With `last` the last one of each study alone; with `learn` the registry is asked before what became of
    those that it had.
    """

    last: bool = False
    learn: bool = False
    publication_id: str = Field("", max_length=64)
    study_instance_uid: str = Field("", pattern=r"^$|" + UID_PATTERN, max_length=MAX_UID)
    states: tuple[State, ...] = tuple(State)
    limit: int = Field(100, ge=1, le=1000)


class RetryRequest(_Body):
    """Try a publication again that waits or was given up; publish anew what was refused or withdrawn."""

    publication_id: str = Field(max_length=64)


class WithdrawRequest(_Body):
    """Withdraw every manifest of a study from the registry."""

    study_instance_uid: str = Field(pattern=UID_PATTERN, max_length=MAX_UID)


class AcceptRequest(_Body):
    """Decide for an instance that is set aside: a note counts, or its study is its patient's."""

    sop_instance_uid: str = Field(pattern=UID_PATTERN, max_length=MAX_UID)


class MakeRequest(_Body):
    """Make the manifest of a study now; see `ManifestRequest`."""

    study_instance_uid: str = Field(pattern=UID_PATTERN, max_length=MAX_UID)
    patient_id: str = Field("", max_length=256)
    document_unique_id: str = Field(pattern=UID_PATTERN, max_length=MAX_UID)
    on_demand: bool


def router(parts: Parts, publisher: Publisher) -> APIRouter:
    """The routes below `/api`; every one answers JSON, and errors as problem details (RFC 9457)."""
    routes = APIRouter(prefix="/api", include_in_schema=False)
    doors = Doors(
        authenticator=parts.authenticator,
        refusals=parts.recorder.refusals,
        public_url=parts.settings.public_url,
    )

    async def admitted(request: Request) -> Caller:
        return await doors.admit(request.scope, f"{request.method} {request.scope['route'].path}")

    @routes.post("/publish")
    async def publish(request: Request) -> Response:
        async def work() -> JSONResponse:
            await admitted(request)
            asked = await read_json(request.headers, request.receive, PublishRequest, limit=MAX_BODY)
            publication_id = await rad68.publish(parts, asked.study_instance_uid, asked.patient_id)
            publisher.wake()
            found = await find_publication(parts.database, publication_id)
            assert found is not None
            told = await rad68.warnings(parts, asked.study_instance_uid)
            return JSONResponse({**shown(found), "warnings": told}, 202)

        return await _answered(work)

    @routes.post("/manifest")
    async def manifest(request: Request) -> Response:
        async def work() -> Response:
            caller = await admitted(request)
            asked = await read_json(request.headers, request.receive, MakeRequest, limit=MAX_BODY)
            made = await on_demand.make(parts, ManifestRequest(**asked.model_dump()), caller)
            return Response(await asyncio.to_thread(made.encode), media_type="application/json")

        return await _answered(work)

    @routes.post("/publications")
    async def publications(request: Request) -> Response:
        async def work() -> JSONResponse:
            await admitted(request)
            asked = await read_json(request.headers, request.receive, PublicationsRequest, limit=MAX_BODY)
            found = [shown(one) for one in await _found(parts, asked)]
            aside = await find_set_aside(parts.database, limit=asked.limit)
            return JSONResponse({"publications": found, "set_aside": [*map(_shown_aside, aside)]})

        return await _answered(work)

    @routes.post("/publications/retry")
    async def retry(request: Request) -> Response:
        async def work() -> JSONResponse:
            await admitted(request)
            asked = await read_json(request.headers, request.receive, RetryRequest, limit=MAX_BODY)
            publication_id = await _retried(parts, asked.publication_id)
            publisher.wake()
            return JSONResponse({"publication_id": publication_id}, 202)

        return await _answered(work)

    @routes.post("/publications/withdraw")
    async def withdraw(request: Request) -> Response:
        async def work() -> JSONResponse:
            await admitted(request)
            asked = await read_json(request.headers, request.receive, WithdrawRequest, limit=MAX_BODY)
            return JSONResponse({"withdrawn": await rad68.withdraw(parts, asked.study_instance_uid)})

        return await _answered(work)

    @routes.post("/publications/accept")
    async def accept(request: Request) -> Response:
        async def work() -> JSONResponse:
            await admitted(request)
            asked = await read_json(request.headers, request.receive, AcceptRequest, limit=MAX_BODY)
            if not (study := await parts.instances.accept(asked.sop_instance_uid)):
                raise NotFound("no instance of this UID is set aside")
            return JSONResponse({"study_instance_uid": study})

        return await _answered(work)

    return routes


def _shown_aside(aside: SetAside) -> dict[str, str]:
    return {
        "study_instance_uid": aside.study_instance_uid,
        "sop_instance_uid": aside.sop_instance_uid,
        "conflict": str(aside.conflict),
        "explanation": aside.conflict.reason,
    }


async def _retried(parts: Parts, publication_id: str) -> str:
    if await outbox.rearm(parts.database, publication_id):
        return publication_id
    found = await find_publication(parts.database, publication_id)
    if found is None or found.state not in (State.REFUSED, State.WITHDRAWN):
        raise NotFound("there is no publication of this id that waits, was given up, refused or withdrawn")
    return await rad68.publish(parts, found.study_instance_uid, found.patient_id)


async def _answered(work: Callable[[], Awaitable[Response]]) -> Response:
    try:
        return await _done(work)
    except HttpProblem as problem:
        return Response(problem.body(), problem.status, problem.headers, media_type=CONTENT_TYPE)


async def _done(work: Callable[[], Awaitable[Response]]) -> Response:
    try:
        return await work()
    except rad68.UnknownStudy as error:
        raise NotFound(str(error)) from None
    except NotPublishable as error:
        raise Conflict(str(error)) from None
    except rad68.NotWithdrawn as error:
        raise Conflict(str(error)) from None
    except RegistryAway as error:
        raise Unavailable(f"{error}; try again later") from None
    except BodyTooLarge as error:
        raise TooLarge(str(error)) from None
    except DatabaseError as error:
        _log.error("the database is not available", error=type(error).__name__)
        raise Unavailable("the database is not available now; try again later") from None
    except AuditUnavailable:
        raise Unavailable("what would be given away cannot be audited now; try again later") from None


async def _found(parts: Parts, asked: PublicationsRequest) -> list[PublicationStatus]:
    if asked.learn:
        await _learn(parts, asked.limit)
    if asked.last:
        return await find_last_publications(parts.database, states=asked.states, limit=asked.limit)
    if asked.publication_id:
        found = await find_publication(parts.database, asked.publication_id)
        return [found] if found else []
    return await find_publications(
        parts.database, study_instance_uid=asked.study_instance_uid, states=asked.states, limit=asked.limit
    )


async def _learn(parts: Parts, limit: int) -> None:
    published = await find_last_publications(parts.database, states=(State.PUBLISHED,), limit=limit)
    for each in published:
        await reconciliation.learn(parts, each.study_instance_uid)


def shown(publication: PublicationStatus) -> dict[str, Any]:
    """A publication as JSON shows it; times in ISO 8601, UTC."""
    values: dict[str, Any] = json.loads(json.dumps(asdict(publication)))
    for name in ("due", "created", "changed"):
        values[name] = datetime.fromtimestamp(values[name] / 1000, UTC).isoformat(timespec="milliseconds")
    return values | {"explanation": explanation(publication)}
