"""Documents on their way through a gateway: parts of several answers become parts of one, while they come
(ITI TF-2 3.39.4; RAD TF-3 4.75.4: a gateway keeps nothing and changes nothing)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass

from shared.http.passage import declared_length
from shared.http.pieces import BodyBroken
from shared.soap.client import PeerError, StreamedPart
from shared.soap.mtom import Destination, Expected, OneSource, RelayedBody, RelayedPart


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One answer whose parts are to come.

    `expected` are those that go on; others are read and dropped. `on_broken` records that they did not all
    come. `rest` is the body that brings them, when it may be passed on.
    """

    parts: AsyncIterator[StreamedPart]
    rest: RelayedBody | None
    expected: Expected
    stall_seconds: float
    on_broken: Callable[[], Awaitable[None]]


class Relay:
    """The parts of `sources`, each as soon as it begins to arrive, wherever it comes from.

    `opened` holds the connections to the sources, and is closed with the relay. `ready` are parts that are at
    hand.
    """

    def __init__(
        self,
        sources: list[Source],
        opened: AsyncExitStack,
        ready: list[tuple[Destination, bytes]],
    ) -> None:
        self._sources = sources
        self._opened = opened
        self._ready = ready

    @property
    def one_source(self) -> OneSource | None:
        """The only source, when it brings everything as the rest of its body."""
        if self._ready or len(self._sources) != 1 or (source := self._sources[0]).rest is None:
            return None
        return OneSource(
            rest=source.rest,
            expected=source.expected,
            stall_seconds=source.stall_seconds,
            on_broken=source.on_broken,
        )

    async def parts(self) -> AsyncGenerator[RelayedPart]:
        """Each part once; raises `BodyBroken` when one that was promised does not come."""
        for destination, octets in self._ready:
            yield RelayedPart(destination.content_id, destination.content_type, _one(octets), len(octets))
        # One source waits for the others for the time of one part: a source that had to wait for all of
        # another would take us for a client that went away.
        coming = {asyncio.create_task(_next(source)): source for source in self._sources}
        try:
            while coming:
                begun, _ = await asyncio.wait(coming, return_when=asyncio.FIRST_COMPLETED)
                for task in begun:
                    source = coming.pop(task)
                    if (part := await _result(task, source)) is None:
                        continue
                    yield part
                    coming[asyncio.create_task(_next(source))] = source
        finally:
            for task in coming:
                task.cancel()
            await asyncio.gather(*coming, return_exceptions=True)

    async def aclose(self) -> None:
        """Let go of the sources."""
        await self._opened.aclose()


async def _result(task: asyncio.Task[RelayedPart | None], source: Source) -> RelayedPart | None:
    try:
        return task.result()
    except PeerError as error:
        await source.on_broken()
        raise BodyBroken(str(error)) from error


async def _next(source: Source) -> RelayedPart | None:
    """The next part that goes on; None after the last one."""
    async for part in source.parts:
        destination = source.expected.take(part.content_id)
        if destination is None:
            async for _ in part.chunks:
                pass
            continue
        length = declared_length(part.headers)
        chunks = _guarded(part.chunks, source, length)
        return RelayedPart(destination.content_id, destination.content_type, chunks, length)
    if source.expected:
        await source.on_broken()
        raise BodyBroken(f"{len(source.expected)} parts that were announced did not come")
    return None


async def _guarded(chunks: AsyncIterator[bytes], source: Source, length: int | None) -> AsyncIterator[bytes]:
    passed = 0
    try:
        async for chunk in chunks:
            passed += len(chunk)
            yield chunk
    except PeerError as error:
        await source.on_broken()
        raise BodyBroken(str(error)) from error
    if length not in (None, passed):
        await source.on_broken()
        raise BodyBroken(f"a part has {passed} bytes, and said {length}")


async def _one(octets: bytes) -> AsyncIterator[bytes]:
    yield octets
