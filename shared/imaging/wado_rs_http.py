"""WADO-RS Retrieve [RAD-107] over HTTP: what is asked for, and how it is given (PS3.18 8, 10.4).

Files leave by the zero-copy job of the server, metadata a few instances at a time.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from http import HTTPStatus
from itertools import chain, groupby
from operator import attrgetter
from typing import Final

from shared.dicom import multipart, native_xml
from shared.dicom.json import with_base
from shared.dicom.uids import UID_FORM, is_uid
from shared.http.pieces import Piece, total_size
from shared.http.problem import (
    BadRequest,
    HttpProblem,
    InternalProblem,
    NotAcceptable,
    NotFound,
)
from shared.http.ranges import asked_range, part_of
from shared.imaging import negotiation
from shared.imaging.bulk_data import BulkValue, path_of
from shared.imaging.instance import Instance
from shared.imaging.negotiation import Acceptable, Form
from shared.imaging.wado_rs import Given, RetrieveRequest, RetrieveResponse, audit, handle
from shared.messages.rad107 import EVENT_TYPE
from shared.rest.message import HttpRequest, HttpResponse
from shared.rest.served import ServedRest
from shared.security.rights import Right
from shared.security.speaker import Speaker

PATHS: Final = (
    "/dicomweb/studies/{study}",
    "/dicomweb/studies/{study}/series/{series}",
    "/dicomweb/studies/{study}/series/{series}/instances/{instance}",
)
_METADATA: Final = "/metadata"
_BULK_DATA: Final = "/bulkdata/{bulk:path}"
_FRAMES: Final = "/frames/{frames}"
_MOST_FRAMES: Final = 1_000
_SERIES_OF: Final = attrgetter(
    "transfer_syntax_uid", "instance.study_instance_uid", "instance.series_instance_uid"
)
_UID_OF: Final = attrgetter("instance.sop_instance_uid")
_FILE_OF: Final = attrgetter("file")
_UNANSWERED: Final[Mapping[HTTPStatus, type[HttpProblem]]] = {
    kind.status: kind for kind in (NotFound, NotAcceptable, InternalProblem)
}


# --- in ----------------------------------------------------------------------------------------------


async def decode(request: HttpRequest) -> RetrieveRequest:
    """Read which resource is asked for, and the forms in which it may be given."""
    uids = dict(request.parameters)
    bulk = path_of(uids.pop("bulk", ""))
    if request.route.endswith(_BULK_DATA) and not bulk:
        raise NotFound("there is no such value; metadata name those that are given apart")
    frames = frame_numbers(uids.pop("frames")) if "frames" in uids else ()
    study, series, instance = uids_of(uids)
    headers = request.headers
    header, query = headers.get("accept"), ", ".join(request.query.get("accept", ())) or None
    return RetrieveRequest(
        study_instance_uid=study,
        series_instance_uid=series,
        sop_instance_uid=instance,
        location=request.path[request.path.find("/studies/") :],
        form=_form(request.route, header, query),
        acceptable=_acceptable(request.route, header, query, single="instance" in uids),
        bulk=bulk,
        frames=frames,
        frame_forms=negotiation.frames(header, query, single=len(frames) == 1) if frames else (),
        if_none_match=headers.get("if-none-match", ""),
        range=headers.get("range", ""),
        if_range=headers.get("if-range", ""),
    )


def uids_of(uids: Mapping[str, str]) -> tuple[str, str, str]:
    """The UIDs of study, series and instance in a path; empty where it has none.

    Raises
    ------
    BadRequest
        One is no UID.
    """
    if not all(map(is_uid, uids.values())):
        raise BadRequest(f"the path holds something that is no UID: {UID_FORM}")
    return uids["study"], uids.get("series", ""), uids.get("instance", "")


def frame_numbers(text: str) -> tuple[int, ...]:
    """The numbers of a list of frames, from 1.

    Raises
    ------
    BadRequest
        It is no such list, or longer than anybody needs.
    """
    if not re.fullmatch(r"[1-9][0-9]{0,8}(?:,[1-9][0-9]{0,8})*", text, re.ASCII):
        raise BadRequest("frames are numbers from 1, parted by commas")
    numbers = tuple(map(int, text.split(",")))
    if len(numbers) > _MOST_FRAMES:
        raise BadRequest(f"more than {_MOST_FRAMES} frames; ask for the rest in another request")
    return numbers


def _acceptable(route: str, header: str | None, query: str | None, *, single: bool) -> Acceptable | None:
    if route.endswith((_METADATA, _BULK_DATA, _FRAMES)):
        return None
    return negotiation.instances(header, query, single=single)


def _form(route: str, header: str | None, query: str | None) -> Form | None:
    """How metadata and bulk data are given."""
    if route.endswith(_METADATA):
        return negotiation.metadata(header, query)
    return negotiation.bulk_data(header, query) if route.endswith(_BULK_DATA) else None


# --- out ---------------------------------------------------------------------------------------------


def encode(response: RetrieveResponse) -> HttpResponse:
    """Give what was found, or raise why nothing is given."""
    if response.status in _UNANSWERED:
        raise _UNANSWERED[response.status](response.reason)
    headers = {"etag": response.etag, "cache-control": "private, no-cache"}
    media_type, pieces, stream = "", list[Piece](), None
    if response.single:
        return _ranged(response, response.values[0], headers)
    if response.given:
        media_type, pieces = _instances(response, response.given)
    elif response.values:
        media_type, pieces = _values(response, response.values)
    elif response.metadata is not None:
        media_type, stream = _metadata(response, response.metadata)
    return HttpResponse(
        status=response.status, media_type=media_type, headers=headers, pieces=pieces, stream=stream
    )


def _instances(response: RetrieveResponse, files: Sequence[Given]) -> tuple[str, list[Piece]]:
    acceptable = response.request.acceptable
    if acceptable is not None and acceptable.form is Form.SINGLE_DICOM:
        return _type_in(files[0].transfer_syntax_uid), [files[0].file]
    boundary = multipart.new_boundary()
    pieces: list[Piece] = []
    for (syntax, study, series), alike in groupby(files, _SERIES_OF):
        of_series = list(alike)
        place = f"{response.base}/studies/{study}/series/{series}/instances/"
        heads = multipart.part_heads(boundary, _type_in(syntax), place, list(map(_UID_OF, of_series)))
        pieces += chain.from_iterable(zip(heads, map(_FILE_OF, of_series), strict=True))
    return multipart.content_type(boundary), [*pieces, multipart.closing(boundary)]


def location(base: str, instance: Instance) -> str:
    """The URL of an instance, below the `base` of DICOM web services."""
    return (
        f"{base}/studies/{instance.study_instance_uid}"
        f"/series/{instance.series_instance_uid}/instances/{instance.sop_instance_uid}"
    )


def _values(response: RetrieveResponse, values: Sequence[BulkValue]) -> tuple[str, list[Piece]]:
    boundary = multipart.new_boundary()
    pieces: list[Piece] = []
    places = response.places or (response.request.location,)
    for value, place in zip(values, places, strict=True):
        headers = [("Content-Type", value.media_type), ("Content-Location", f"{response.base}{place}")]
        pieces += [multipart.part_head(boundary, headers), *value.pieces]
    part_type = values[0].media_type.partition(";")[0]
    return multipart.content_type(boundary, part_type), [*pieces, multipart.closing(boundary)]


def _ranged(response: RetrieveResponse, value: BulkValue, headers: dict[str, str]) -> HttpResponse:
    """One value as the body, or the range of it that is asked for."""
    total = total_size(value.pieces)
    request = response.request
    headers |= {"accept-ranges": "bytes"}
    is_current = request.if_range in ("", response.etag)
    place = asked_range(request.range, total) if request.range and is_current else None
    if place is None:
        return HttpResponse(media_type=value.media_type, headers=headers, pieces=value.pieces)
    start, length = place
    headers |= {"content-range": f"bytes {start}-{start + length - 1}/{total}"}
    return HttpResponse(
        status=HTTPStatus.PARTIAL_CONTENT,
        media_type=value.media_type,
        headers=headers,
        pieces=part_of(value.pieces, start, length),
    )


def _metadata(response: RetrieveResponse, pieces: AsyncIterator[bytes]) -> tuple[str, AsyncGenerator[bytes]]:
    if response.request.form is not Form.XML:
        return negotiation.DICOM_JSON, _as_json(pieces, response.base)
    boundary = multipart.new_boundary()
    media_type = multipart.content_type(boundary, negotiation.DICOM_XML)
    return media_type, _as_xml(pieces, response.base, boundary)


async def _as_json(pieces: AsyncIterator[bytes], base: str) -> AsyncGenerator[bytes]:
    async for octets in pieces:
        yield with_base(octets, base)


async def _as_xml(pieces: AsyncIterator[bytes], base: str, boundary: str) -> AsyncGenerator[bytes]:
    async for octets in pieces:
        yield multipart.part_head(boundary, [("Content-Type", negotiation.DICOM_XML)])
        yield await asyncio.to_thread(_xml, with_base(octets, base))
    yield multipart.closing(boundary)


def _xml(metadata: bytes) -> bytes:
    return native_xml.encode(json.loads(metadata))


def _type_in(syntax: str) -> str:
    return f"{negotiation.DICOM}; transfer-syntax={syntax}"


SERVED: Final = ServedRest(
    number=EVENT_TYPE.code,
    name=EVENT_TYPE.text,
    routes=tuple(
        f"GET {path}"
        for path in (
            *(p + s for p in PATHS for s in ("", _METADATA)),
            PATHS[-1] + _BULK_DATA,
            PATHS[-1] + _FRAMES,
        )
    ),
    right=Right.ASK,
    speaker=Speaker.USER,
    decode=decode,
    handle=handle,
    audit=audit,
    encode=encode,
    problems={negotiation.Malformed: BadRequest, negotiation.NothingAcceptable: NotAcceptable},
)
