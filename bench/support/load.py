"""HTTP load over kept connections: each sends its next request when it has the answer to the one before."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import cast

DRAIN_SECONDS = 30.0


@dataclass(slots=True)
class Burst:
    """What a burst of requests came to; latencies in seconds, those of what failed as well."""

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    failed: int = 0

    @property
    def rate(self) -> float:
        """Answers per second."""
        return len(self.latencies) / self.seconds

    def quantile(self, share: float) -> float:
        """The latency that `share` of the answers did not pass, in seconds."""
        ordered = sorted(self.latencies)
        return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


class Connection(asyncio.Protocol):
    """One connection; `expected` must stand in every answer. With `may_fail` those without are counted."""

    def __init__(self, requests: Iterator[bytes], expected: bytes, *, may_fail: bool = False) -> None:
        self._requests = requests
        self._expected = expected
        self._may_fail = may_fail
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._length = 0
        self._sent = 0.0
        self._until = 0.0
        self._burst = Burst()
        self._ended: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail the burst: a kept connection is not to be closed."""
        if self._ended is not None and not self._ended.done():
            self._ended.set_exception(ConnectionError("the service closed a connection under load"))

    async def run(self, until: float, burst: Burst) -> None:
        """Ask again and again until the clock says `until`; the last answer is waited for."""
        self._until, self._burst = until, burst
        self._ended = asyncio.get_running_loop().create_future()
        self._ask()
        async with asyncio.timeout(max(0.0, until - time.perf_counter()) + DRAIN_SECONDS):
            await self._ended

    def close(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.close()

    def _ask(self) -> None:
        assert self._transport is not None
        request = next(self._requests)
        self._sent = time.perf_counter()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Take a part of an answer; when it is whole, note its latency and ask again."""
        self._received += data
        if not self._length and not self._read_head():
            return
        if len(self._received) < self._length:
            return
        now = time.perf_counter()
        if not self._received.startswith(b"HTTP/1.1 200") or self._expected not in self._received:
            self._burst.failed += 1
            if not self._may_fail:
                self._failed(bytes(self._received))
                return
        self._received.clear()
        self._length = 0
        self._burst.latencies.append(now - self._sent)
        if now < self._until:
            self._ask()
        elif self._ended is not None:
            self._ended.set_result(None)

    def _read_head(self) -> bool:
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            return False
        head = bytes(self._received[:end]).lower()
        self._length = end + 4 + int(head.split(b"content-length:", 1)[1].split(b"\r\n", 1)[0])
        return True

    def _failed(self, answer: bytes) -> None:
        if self._ended is not None and not self._ended.done():
            self._ended.set_exception(AssertionError(f"not the answer that was expected: {answer[:3000]!r}"))


class Load:
    """A number of connections to one port that send the same kind of request."""

    def __init__(self, connections: Sequence[Connection]) -> None:
        self._connections = connections

    @classmethod
    async def open(
        cls,
        port: int,
        connections: int,
        requests: Iterator[bytes],
        *,
        expected: bytes = b"Success",
        may_fail: bool = False,
    ) -> Load:
        """Connect; all connections take their requests from `requests`."""
        loop = asyncio.get_running_loop()

        def made() -> Connection:
            return Connection(requests, expected, may_fail=may_fail)

        return cls([(await loop.create_connection(made, "127.0.0.1", port))[1] for _ in range(connections)])

    async def run(self, seconds: float) -> Burst:
        """One burst of this length."""
        burst = Burst()
        began = time.perf_counter()
        await asyncio.gather(*(each.run(began + seconds, burst) for each in self._connections))
        burst.seconds = time.perf_counter() - began
        return burst

    def close(self) -> None:
        """Close all connections."""
        for each in self._connections:
            each.close()
