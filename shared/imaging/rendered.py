"""WADO-RS Retrieve [RAD-107]: rendered images and thumbnails (PS3.18 10.4.1.1.4, 10.4.1.1.5).

Images are rendered as JPEG, PNG or GIF, a GIF of all frames; a study or a series comes as parts, one for each
instance that has pixels. A thumbnail is of one image of the resource, and never says whose it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Final

from shared.audit.events import REFUSED_BY_CONSENT, AuditEvent, Outcome
from shared.errors import XdsError
from shared.http.pieces import FileRange
from shared.http.problem import BadRequest, NotAcceptable, TooLarge
from shared.imaging import negotiation
from shared.imaging import wado_rs as rad107
from shared.imaging.bulk_data import BulkValue
from shared.imaging.holding import Access, HoldingUnit
from shared.imaging.instance import Instance
from shared.imaging.presentation import APPLIED, is_presentation_state, presentation_of
from shared.imaging.rendering import (
    Rendering,
    RenderingError,
    TooManyPixels,
    rendered_type,
    rendering_of,
)
from shared.imaging.retrieval import InstanceResult, Undecodable, Unreadable, rendered
from shared.imaging.wado_rs import (
    RetrieveRequest,
    RetrieveResponse,
    etag_of,
    matches,
    not_found,
    permitted_instances,
    result_of,
    unreadable,
)
from shared.imaging.wado_rs_http import PATHS, encode, frame_numbers, uids_of
from shared.messages.rad107 import EVENT_TYPE
from shared.rest.message import HttpRequest
from shared.rest.served import ServedRest
from shared.security.caller import Caller
from shared.security.rights import Right
from shared.security.speaker import Speaker

MAX_IMAGES: Final = 1_000
_AT_ONCE: Final = 2
_FRAMES: Final = f"{PATHS[-1]}/frames/{{frames}}"
_RENDERED: Final = "/rendered"
_THUMBNAIL: Final = "/thumbnail"


# --- messages ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderRequest:
    """The resource, as for RAD-107, and how each of its images is rendered; one image stands for all of a
    `thumbnail`. `state` are the UIDs of the series and the instance of a presentation state by which they are
    shown."""

    resource: RetrieveRequest
    rendering: Rendering
    state: tuple[str, str] | None = None
    in_parts: bool = False
    thumbnail: bool = False


async def decode(request: HttpRequest) -> RenderRequest:
    """Read which resource is asked for, and how it is to be shown."""
    uids = dict(request.parameters)
    frames = frame_numbers(uids.pop("frames")) if "frames" in uids else ()
    study, series, instance = uids_of(uids)
    headers = request.headers
    header, query = headers.get("accept"), ", ".join(request.query.get("accept", ())) or None
    media_type, in_parts = rendered_type(header, query)
    thumbnail = request.route.endswith(_THUMBNAIL)
    return RenderRequest(
        resource=RetrieveRequest(
            study_instance_uid=study,
            series_instance_uid=series,
            sop_instance_uid=instance,
            location=request.path[request.path.find("/studies/") :],
            frames=frames,
            if_none_match=headers.get("if-none-match", ""),
            range=headers.get("range", ""),
            if_range=headers.get("if-range", ""),
        ),
        rendering=rendering_of(request.query, media_type, thumbnail=thumbnail),
        in_parts=in_parts,
        thumbnail=thumbnail,
    )


# --- expected actions --------------------------------------------------------------------------------


async def handle(unit: HoldingUnit, request: RenderRequest) -> RetrieveResponse:
    """Render what of the resource the caller may have."""
    resource = request.resource
    permitted, access, refused = await permitted_instances(unit, resource)
    if not permitted:
        return not_found(resource, refused)
    if resource.sop_instance_uid and is_presentation_state(permitted[0]):
        return await _presented(unit, request, permitted[0], access)
    if request.state is not None:
        return await _shown_by(unit, request, permitted[0])
    images = [one for one in permitted if one.has_pixels]
    if request.thumbnail and images:
        images = [_representative(images)]
    if len(images) * max(1, len(resource.frames)) > MAX_IMAGES:
        raise TooLarge(f"more than {MAX_IMAGES} images; ask for a series or an instance")
    if not images:
        failure = "there is nothing with pixels in it"
        results = tuple(result_of(one, access[one.sop_instance_uid], failure=failure) for one in permitted)
        return _nothing(resource, (), results)
    if resource.frames and max(resource.frames) > images[0].number_of_frames:
        return not_found(resource, (), f"there are {images[0].number_of_frames} frames")
    orders = [
        _Order(one, replace(request.rendering, frame=frame))
        for one in images
        for frame in resource.frames or (0,)
    ]
    response = await _rendered(unit, request, orders, access)
    return replace(response, base=unit.parts.dicomweb_url, results=(*response.results, *refused))


async def _shown_by(unit: HoldingUnit, request: RenderRequest, image: Instance) -> RetrieveResponse:
    """One image by the presentation state that is named."""
    assert request.state is not None
    series, instance = request.state
    resource = replace(request.resource, series_instance_uid=series, sop_instance_uid=instance, frames=())
    permitted, access, refused = await permitted_instances(unit, resource)
    if not permitted or not is_presentation_state(permitted[0]):
        return not_found(request.resource, refused, "there is no such presentation state here")
    return await _presented(unit, request, permitted[0], access, image)


async def _presented(
    unit: HoldingUnit,
    request: RenderRequest,
    state: Instance,
    access: Mapping[str, Access],
    only: Instance | None = None,
) -> RetrieveResponse:
    """The images that a presentation state shows, or of them that which is asked for."""
    resource, rendering = request.resource, request.rendering
    if rendering.window is not None:
        raise RenderingError("a presentation state has windows of its own; ask without one")
    if only is None and resource.frames:
        return not_found(resource, (), "a presentation state has no frames; ask for the instance")
    if state.sop_class_uid not in APPLIED:
        return _nothing(resource, (), (_of_state(state, access, "such presentation states are not applied"),))
    try:
        presentation = await presentation_of(unit, state)
    except ValueError as error:
        return _nothing(resource, (), (_of_state(state, access, str(error)),))
    access = {**access, **presentation.access}
    refused = tuple(
        result_of(one, access[one.sop_instance_uid], failure=_refusal(one, access))
        for one in presentation.refused
    )
    images = [(one, frame) for one, frame in presentation.images if one.has_pixels]
    if only is not None:
        frame = next(iter(resource.frames), 0)
        shown = {number for one, number in images if one.sop_instance_uid == only.sop_instance_uid}
        images = [(only, frame)] if shown & {0, frame} or (shown and not frame) else []
    if not images:
        return not_found(resource, refused, "there is no image here that the presentation state shows")
    if request.thumbnail:
        images = images[:1]
    if len(images) > MAX_IMAGES:
        raise TooLarge(f"more than {MAX_IMAGES} images")
    orders = [_Order(one, replace(rendering, frame=frame), state) for one, frame in images]
    response = await _rendered(unit, request, orders, access)
    results = (*response.results, _of_state(state, access), *refused)
    return replace(response, base=unit.parts.dicomweb_url, results=results)


def _refusal(one: Instance, access: Mapping[str, Access]) -> str:
    return f"{REFUSED_BY_CONSENT}{access[one.sop_instance_uid].decision.reason}"


def _of_state(state: Instance, access: Mapping[str, Access], failure: str = "") -> InstanceResult:
    return result_of(state, access[state.sop_instance_uid], failure=failure)


def _representative(images: Sequence[Instance]) -> Instance:
    """The image in the middle of the first series: there is most to be seen."""
    series = [one for one in images if one.series_instance_uid == images[0].series_instance_uid]
    return series[len(series) // 2]


@dataclass(frozen=True, slots=True)
class _Order:
    """One image to be rendered, as `state` has it shown where there is one."""

    image: Instance
    rendering: Rendering
    state: Instance | None = None


async def _rendered(
    unit: HoldingUnit, request: RenderRequest, orders: Sequence[_Order], access: Mapping[str, Access]
) -> RetrieveResponse:
    resource = request.resource
    etag = etag_of(map(_parts_of, orders))
    delivered = tuple(
        result_of(one, access[one.sop_instance_uid]) for one in dict.fromkeys(order.image for order in orders)
    )
    if matches(resource.if_none_match, etag):
        return RetrieveResponse(
            request=resource, status=HTTPStatus.NOT_MODIFIED, etag=etag, results=delivered
        )
    at_once = asyncio.Semaphore(_AT_ONCE)

    async def image(order: _Order) -> FileRange | Unreadable:
        async with at_once:
            return await rendered(unit, order.image, order.rendering, order.state)

    answers = await asyncio.gather(*map(image, orders))
    results = _results(orders, answers, access)
    pairs = zip(orders, answers, strict=True)
    files = [(order, file) for order, file in pairs if isinstance(file, FileRange)]
    if not files:
        return _nothing(resource, answers, results)
    whole = len(files) == len(orders)
    return RetrieveResponse(
        request=resource,
        status=HTTPStatus.OK if whole else HTTPStatus.PARTIAL_CONTENT,
        etag=etag,
        values=tuple(BulkValue(order.rendering.media_type, (file,)) for order, file in files),
        places=tuple(_place(order) for order, _ in files),
        single=len(orders) == 1 and not request.in_parts,
        results=results,
    )


def _parts_of(order: _Order) -> tuple[str, ...]:
    state = (order.state.sop_instance_uid, order.state.sha256) if order.state is not None else ()
    return order.image.sop_instance_uid, order.image.sha256, repr(order.rendering), *state


def _results(
    orders: Sequence[_Order],
    answers: Sequence[FileRange | Unreadable],
    access: Mapping[str, Access],
) -> tuple[InstanceResult, ...]:
    """What became of each instance, once."""
    failures: dict[Instance, str] = {}
    for order, answer in zip(orders, answers, strict=True):
        reason = answer.reason if isinstance(answer, Unreadable) else ""
        failures[order.image] = failures.get(order.image, "") or reason
    return tuple(
        result_of(one, access[one.sop_instance_uid], failure=failure) for one, failure in failures.items()
    )


def _place(order: _Order) -> str:
    shown = order.state or order.image
    place = f"/studies/{shown.study_instance_uid}/series/{shown.series_instance_uid}"
    has_frame = order.rendering.frame and order.state is None
    frame = f"/frames/{order.rendering.frame}" if has_frame else ""
    return f"{place}/instances/{shown.sop_instance_uid}{frame}/rendered"


def _nothing(
    resource: RetrieveRequest,
    answers: Sequence[FileRange | Unreadable],
    results: tuple[InstanceResult, ...],
) -> RetrieveResponse:
    failed = next((answer for answer in answers if not isinstance(answer, FileRange | Undecodable)), None)
    if failed is not None:
        return replace(unreadable(resource, results[0]), results=results)
    reason = results[0].failure
    return RetrieveResponse(
        request=resource,
        status=HTTPStatus.NOT_ACCEPTABLE,
        reason=reason,
        results=results,
        errors=(XdsError(reason),),
    )


def audit(
    request: RenderRequest, response: RetrieveResponse | None, caller: Caller, outcome: Outcome
) -> tuple[AuditEvent, ...]:
    """Describe the transfer, as RAD-107 does."""
    return rad107.audit(request.resource, response, caller, outcome)


SERVED: Final = ServedRest(
    number=EVENT_TYPE.code,
    name=EVENT_TYPE.text,
    routes=tuple(f"GET {path}{end}" for path in (*PATHS, _FRAMES) for end in (_RENDERED, _THUMBNAIL)),
    right=Right.ASK,
    speaker=Speaker.USER,
    decode=decode,
    handle=handle,
    audit=audit,
    encode=encode,
    problems={
        negotiation.Malformed: BadRequest,
        negotiation.NothingAcceptable: NotAcceptable,
        RenderingError: BadRequest,
        TooManyPixels: TooLarge,
    },
)
