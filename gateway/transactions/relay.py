"""Documents on their way through a gateway: parts of several answers become parts of one, while they come
(ITI TF-2 3.39.4; RAD TF-3 4.75.4: a gateway keeps nothing and changes nothing)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass

from shared.http.pieces import BodyBroken
from shared.soap.client import PeerError, StreamedPart
from shared.soap.mtom import RelayedPart


@dataclass(frozen=True, slots=True)
class Destination:
    """Under which name, and as what, a part goes on."""

    content_id: str
    content_type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One answer whose parts are to come.

    `expected` are those that go on, by their Content-ID there; others are read and dropped. `on_broken`
    records that they did not all come.
    """

    parts: AsyncIterator[StreamedPart]
    expected: dict[str, Destination]
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

    async def parts(self) -> AsyncGenerator[RelayedPart]:
        """Each part once; raises `BodyBroken` when one that was promised does not come."""
        for destination, octets in self._ready:
            yield RelayedPart(destination.content_id, destination.content_type, _one(octets))
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
        destination = source.expected.pop(part.content_id, None)
        if destination is None:
            async for _ in part.chunks:
                pass
            continue
        return RelayedPart(destination.content_id, destination.content_type, _guarded(part.chunks, source))
    if source.expected:
        await source.on_broken()
        raise BodyBroken(f"{len(source.expected)} parts that were announced did not come")
    return None


async def _guarded(chunks: AsyncIterator[bytes], source: Source) -> AsyncIterator[bytes]:
    try:
        async for chunk in chunks:
            yield chunk
    except PeerError as error:
        await source.on_broken()
        raise BodyBroken(str(error)) from error


async def _one(octets: bytes) -> AsyncIterator[bytes]:
    yield octets
