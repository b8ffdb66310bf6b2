"""A service at the other end of a long link: a proxy that lets bytes arrive later, for kernels without netem.

As on such a link, one connection has no more under way than its window, until the other end says that it
came: that is what parallel streams gain by.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import uvloop

from bench.support.peers import wait_for
from xdsi.stage import free_ports

_READ_BYTES = 256 * 1024


@contextmanager
def far_away(behind: int, *, round_trip_seconds: float, window_bytes: int) -> Iterator[int]:
    """The local port at which the service on the local port `behind` is reached as if it were far away."""
    (port,) = free_ports(1)
    arguments = (str(port), str(behind), str(round_trip_seconds), str(window_bytes))
    process = subprocess.Popen((sys.executable, __file__, *arguments))
    try:
        wait_for(port)
        yield port
    finally:
        process.terminate()
        process.wait(10)


class _Window:
    """What one direction of a connection may have under way."""

    def __init__(self, octets: int) -> None:
        self._left = octets
        self._opened = asyncio.Event()

    async def take(self) -> int:
        """How much may leave, as soon as anything may."""
        while self._left <= 0:
            self._opened.clear()
            await self._opened.wait()
        return min(self._left, _READ_BYTES)

    def move(self, octets: int) -> None:
        """Count octets that left, or with a minus those that are known to have come."""
        self._left -= octets
        self._opened.set()


async def _pump(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, trip_seconds: float, window_bytes: int
) -> None:
    loop, window = asyncio.get_running_loop(), _Window(window_bytes)
    while octets := await reader.read(await window.take()):
        window.move(len(octets))
        loop.call_later(trip_seconds, _write, writer, octets)
        loop.call_later(2 * trip_seconds, window.move, -len(octets))
    loop.call_later(trip_seconds, writer.close)


def _write(writer: asyncio.StreamWriter, octets: bytes) -> None:
    if not writer.is_closing():  # who asked may be gone
        writer.write(octets)


async def _serve(port: int, behind: int, round_trip_seconds: float, window_bytes: int) -> None:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        other_reader, other_writer = await asyncio.open_connection("127.0.0.1", behind, limit=_READ_BYTES)
        trip = round_trip_seconds / 2
        await asyncio.gather(
            _pump(reader, other_writer, trip, window_bytes),
            _pump(other_reader, writer, trip, window_bytes),
            return_exceptions=True,
        )

    async with await asyncio.start_server(connected, "127.0.0.1", port, limit=_READ_BYTES) as server:
        await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])))
