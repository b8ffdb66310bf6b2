"""The proxy itself: what one side sends goes to the other as it comes, and to the recording."""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from conformance.proxy.cutting import Cut, Cutter, HttpCutter, MllpCutter, StreamError, SyslogCutter
from conformance.proxy.recording import RecordedExchange, Recording

PIECE: Final = 64 * 1024
_CONNECT_SECONDS: Final = 10.0
_AWAY: Final = (
    b"HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/plain\r\nContent-Length: 26\r\nConnection: close\r\n\r\n"
    b"the target does not answer"
)


@dataclass(frozen=True, slots=True)
class Protocol:
    """What is spoken, whether over TLS, and where it usually listens."""

    cutter: type[HttpCutter | MllpCutter | SyslogCutter]
    ending: str
    tls: bool
    port: int

    @property
    def is_http(self) -> bool:
        """Whether requests and answers belong into one file."""
        return self.cutter is HttpCutter


PROTOCOLS: Final = {
    "http": Protocol(HttpCutter, ".http", tls=False, port=80),
    "https": Protocol(HttpCutter, ".http", tls=True, port=443),
    "mllp": Protocol(MllpCutter, ".hl7", tls=False, port=2575),
    "mllps": Protocol(MllpCutter, ".hl7", tls=True, port=2575),
    "syslog": Protocol(SyslogCutter, ".syslog", tls=False, port=6514),
    "syslogs": Protocol(SyslogCutter, ".syslog", tls=True, port=6514),
}


@dataclass(frozen=True, slots=True)
class Place:
    """A host and port, and what is spoken there."""

    protocol: Protocol
    host: str
    port: int

    @classmethod
    def of(cls, url: str) -> Place:
        """Read scheme://host:port.

        Raises
        ------
        ValueError
            It is none, or of a scheme that is not spoken.
        """
        parts = urlsplit(url)
        if parts.scheme not in PROTOCOLS or not parts.hostname or parts.path.strip("/") or parts.query:
            raise ValueError(f"write scheme://host:port with one of {', '.join(PROTOCOLS)}")
        protocol = PROTOCOLS[parts.scheme]
        return cls(protocol, parts.hostname, protocol.port if parts.port is None else parts.port)

    @property
    def authority(self) -> str:
        """host:port, as in a Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


class Relay:
    """Relays connections to `target`.

    Parameters
    ----------
    tls
        By which the target is known and we show a certificate; None where it speaks without TLS.
    notice
        Learns what could not be relayed or recorded, in words.
    """

    def __init__(
        self,
        target: Place,
        recording: Recording,
        *,
        tls: ssl.SSLContext | None = None,
        notice: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._target = target
        self._recording = recording
        self._tls = tls
        self._told = notice
        self._running: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def listening(self, at: Place, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
        """Relay what connects to `at`, until the end of the context; the port, when `at` has none.

        Raises
        ------
        OSError
            The address cannot be listened on.
        """
        server = await asyncio.start_server(self._accepted, at.host, at.port, ssl=tls, limit=PIECE)
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()
            running = tuple(self._running)
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._connected(reader, writer))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        target = self._target
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                peer_reader, peer_writer = await asyncio.open_connection(
                    target.host, target.port, ssl=self._tls, limit=PIECE
                )
        except (OSError, TimeoutError) as error:
            self._told(f"{target.authority}: {error or type(error).__name__}")
            await self._away(reader, writer)
            return
        connection = _RelayedConnection(target, self._recording, self._told)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(_carried(reader, peer_writer, connection.sent))
                both.create_task(_carried(peer_reader, writer, connection.received))
        except* OSError as errors:
            self._told(f"{target.authority}: {errors.exceptions[0]}")
        finally:
            connection.end()
            for one in (writer, peer_writer):
                one.close()

    async def _away(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(_CONNECT_SECONDS):
                if self._target.protocol.is_http and await reader.read(PIECE):
                    writer.write(_AWAY)
                    await writer.drain()
        writer.close()


async def _carried(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, passing: Callable[[bytes], None]
) -> None:
    while octets := await reader.read(PIECE):
        passing(octets)
        writer.write(octets)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()
    else:
        # TLS cannot be closed in one direction.
        writer.close()


class _RelayedConnection:
    """One connection, cut into exchanges. What cannot be cut is relayed all the same, and not recorded."""

    def __init__(self, target: Place, recording: Recording, notice: Callable[[str], None]) -> None:
        self._target = target
        self._recording = recording
        self._told = notice
        self._http = target.protocol.is_http
        self._requests: Cutter = target.protocol.cutter()
        self._answers: Cutter = target.protocol.cutter()
        self._request: RecordedExchange | None = None
        self._answer: RecordedExchange | None = None
        self._unanswered: deque[RecordedExchange] = deque()
        self._cutting = True

    def sent(self, octets: bytes) -> None:
        """What the client sends."""
        for cut in self._cut(self._requests, octets):
            if self._request is None:
                self._request = self._began(cut)
            self._request.add_request(cut.octets)
            if cut.ends:
                (self._request.end_request if self._http else self._request.end)()
                self._request = None

    def received(self, octets: bytes) -> None:
        """What the target sends."""
        for cut in self._cut(self._answers, octets):
            if self._answer is None:
                self._answer = self._next_unanswered()
            self._answer.add_answer(cut.octets)
            if cut.ends:
                (self._answer.end_answer if self._http else self._answer.end)()
                self._answer = None

    def end(self) -> None:
        """The connection is gone."""
        for one in (self._answer, self._request, *self._unanswered):
            if one is not None:
                one.end()

    def _began(self, cut: Cut) -> RecordedExchange:
        exchange = self._recording.exchange(self._target.protocol.ending)
        if isinstance(self._answers, HttpCutter):
            self._answers.expect(cut.octets.partition(b" ")[0].decode("latin-1"))
            self._unanswered.append(exchange)
        return exchange

    def _next_unanswered(self) -> RecordedExchange:
        if self._unanswered:
            return self._unanswered.popleft()
        return self._recording.exchange(self._target.protocol.ending)

    def _cut(self, cutter: Cutter, octets: bytes) -> Iterator[Cut]:
        if not self._cutting:
            return
        try:
            yield from cutter.feed(octets)
        except StreamError as error:
            self._cutting = False
            self._told(f"{self._target.authority}: {error}; what follows is relayed and not recorded")
