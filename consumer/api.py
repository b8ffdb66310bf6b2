"""The consumer for programs: JSON below `/api`, for the user whose assertion comes along.

`Authorization: SAML <base64 of the assertion>`. Ids of patients stand in bodies alone; an instance is named
by a handle that a manifest was answered with. Errors are problem details (RFC 9457).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any, Final, TypeVar

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from consumer.delivery import InstanceResponse
from consumer.domain.found import Criteria, FoundStudy, WrongCriterion
from consumer.problems import problem_of
from consumer.unit import Parts
from consumer.visitors import Reception, Visitor
from consumer.workplace import MOST_STUDIES, Opened, OpenedSeries, Workplace
from shared.http.json_body import read_json
from shared.http.problem import CONTENT_TYPE, BadRequest, HttpProblem
from shared.http.raw_asgi import ClientGone, node_of

PREFIX: Final = "/api"
MAX_BODY: Final = 64 * 1024


class _Body(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


Body = TypeVar("Body", bound=_Body)


class StudiesRequest(_Body):
    """Whose studies, and which; dates as YYYY[-MM[-DD]]."""

    patient_id: str = Field(min_length=1, max_length=256)
    modalities: tuple[str, ...] = Field((), max_length=20)
    since: str = Field("", max_length=20)
    before: str = Field("", max_length=20)
    limit: int = Field(200, ge=1, le=MOST_STUDIES)

    def criteria(self, affinity_domain: str) -> Criteria:
        """As the registry is asked."""
        return Criteria.of(
            self.patient_id,
            affinity_domain=affinity_domain,
            modalities=self.modalities,
            since=self.since,
            before=self.before,
        )


class ManifestRequest(_Body):
    """One manifest, as a study names it."""

    document_unique_id: str = Field(min_length=1, max_length=256)
    repository_unique_id: str = Field(min_length=1, max_length=64)
    home_community_id: str = Field("", max_length=80)


def router(parts: Parts, reception: Reception, workplace: Workplace) -> APIRouter:
    """The routes below `/api`."""
    routes = APIRouter(prefix=PREFIX, include_in_schema=False)
    domain = parts.settings.affinity_domain

    async def visitor(request: Request) -> Visitor:
        return await reception.admit_by_header(node_of(request.scope), request.headers.get("authorization"))

    @routes.post("/studies")
    async def studies(request: Request) -> Response:
        async def work() -> Response:
            who = await visitor(request)
            asked = await read_json(request.headers, request.receive, StudiesRequest, limit=MAX_BODY)
            try:
                criteria = asked.criteria(domain)
            except WrongCriterion as error:
                raise BadRequest(f"{error.name}: {error}") from None
            found = await workplace.find(who, criteria, limit=asked.limit)
            shown = [_study(study) for study, _ in found.studies]
            return await _answer(
                {"studies": shown, "complete": found.complete, "unanswered": found.unanswered}
            )

        return await answered(work)

    @routes.post("/manifests")
    async def manifests(request: Request) -> Response:
        async def work() -> Response:
            who = await visitor(request)
            asked = await read_json(request.headers, request.receive, ManifestRequest, limit=MAX_BODY)
            opened = await workplace.open(
                who, asked.document_unique_id, asked.repository_unique_id, asked.home_community_id
            )
            return await _answer(_manifest(opened))

        return await answered(work)

    @routes.get("/instances/{handle}")
    async def instances(handle: str, request: Request) -> Response:
        async def work() -> Response:
            return InstanceResponse(await workplace.fetch(await visitor(request), handle))

        return await answered(work)

    return routes


async def answered(work: Callable[[], Awaitable[Response]]) -> Response:
    """The answer of `work`, or the problem that it met."""
    try:
        return await work()
    except ClientGone:
        raise
    except Exception as error:
        return _shown(problem_of(error))


def refused(request: Request, error: HTTPException) -> Response:
    """What the framework refuses before any of our code, such as an address that is none, as a problem."""
    said = {
        "title": error.detail,
        "status": error.status_code,
        "detail": "see docs/consumer.md for what is here",
    }
    return Response(json.dumps(said), error.status_code, error.headers, media_type=CONTENT_TYPE)


def _shown(problem: HttpProblem) -> Response:
    return Response(problem.body(), problem.status, problem.headers, media_type=CONTENT_TYPE)


async def _answer(content: Any) -> Response:
    """Large manifests are long to write: not on the loop."""
    octets = await asyncio.to_thread(lambda: json.dumps(content, ensure_ascii=False).encode())
    return Response(octets, media_type="application/json")


def _study(study: FoundStudy) -> dict[str, Any]:
    shown = asdict(study)
    return {"document_unique_id": shown.pop("manifest_id"), **shown}


def _manifest(opened: Opened) -> dict[str, Any]:
    manifest = opened.manifest
    return {
        "study": _study(opened.study),
        "title": manifest.title,
        "patient_id": manifest.patient_id,
        "patient_name": manifest.patient_name,
        "accession_number": manifest.accession_number,
        "study_description": manifest.study_description,
        "faults": manifest.faults,
        "series": list(map(_series, opened.series)),
    }


def _series(series: OpenedSeries) -> dict[str, Any]:
    return {
        "study_instance_uid": series.study_instance_uid,
        "series_instance_uid": series.series_instance_uid,
        "instances": [
            {
                "sop_instance_uid": one.sop_instance_uid,
                "sop_class_uid": one.sop_class_uid,
                "href": f"{PREFIX}/instances/{one.handle}",
            }
            for one in series.instances
        ],
    }
