"""Our HTTP server on a free port, for tests, and a client that speaks its bytes."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

from shared.http.limits import HttpLimits
from shared.http.server import RunningServer, start_server
from shared.settings import ServiceSettings, TlsSettings

#: By which tests call the server.
HOSTS = ("a", "xds_registry.hospital.example")


@asynccontextmanager
async def serving(
    app: Any, *, tls: TlsSettings | None = None, on_tls_failure: Any = None, **limits: Any
) -> AsyncIterator[RunningServer]:
    """`app` behind a real socket; deadlines are looked at every 20 ms."""
    server = await start_server(
        app,
        ServiceSettings(tls=tls or TlsSettings(), host_names=HOSTS),
        on_tls_failure=on_tls_failure,
        limits=HttpLimits(**{"sweep_seconds": 0.02, **limits}),
    )
    try:
        yield server
    finally:
        await server.stop(grace_seconds=0.5)


@dataclass
class Answer:
    """One HTTP response, as bytes on the wire."""

    status: int
    headers: dict[str, str]
    body: bytes
    complete: bool
    """Whether as many bytes came as Content-Length promised."""


class RawClient:
    """Bytes to a server and answers from it, with nothing in between that would mend them."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def get(self, path: str = "/", *headers: str, method: str = "GET") -> Answer:
        lines = [f"{method} {path} HTTP/1.1", "Host: localhost", *headers, "", ""]
        await self.send("\r\n".join(lines).encode())
        return await self.answer(head_only=method == "HEAD")

    async def answer(self, *, head_only: bool = False) -> Answer:
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.strip().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length = 0 if head_only else int(headers.get("content-length", 0))
        try:
            body, complete = await self.reader.readexactly(length), True
        except asyncio.IncompleteReadError as short:
            body, complete = short.partial, False
        except ConnectionError:
            body, complete = b"", False
        return Answer(int(first.split()[1]), headers, body, complete)

    async def ended(self) -> bool:
        """Whether the server closes the connection; waits for it."""
        try:
            return await self.reader.read(1) == b""
        except ConnectionError:
            return True


@asynccontextmanager
async def connected(port: int, context: ssl.SSLContext | None = None) -> AsyncIterator[RawClient]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, limit=2**20)
    try:
        yield RawClient(reader, writer)
    finally:
        writer.close()
        with suppress(ConnectionError, ssl.SSLError):
            await writer.wait_closed()


async def until(holds: Callable[[], bool]) -> None:
    """Wait until `holds()`, for things that happen at the other end of a socket."""
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
