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

from shared.audit.events import AuditEvent, Outcome
from shared.errors import XdsError
from shared.http.pieces import FileRange
from shared.http.problem import BadRequest, NotAcceptable, TooLarge
from shared.imaging import negotiation
from shared.imaging import wado_rs as rad107
from shared.imaging.bulk_data import BulkValue
from shared.imaging.holding import Access, HoldingUnit
from shared.imaging.instance import Instance
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
    `thumbnail`."""

    resource: RetrieveRequest
    rendering: Rendering
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
    response = await _rendered(unit, request, images, access)
    return replace(response, base=unit.parts.dicomweb_url, results=(*response.results, *refused))


def _representative(images: Sequence[Instance]) -> Instance:
    """The image in the middle of the first series: there is most to be seen."""
    series = [one for one in images if one.series_instance_uid == images[0].series_instance_uid]
    return series[len(series) // 2]


async def _rendered(
    unit: HoldingUnit, request: RenderRequest, images: Sequence[Instance], access: Mapping[str, Access]
) -> RetrieveResponse:
    resource, asked_frames = request.resource, request.resource.frames or (0,)
    orders = [(one, replace(request.rendering, frame=frame)) for one in images for frame in asked_frames]
    etag = etag_of((one.sop_instance_uid, one.sha256, repr(rendering)) for one, rendering in orders)
    delivered = tuple(result_of(one, access[one.sop_instance_uid]) for one in images)
    if matches(resource.if_none_match, etag):
        return RetrieveResponse(
            request=resource, status=HTTPStatus.NOT_MODIFIED, etag=etag, results=delivered
        )
    at_once = asyncio.Semaphore(_AT_ONCE)

    async def image(one: Instance, rendering: Rendering) -> FileRange | Unreadable:
        async with at_once:
            return await rendered(unit, one, rendering)

    answers = await asyncio.gather(*(image(*order) for order in orders))
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
        values=tuple(BulkValue(rendering.media_type, (file,)) for (_, rendering), file in files),
        places=tuple(_place(one, rendering) for (one, rendering), _ in files),
        single=len(orders) == 1 and not request.in_parts,
        results=results,
    )


def _results(
    orders: Sequence[tuple[Instance, Rendering]],
    answers: Sequence[FileRange | Unreadable],
    access: Mapping[str, Access],
) -> tuple[InstanceResult, ...]:
    """What became of each instance, once."""
    failures: dict[Instance, str] = {}
    for (one, _), answer in zip(orders, answers, strict=True):
        failures[one] = failures.get(one, "") or (answer.reason if isinstance(answer, Unreadable) else "")
    return tuple(
        result_of(one, access[one.sop_instance_uid], failure=failure) for one, failure in failures.items()
    )


def _place(one: Instance, rendering: Rendering) -> str:
    place = f"/studies/{one.study_instance_uid}/series/{one.series_instance_uid}"
    frame = f"/frames/{rendering.frame}" if rendering.frame else ""
    return f"{place}/instances/{one.sop_instance_uid}{frame}/rendered"


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
