"""Connections to peers that answer with large bodies: read in large pieces, or taken over by a thread.

A plain connection can hand its socket over, so that the bytes of a body go on to another socket without being
read (`shared.http.passage`); a TLS connection is read here alone.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from socket import fromfd, socket
from typing import Any, cast

import httptools
import httpx2

from shared.http.framing import BrokenFraming, Framing
from shared.http.incoming import Arriving, Incoming, SourceBroken
from shared.security.certificate_check import certificate_known

BODY = "xdsi.body"
"""Extension of a response: its `ReceivedBody`."""

BUFFER_BYTES = 256 * 1024
MAX_HEAD_BYTES = 64 * 1024

_BODILESS = frozenset({204, 304})


class Link(asyncio.BufferedProtocol):
    """One connection; what arrives waits in a buffer, and reading pauses while that is full."""

    def __init__(self) -> None:
        self._buffer = bytearray(BUFFER_BYTES)
        self._taken = self._filled = 0
        self._transport: asyncio.Transport | None = None
        self._ended = False
        self._lost: Exception | None = None
        self._came: asyncio.Event = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self.busy = True
        self.idle_since = 0.0

    # --- what the transport calls ------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.Transport, transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next bytes go."""
        return memoryview(self._buffer)[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        """Bytes came; no more are read while the buffer is full."""
        self._filled += nbytes
        if self._filled == len(self._buffer):
            self.transport.pause_reading()
        self._came.set()

    def eof_received(self) -> bool:
        """The peer sends nothing more; what came may still be taken over, where that can be."""
        self._ended = True
        self._came.set()
        return self.busy and self.plain

    def connection_lost(self, exc: Exception | None) -> None:
        """Whoever waits learns that nothing more comes."""
        self._ended, self._lost = True, exc
        self._came.set()
        self._writable.set()

    def pause_writing(self) -> None:
        """The peer does not take what is sent."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """It does again."""
        self._writable.set()

    # --- what a request needs ----------------------------------------------------------------------

    @property
    def transport(self) -> asyncio.Transport:
        """The transport, once connected."""
        assert self._transport is not None
        return self._transport

    @property
    def plain(self) -> bool:
        """Whether a thread can read the socket; over TLS only this loop can."""
        return self.transport.get_extra_info("ssl_object") is None

    @property
    def usable(self) -> bool:
        """Whether the connection can carry a request: it is open, and nothing came unasked."""
        return not (self._ended or self._filled or self.transport.is_closing())

    def get_extra_info(self, name: str) -> Any:
        """As a network stream of httpx2: `client_addr` is our own address."""
        return self.transport.get_extra_info("sockname" if name == "client_addr" else name)

    async def send(self, octets: bytes, seconds: float | None) -> None:
        """Send; raises `WriteTimeout`, or `ReadError` when the connection is gone."""
        self._check_lost()
        self.transport.write(octets)
        try:
            async with asyncio.timeout(seconds):
                await self._writable.wait()
        except TimeoutError:
            raise httpx2.WriteTimeout("the peer takes nothing") from None
        self._check_lost()

    async def receive(self, seconds: float | None) -> bytes:
        """What came, as soon as anything did; empty at the end of the connection."""
        if not self._filled:
            await self._wait(seconds)
        self._check_lost()
        return self._given(BUFFER_BYTES)

    def take(self, most: int) -> bytes | None:
        """Up to `most` bytes of what came, None before anything did; empty at the end of the connection.

        Raises
        ------
        SourceBroken
            The connection was cut.
        """
        if self._filled:
            return self._given(most)
        if self._lost is not None:
            raise SourceBroken(str(self._lost) or type(self._lost).__name__)
        return b"" if self._ended else None

    async def more(self, seconds: float) -> None:
        """Wait until something came, or the connection ended.

        Raises
        ------
        SourceBroken
            Nothing did within `seconds`.
        """
        try:
            await self._wait(seconds)
        except httpx2.ReadTimeout:
            raise SourceBroken(f"nothing came for {seconds:g} s") from None

    def _given(self, most: int) -> bytes:
        end = min(self._taken + most, self._filled)
        octets = bytes(memoryview(self._buffer)[self._taken : end])
        self._taken = end
        if end == self._filled:
            self._taken = self._filled = 0
            if not self._ended:
                self.transport.resume_reading()
        return octets

    async def _wait(self, seconds: float | None) -> None:
        self._came.clear()
        if self._ended:
            return
        try:
            async with asyncio.timeout(seconds):
                await self._came.wait()
        except TimeoutError:
            raise httpx2.ReadTimeout("nothing came") from None

    def _check_lost(self) -> None:
        if self._lost is not None and not self._filled:
            raise httpx2.ReadError(str(self._lost) or type(self._lost).__name__)

    def taken_over(self) -> tuple[socket, bytes]:
        """A duplicate of the socket, for a thread to read, and what was read of it before.

        Raises
        ------
        SourceBroken
            The connection is gone.
        """
        if self.transport.is_closing():
            raise SourceBroken("the connection ended in the middle of the body")
        self.transport.pause_reading()
        octets = bytes(memoryview(self._buffer)[self._taken : self._filled])
        self._taken = self._filled = 0
        connection = self.transport.get_extra_info("socket")
        duplicate = fromfd(connection.fileno(), connection.family, connection.type)
        duplicate.setblocking(False)
        return duplicate, octets

    def given_back(self) -> None:
        """Read again here, to see when the peer closes."""
        if not self._ended:
            self.transport.resume_reading()

    def abort(self) -> None:
        """End the connection at once."""
        self.transport.abort()


class ReceivedBody(httpx2.AsyncByteStream):
    """The body of one answer: iterated here, or handed over once, by `incoming` or by `arriving`."""

    def __init__(
        self, link: Link, framing: Framing, seconds: float | None, leave: Callable[[bool], None]
    ) -> None:
        self._link = link
        self._framing = framing
        self._seconds = seconds
        self._leave: Callable[[bool], None] | None = leave

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """The content as it arrives; raises the errors of httpx2."""
        with _framed():
            while not self._framing.ended:
                if content := self._framing.content(BUFFER_BYTES):
                    yield content
                elif not self._framing.ended:
                    await self._more()

    async def _more(self) -> None:
        if octets := await self._link.receive(self._seconds):
            self._framing.feed(octets)
        else:
            self._framing.end()

    @property
    def plain(self) -> bool:
        """Whether a thread can take over."""
        return self._link.plain and not self._link.transport.is_closing()

    def incoming(self) -> Incoming:
        """The rest of the body for a thread, which closes it; nothing is read here any more."""
        connection, octets = self._link.taken_over()
        self._framing.feed(octets)
        return Incoming(connection, self._framing)

    def arriving(self) -> Arriving:
        """The rest of the body for somebody else of this loop; nothing is read here any more."""
        return Arriving(self._link, self._framing)

    async def aclose(self) -> None:
        """Keep the connection for another request when the body is over, or end it."""
        if self._leave is not None:
            leave, self._leave = self._leave, None
            if self._framing.reusable:
                self._link.given_back()
            leave(self._framing.reusable)


def received_body(answer: httpx2.Response) -> ReceivedBody | None:
    """The body of an answer, when it came over a `Link`."""
    body: ReceivedBody | None = answer.extensions.get(BODY)
    return body


@contextmanager
def _framed() -> Iterator[None]:
    """What is wrong with a framing, as an error of httpx2."""
    try:
        yield
    except BrokenFraming as error:
        raise httpx2.RemoteProtocolError(str(error)) from error


@dataclass(slots=True)
class _Head:
    """The head of an answer."""

    status: int = 0
    headers: list[tuple[bytes, bytes]] | None = None
    keeps: bool = True


class PeerTransport(httpx2.AsyncBaseTransport):
    """Sends requests over connections that are kept; what it raises are the errors of httpx2."""

    def __init__(
        self, context: ssl.SSLContext, *, connections: int, idle_connections: int, idle_seconds: float
    ) -> None:
        self._context = context
        self._places = asyncio.Semaphore(connections)
        self._idle_connections = idle_connections
        self._idle_seconds = idle_seconds
        self._idle: dict[tuple[str, str, int], list[Link]] = {}

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send `request`, and return the answer when its head is here."""
        timeouts = request.extensions.get("timeout", {})
        await self._enter(timeouts.get("pool"))
        origin = (
            request.url.scheme,
            request.url.host,
            request.url.port or (443 if request.url.scheme == "https" else 80),
        )
        link: Link | None = None

        def leave(keep: bool) -> None:
            self._places.release()
            if link is not None:
                self._left(origin, link, keep)

        try:
            link = self._kept(origin) or await self._connected(origin, timeouts.get("connect"))
            await _send(link, request, timeouts.get("write"))
            head, rest = await _head(link, timeouts.get("read"))
            framing = _framing(request.method, head)
            framing.feed(rest)
        except BaseException:
            leave(False)
            raise
        body = ReceivedBody(
            link, framing, timeouts.get("read"), lambda reusable: leave(reusable and head.keeps)
        )
        return httpx2.Response(
            head.status,
            headers=head.headers,
            stream=body,
            extensions={"network_stream": link, BODY: body},
        )

    async def aclose(self) -> None:
        """Close the connections that are kept."""
        for links in self._idle.values():
            for link in links:
                link.abort()
        self._idle.clear()

    async def _enter(self, seconds: float | None) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._places.acquire()
        except TimeoutError:
            raise httpx2.PoolTimeout("all connections to peers are taken") from None

    def _kept(self, origin: tuple[str, str, int]) -> Link | None:
        idle = self._idle.get(origin, [])
        until = asyncio.get_running_loop().time() - self._idle_seconds
        while idle:
            link = idle.pop()
            if link.usable and link.idle_since > until:
                link.busy = True
                return link
            link.abort()
        return None

    def _left(self, origin: tuple[str, str, int], link: Link, keep: bool) -> None:
        idle = self._idle.setdefault(origin, [])
        if keep and link.usable and len(idle) < self._idle_connections:
            link.busy, link.idle_since = False, asyncio.get_running_loop().time()
            idle.append(link)
        else:
            link.abort()

    async def _connected(self, origin: tuple[str, str, int], seconds: float | None) -> Link:
        scheme, host, port = origin
        context = self._context if scheme == "https" else None
        try:
            async with asyncio.timeout(seconds):
                _, link = await asyncio.get_running_loop().create_connection(
                    Link, host, port, ssl=context, server_hostname=host if context else None
                )
                await certificate_known(link.transport)
        except TimeoutError:
            raise httpx2.ConnectTimeout(f"{host}:{port} does not take the connection") from None
        except (OSError, ssl.SSLError) as error:
            raise httpx2.ConnectError(str(error) or type(error).__name__) from error
        return link


async def _send(link: Link, request: httpx2.Request, seconds: float | None) -> None:
    lines = [b"%s %s HTTP/1.1" % (request.method.encode(), request.url.raw_path)]
    lines += [b"%s: %s" % header for header in request.headers.raw]
    octets = b"\r\n".join((*lines, b"", b""))
    assert isinstance(request.stream, httpx2.AsyncByteStream)
    async for chunk in request.stream:
        await link.send(octets + chunk, seconds)
        octets = b""
    if octets:
        await link.send(octets, seconds)


async def _head(link: Link, seconds: float | None) -> tuple[_Head, bytes]:
    """The head of the answer, and what came behind it."""
    octets = b""
    while True:
        end = octets.find(b"\r\n\r\n")
        if end < 0:
            if len(octets) > MAX_HEAD_BYTES:
                raise httpx2.RemoteProtocolError("the head of the answer is too long")
            more = await link.receive(seconds)
            if not more:
                raise httpx2.RemoteProtocolError("the peer closed the connection without an answer")
            octets += more
            continue
        head = _read_head(octets[: end + 4])
        octets = octets[end + 4 :]
        if head.status >= 200:
            return head, octets


def _read_head(octets: bytes) -> _Head:
    head = _Head(headers=[])
    reader = _HeadReader(head)
    parser = httptools.HttpResponseParser(reader)
    try:
        parser.feed_data(octets)
    except httptools.HttpParserError as error:
        raise httpx2.RemoteProtocolError(f"the answer is no HTTP: {error}") from error
    head.status = parser.get_status_code()
    head.keeps = head.keeps and parser.get_http_version() == "1.1"
    return head


class _HeadReader:
    """Collects what the parser finds."""

    def __init__(self, head: _Head) -> None:
        self._head = head

    def on_header(self, name: bytes, value: bytes) -> None:
        assert self._head.headers is not None
        self._head.headers.append((name, value))
        if name.lower() == b"connection" and b"close" in value.lower():
            self._head.keeps = False


def _framing(method: str, head: _Head) -> Framing:
    """How the body is framed (RFC 9112 6.3)."""
    fields = [(name.lower(), value.strip()) for name, value in head.headers or ()]
    codings = [value.lower() for name, value in fields if name == b"transfer-encoding"]
    lengths = {value for name, value in fields if name == b"content-length"}
    if method == "HEAD" or head.status in _BODILESS:
        return Framing(length=0)
    if codings:
        if codings != [b"chunked"] or lengths:
            raise httpx2.RemoteProtocolError("the answer is framed in a way that two readers would see apart")
        return Framing(chunked=True)
    if not lengths:
        return Framing()
    (length, *others) = lengths
    if others or not length.isdigit() or len(length) > 18:
        raise httpx2.RemoteProtocolError("the Content-Length of the answer is no number, or two")
    return Framing(length=int(length))
