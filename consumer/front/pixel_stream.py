"""The pixel data of a series in one answer [RAD-107], each instance as it arrives (PS3.18 10.4.1.1, 8.7.3.3).

The answer begins before it is known what comes of each instance. One that lacks something is therefore broken
off at its end: whoever asked asks for what did not come, and is told why.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from http import HTTPStatus
from math import ceil
from typing import Any, Final, cast

from consumer.front import rad107
from consumer.front.collection import MissingInstance
from consumer.front.holding import Holding
from consumer.front.rad107 import FrontRequest, FrontUnit, result_of, study_of
from consumer.front.reading_room import OpenStudy, ReadingRoom
from consumer.front.tokens import study_token_of
from consumer.store.image_cache import CachedInstance
from shared.dicom import multipart
from shared.http.pieces import BodyBroken, Piece, PieceReader, size
from shared.imaging import negotiation, wado_rs_http
from shared.imaging.bulk_data import OCTETS
from shared.imaging.instance import Instance
from shared.imaging.retrieval import Unreadable, syntax_of
from shared.imaging.transfer_syntax import Impossible
from shared.imaging.wado_rs import RetrieveRequest, RetrieveResponse, not_found, type_of_frames
from shared.pages.visitors import Visitor
from shared.rest.message import HttpRequest, HttpResponse
from shared.rest.served import ServedRest

# Most slices go in one: each hop to a thread waits for those that take what arrives.
_CHUNK_BYTES: Final = 1024**2
_ROUTE: Final = f"GET {wado_rs_http.PATHS[1]}/pixeldata"


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamedResponse(RetrieveResponse):
    """The answer, whose body are `parts` with a `boundary`."""

    boundary: str
    parts: AsyncGenerator[bytes | bytearray]


async def decode(request: HttpRequest) -> FrontRequest:
    """Read which series is asked for, and the forms in which its frames may be given."""
    study, series, _ = wado_rs_http.uids_of(request.parameters)
    query = ", ".join(request.query.get("accept", ())) or None
    question = RetrieveRequest(
        study_instance_uid=study,
        series_instance_uid=series,
        frame_forms=negotiation.frames(request.headers.get("accept"), query, single=False),
    )
    return FrontRequest(question=question, token=study_token_of(request))


async def retrieve(unit: FrontUnit, request: FrontRequest) -> RetrieveResponse:
    """Give the frames of a series that the caller may see, as soon as the first of them are there.

    Raises
    ------
    HttpProblem
        The study is none for the caller; or nothing came, and why.
    """
    resource = request.resource
    series = _Series(unit.parts, await study_of(unit, request), Visitor.of(unit.caller), resource)
    parts = series.parts()
    try:
        first = await anext(parts)
    except StopAsyncIteration:
        return not_found(resource, (), "there are no pixel data of such a series here")
    except _Incomplete as error:
        raise error.missing[0].problem from None
    return StreamedResponse(
        status=HTTPStatus.OK,
        request=resource,
        results=tuple(map(result_of, series.requested)),
        boundary=series.boundary,
        parts=_beginning(first, parts),
    )


class _Incomplete(BodyBroken):
    """A series of which something is `missing`."""

    def __init__(self, missing: Sequence[MissingInstance]) -> None:
        super().__init__(f"{len(missing)} of these images are missing, first: {missing[0].reason}")
        self.missing = missing


class _Series:
    """One series on its way; each instance is held on to while it is sent."""

    def __init__(
        self, room: ReadingRoom, study: OpenStudy, visitor: Visitor, resource: RetrieveRequest
    ) -> None:
        self.boundary = multipart.new_boundary()
        self.requested = [
            one for one in study.instances.values() if one.series_instance_uid == resource.series_instance_uid
        ]
        self._room = room
        self._study = study
        self._forms = resource.frame_forms
        self._consumer = room.consumer(visitor)

    async def parts(self) -> AsyncGenerator[bytes | bytearray]:
        """The parts in the order in which instances arrive, and the end.

        Raises
        ------
        _Incomplete
            In the place of the end: not everything came.
        """
        missing: list[MissingInstance] = []
        has_begun = False
        async with aclosing(self._study.collection.arriving(self._consumer, self.requested)) as arriving:
            async for one in arriving:
                if isinstance(one, MissingInstance):
                    missing.append(one)
                    continue
                async with aclosing(self._parts_of(one)) as parts:
                    async for octets in parts:
                        has_begun = True
                        yield octets
        if missing:
            raise _Incomplete(missing)
        if has_begun:
            yield multipart.closing(self.boundary)

    async def _parts_of(self, cached: CachedInstance) -> AsyncGenerator[bytes | bytearray]:
        holding = Holding(self._room, self._study, self._consumer, ahead=False)
        holding.hold(cached)
        try:
            pieces = await self._pieces(holding, cached.instance)
            total = sum(map(size, pieces))
            reader = PieceReader(pieces, min(total, _CHUNK_BYTES))
            try:
                for _ in range(ceil(total / _CHUNK_BYTES)):
                    yield await asyncio.to_thread(reader.next_chunk)
            finally:
                reader.close()
        finally:
            holding.lease.release()

    async def _pieces(self, holding: Holding, one: Instance) -> list[Piece]:
        """Every frame as a part of its own; none of what has no pixels.

        Raises
        ------
        BodyBroken
            They cannot be given in any of the forms that are asked for.
        """
        if not one.has_pixels:
            return []
        for form in self._forms:
            choice = form.choose(
                one.transfer_syntax_uid, decoded_size=one.decoded_size, codecs=holding.transcoder.codecs
            )
            if isinstance(choice, Impossible):
                continue
            frames = await holding.frames(one, choice)
            if not isinstance(frames, Unreadable):
                media_type = type_of_frames(form, syntax_of(one, choice))
                return [piece for part in self._framed(one, media_type, frames) for piece in part]
        raise BodyBroken("the frames of an instance cannot be given in a form that is asked for")

    def _framed(
        self, one: Instance, media_type: str, frames: Sequence[tuple[Piece, ...]]
    ) -> Iterator[tuple[Piece, ...]]:
        place = f"{wado_rs_http.location(self._room.parts.settings.dicomweb_url, one)}/frames/"
        for number, pieces in enumerate(frames, 1):
            headers = [
                ("Content-Type", media_type),
                ("Content-Length", str(sum(map(size, pieces)))),
                ("Content-Location", f"{place}{number}"),
            ]
            yield multipart.part_head(self.boundary, headers), *pieces


async def _beginning(
    first: bytes | bytearray, parts: AsyncGenerator[bytes | bytearray]
) -> AsyncGenerator[bytes | bytearray]:
    """`first` and then the other `parts`."""
    async with aclosing(parts):
        yield first
        async for octets in parts:
            yield octets


def encode(response: RetrieveResponse) -> HttpResponse:
    """The parts, in a body of a length that nobody knows yet; or why there are none."""
    if not isinstance(response, StreamedResponse):
        return wado_rs_http.encode(response)
    return HttpResponse(
        media_type=multipart.content_type(response.boundary, OCTETS),
        headers={"cache-control": "private, no-store"},
        stream=response.parts,
    )


SERVED: Final[ServedRest[FrontRequest, Any]] = replace(
    cast("ServedRest[FrontRequest, Any]", rad107.SERVED),
    routes=(_ROUTE,),
    decode=decode,
    handle=retrieve,
    encode=encode,
)
