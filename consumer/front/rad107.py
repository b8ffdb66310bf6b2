"""WADO-RS Retrieve [RAD-107], answered for studies of every source (RAD TF-2 4.107.4; PS3.18 10.4).

An answer that lacks instances of its resource says so: 206, and which and why in a Warning.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from http import HTTPStatus
from typing import Any, Final, TypeVar

from consumer.domain.study import Content, RequestedInstance
from consumer.front.collection import MissingInstance
from consumer.front.holding import Holding
from consumer.front.lease import Lease
from consumer.front.reading_room import OpenStudy, ReadingRoom
from consumer.front.tokens import FrontToken, study_token_of
from shared.audit.events import AuditEvent, Outcome
from shared.imaging import rendered, wado_rs, wado_rs_http
from shared.imaging.rendered import RenderRequest
from shared.imaging.rendering import rendering_of
from shared.imaging.retrieval import InstanceResult
from shared.imaging.wado_rs import RetrieveRequest, RetrieveResponse
from shared.pages.visitors import Visitor
from shared.perform import UnitOfWork
from shared.rest.message import HttpRequest, HttpResponse
from shared.rest.served import ServedRest
from shared.security.caller import Caller

_MOST_TOLD: Final = 20
_Asked = TypeVar("_Asked", RetrieveRequest, RenderRequest)
FrontUnit = UnitOfWork[ReadingRoom]


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontRequest:
    """What is question for, and the token for its study that came along."""

    question: Any
    token: str = ""

    @property
    def resource(self) -> RetrieveRequest:
        """The resource, which a rendered image is of too."""
        return self.question.resource if isinstance(self.question, RenderRequest) else self.question


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchedResponse(RetrieveResponse):
    """The answer, what of its resource did not come, and what it holds on to."""

    missing: tuple[MissingInstance, ...] = ()
    lease: Lease


async def _decoded(decode: Callable[[HttpRequest], Awaitable[Any]], request: HttpRequest) -> FrontRequest:
    return FrontRequest(question=await decode(request), token=study_token_of(request))


async def retrieve(unit: FrontUnit, request: FrontRequest) -> FetchedResponse:
    """Give instances, metadata, frames or bulk data of a study that the caller may see."""
    holding = _holding(unit, await study_of(unit, request))
    return _response(await wado_rs.handle(holding, request.question), holding)


async def render(unit: FrontUnit, request: FrontRequest) -> FetchedResponse:
    """Give images of a study that the caller may see; a thumbnail is of one that is fetched for it."""
    study = await study_of(unit, request)
    question: RenderRequest = request.question
    holding = _holding(unit, study, ahead=not question.thumbnail)
    if question.thumbnail and not question.resource.sop_instance_uid:
        question = replace(question, resource=_representative(study, question.resource))
    return _response(await rendered.handle(holding, question), holding)


async def study_of(unit: FrontUnit, request: FrontRequest) -> OpenStudy:
    """The study that is asked for, for a caller who may see it now; raises as `ReadingRoom.study`."""
    visitor = Visitor.of(unit.caller)
    return await unit.parts.study(visitor, request.resource.study_instance_uid, request.token)


async def thumbnail(room: ReadingRoom, visitor: Visitor, study: OpenStudy) -> FetchedResponse:
    """A small picture of a study, for a page that shows several."""
    resource = RetrieveRequest(
        study_instance_uid=study.study_instance_uid, location=f"/studies/{study.study_instance_uid}"
    )
    question = RenderRequest(
        resource=_representative(study, resource),
        rendering=rendering_of({}, "image/jpeg", thumbnail=True),
        thumbnail=True,
    )
    holding = Holding(room, study, room.consumer(visitor), ahead=False)
    return _response(await rendered.handle(holding, question), holding)


def _holding(unit: FrontUnit, study: OpenStudy, *, ahead: bool = True) -> Holding:
    consumer = unit.parts.consumer(Visitor.of(unit.caller))
    return Holding(unit.parts, study, consumer, ahead=ahead)


def _representative(study: OpenStudy, resource: RetrieveRequest) -> RetrieveRequest:
    """The one in the middle of what the resource holds."""
    series = resource.series_instance_uid
    instances = [one for one in study.instances.values() if series in ("", one.series_instance_uid)]
    if not instances:
        return resource
    # Of the first series of images: the middle of a study may be a report.
    images = [one for one in instances if Content.of(one.sop_class_uid) is Content.IMAGE] or instances
    first = [one for one in images if one.series_instance_uid == images[0].series_instance_uid]
    one = first[len(first) // 2]
    return replace(
        resource, series_instance_uid=one.series_instance_uid, sop_instance_uid=one.sop_instance_uid
    )


def _response(response: RetrieveResponse, holding: Holding) -> FetchedResponse:
    missing = tuple(holding.missing)
    nothing = response.status is HTTPStatus.NOT_FOUND
    if missing and nothing:
        raise missing[0].problem
    status = HTTPStatus.PARTIAL_CONTENT if missing and response.status is HTTPStatus.OK else response.status
    values: dict[str, Any] = {one.name: getattr(response, one.name) for one in fields(RetrieveResponse)}
    values |= {"status": status, "results": (*response.results, *map(_result, missing))}
    return FetchedResponse(**values, missing=missing, lease=holding.lease)


def _result(missing: MissingInstance) -> InstanceResult:
    return result_of(missing.requested, failure=missing.reason)


def result_of(one: RequestedInstance, *, failure: str = "") -> InstanceResult:
    """What became of an instance that was asked for, for the trail."""
    return InstanceResult(
        study_instance_uid=one.study_instance_uid,
        series_instance_uid=one.series_instance_uid,
        sop_instance_uid=one.sop_instance_uid,
        sop_class_uid=one.sop_class_uid,
        patient_id=one.patient_id,
        failure=failure,
    )


def encode(response: FetchedResponse) -> HttpResponse:
    """The answer, which lets go of what it holds when it is sent."""
    encoded = wado_rs_http.encode(response)
    headers = dict(encoded.headers)
    if response.missing:
        headers["warning"] = f'299 xdsi "{warning_of(response.missing)}"'
    return replace(encoded, headers=headers, sent=response.lease.release)


def warning_of(missing: Sequence[MissingInstance]) -> str:
    """What is missing and why, the first of them by name."""
    reasons: dict[str, list[str]] = {}
    for one in missing:
        reasons.setdefault(one.reason, []).append(one.requested.sop_instance_uid)
    sentence = "; ".join(
        f"{len(uids)} of these images are missing: {reason} ({', '.join(uids[:_MOST_TOLD])}"
        f"{', ...' if len(uids) > _MOST_TOLD else ''})"
        for reason, uids in list(reasons.items())[:_MOST_TOLD]
    )
    # A header is one line of ASCII, and this one is quoted.
    return "".join(one if " " <= one <= "~" and one != '"' else "'" for one in sentence)


def audit(
    request: FrontRequest, response: FetchedResponse | None, caller: Caller, outcome: Outcome
) -> tuple[AuditEvent, ...]:
    """Describe the transfer, as every source does."""
    return wado_rs.audit(request.resource, response, caller, outcome)


def _served(of: ServedRest[Any, Any], handle: Any) -> ServedRest[FrontRequest, FetchedResponse]:
    """What a source serves, as it is served here."""
    return replace(
        of, scheme=FrontToken, decode=partial(_decoded, of.decode), handle=handle, audit=audit, encode=encode
    )


SERVED: Final = _served(wado_rs_http.SERVED, retrieve)
RENDERED: Final = _served(rendered.SERVED, render)
