"""A proxy before an S3-compatible store that fails as such stores do, and as lines to them do."""

from __future__ import annotations

import asyncio
import http.client
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

from shared.settings import S3Settings

_ERROR = b'<?xml version="1.0"?><Error><Code>InternalError</Code><Message>We erred.</Message></Error>'
_HOP_BY_HOP = ("connection", "transfer-encoding", "content-length")


class Fault(StrEnum):
    """What becomes of one request."""

    NONE = "none"
    REFUSED = "500 or 503, nothing was done"
    LOST = "500 or 503, although it was done"
    CUT_REQUEST = "reset in the middle of the request"
    CUT_ANSWER = "reset in the middle of the answer"
    LIE = "200 with an error, nothing was done"
    ALTERED = "one bit of what was sent is another"
    SLOW = "slow"


SHARES = {
    Fault.REFUSED: 0.03,
    Fault.LOST: 0.02,
    Fault.CUT_REQUEST: 0.01,
    Fault.CUT_ANSWER: 0.01,
    Fault.LIE: 0.01,
    Fault.ALTERED: 0.01,
    Fault.SLOW: 0.02,
}


@dataclass
class FaultyS3:
    """Passes requests on to the store of `target`, each with a fault by its share."""

    target: S3Settings
    shares: dict[Fault, float] = field(default_factory=lambda: dict(SHARES))
    slow_seconds: tuple[float, float] = (0.1, 0.4)
    codes: tuple[int, ...] = (500, 503)
    port: int = 0
    met: Counter[Fault] = field(default_factory=Counter)
    random: random.Random = field(default_factory=lambda: random.Random(12))
    connections: set[asyncio.Future[None]] = field(default_factory=set)

    @property
    def settings(self) -> S3Settings:
        """The store as it is seen through the proxy."""
        return self.target.model_copy(update={"endpoint": f"http://127.0.0.1:{self.port}"})

    def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._serve(reader, writer))
        self.connections.add(task)
        task.add_done_callback(self.connections.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await _head(reader):
                fault = self._drawn()
                self.met[fault] += 1
                if not await self._exchanged(head, reader, writer, fault):
                    writer.transport.abort()
                    return
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def _drawn(self) -> Fault:
        faults = list(self.shares)
        rest = 1 - sum(self.shares.values())
        return self.random.choices([*faults, Fault.NONE], [*self.shares.values(), rest])[0]

    async def _exchanged(
        self, head: list[bytes], reader: asyncio.StreamReader, writer: asyncio.StreamWriter, fault: Fault
    ) -> bool:
        method, path, _ = head[0].decode().split(" ", 2)
        headers = dict(line.decode().split(": ", 1) for line in head[1:])
        length = int({name.lower(): value for name, value in headers.items()}.get("content-length", "0"))
        if fault is Fault.CUT_REQUEST:
            await reader.readexactly(length // 2)
            return False
        body = await reader.readexactly(length)
        if fault is Fault.SLOW:
            await asyncio.sleep(self.random.uniform(*self.slow_seconds))
        if fault is Fault.REFUSED:
            return await _answer(writer, self.random.choice(self.codes), {}, _ERROR, method)
        if fault is Fault.LIE:
            return await _answer(writer, 200, {"content-type": "application/xml"}, _ERROR, method)
        if fault is Fault.ALTERED and body:
            body = _altered(body, self.random)
        status, answered, content = await asyncio.to_thread(self._asked, method, path, headers, body)
        if fault is Fault.LOST:
            return await _answer(writer, self.random.choice(self.codes), {}, _ERROR, method)
        return await _answer(writer, status, answered, content, method, cut=fault is Fault.CUT_ANSWER)

    def _asked(
        self, method: str, path: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection(urlsplit(self.target.endpoint or "").netloc, timeout=30)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            connection.close()


def _altered(body: bytes, by: random.Random) -> bytes:
    changed = bytearray(body)
    changed[by.randrange(len(changed))] ^= 1 << by.randrange(8)
    return bytes(changed)


async def _head(reader: asyncio.StreamReader) -> list[bytes]:
    """The request line and headers; empty at the end of the connection."""
    try:
        return (await reader.readuntil(b"\r\n\r\n"))[:-4].split(b"\r\n")
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise
        return []


async def _answer(
    writer: asyncio.StreamWriter,
    status: int,
    headers: dict[str, str],
    body: bytes,
    method: str,
    *,
    cut: bool = False,
) -> bool:
    """Whether the connection lives on."""
    told = {name.lower(): value for name, value in headers.items()}
    length = told.get("content-length", "0") if method == "HEAD" else str(len(body))
    kept = {name: value for name, value in told.items() if name not in _HOP_BY_HOP}
    lines = [f"HTTP/1.1 {status} .", f"content-length: {length}", *(f"{k}: {v}" for k, v in kept.items())]
    octets = "\r\n".join((*lines, "", "")).encode() + (b"" if method == "HEAD" else body)
    writer.write(octets[: len(octets) - len(body) // 2 - 1] if cut else octets)
    await writer.drain()
    return not cut


@asynccontextmanager
async def faulty(target: S3Settings, **changes: Any) -> AsyncIterator[FaultyS3]:
    """The proxy, listening; `changes` are its fields."""
    proxy = FaultyS3(target, **changes)
    server = await asyncio.start_server(proxy.connected, "127.0.0.1", 0, limit=2**16)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        for connection in list(proxy.connections):
            connection.cancel()
        await asyncio.gather(*proxy.connections, return_exceptions=True)
        await server.wait_closed()
