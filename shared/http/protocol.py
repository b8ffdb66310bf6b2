"""uvicorn's HTTP/1.1 protocol with what it lacks: client certificate, deadlines, limits, zero-copy sending.

uvicorn is pinned; `tests/unit/http/test_uvicorn.py` holds what is leaned on here.
"""

from __future__ import annotations

import asyncio
import http
import re
import ssl
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from concurrent.futures import Executor
from contextlib import aclosing, closing
from dataclasses import dataclass, field
from functools import partial
from socket import fromfd, socket
from typing import Any, Protocol

from httptools import HttpParserError, HttpParserUpgrade
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from shared.http.limits import Cut, HttpLimits, Pace
from shared.http.passage import Passage, passing
from shared.http.pieces import Piece, read_ahead, size
from shared.http.proxied import Entrance, Peer
from shared.http.raw_asgi import LEAVING, PASSAGE, PEER_CERTIFICATE, PIECES, RELAYED, ClientGone, until_gone
from shared.http.transmission import ConnectionGone, PassageTransmission, PieceTransmission, Transmission
from shared.telemetry.log import logger
from shared.telemetry.metrics import Result
from shared.telemetry.trace import Span

LINGER_SECONDS = 2.0
MAX_LINGERING = 256
# While the server stops: what a busy client needs between its handshake and its request.
FIRST_WORD_SECONDS = 2.0

# uri-host [ ":" port ] of RFC 9110 7.2, of which user information is no part.
_HOST = re.compile(rb"(?:[A-Za-z0-9._~!$&'()*+,;=%-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{0,5})?")
_OF_AN_UPGRADE = frozenset((b"upgrade", b"http2-settings"))

_log = logger(__name__)


class RefusedRequest(Exception):
    """Raised in a callback of the parser to end the connection with `status`."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class Outgoing(Protocol):
    """A body that is being sent in another way than by ASGI messages."""

    @property
    def sent(self) -> int:
        """Bytes that left so far."""
        ...

    @property
    def waiting(self) -> bool:
        """Whether it is the client that must move now."""
        ...

    def cut(self) -> None:
        """End it at once."""


@dataclass(slots=True, kw_only=True)
class ServerParts:
    """What the connections of one server share."""

    config: Config
    limits: HttpLimits
    senders: Executor
    admission: Entrance
    state: ServerState = field(default_factory=ServerState)
    lingering: int = 0
    leaving: bool = False
    """Whether the server is about to stop: each answer is the last one of its connection."""


class XdsiProtocol(HttpToolsProtocol):
    """One connection."""

    def __init__(self, parts: ServerParts, peer: Peer) -> None:
        """Speak for one connection of `peer`, which is counted when it is admitted."""
        super().__init__(parts.config, parts.state, {}, asyncio.get_running_loop())
        self.url = b""
        self._parts = parts
        self._limits = parts.limits
        self._peer = peer
        self._admitted = peer.admitted
        self._certificate: bytes | None = None
        # The request that is arriving: for how long, and whether its header still is.
        self._receiving = True
        self._receiving_seconds = -parts.limits.sweep_seconds
        self._in_header = True
        self._header_bytes = 0
        self._fed_bytes = 0
        self._body_bytes = 0
        self._arriving = Pace(parts.limits)
        # The latest request: whether all of it has arrived; and the one that is being answered.
        self._arrived = True
        self._answering: RequestResponseCycle | None = None
        # The body that is leaving.
        self._outgoing: Outgoing | None = None
        self._leaving: Pace | None = None
        self._gone: asyncio.Future[None] = self.loop.create_future()
        self._unsent_bytes = 0
        self._unsent_seconds = 0.0
        self._refusal = 400
        self._lingering_seconds: float | None = None
        self._deaf = False

    # --- connection ------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection, or answer 503 to whom was not admitted."""
        super().connection_made(transport)
        self.client = (self._peer.address, self._peer.port)
        secure: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
        if secure is not None:
            self._certificate = secure.getpeercert(binary_form=True)
        if not self._admitted:
            self._refuse(503)

    def connection_lost(self, exc: Exception | None) -> None:
        """Free what the connection held; whoever is sending or receiving learns that the client is gone."""
        super().connection_lost(exc)
        if self._answering is not None:
            self._tell_gone(self._answering)
        if self._admitted:
            self._parts.admission.leave(self._peer.address)
            self._admitted = False
        if self._lingering_seconds is not None:
            self._parts.lingering -= 1
        self._lingering_seconds = None
        if self._outgoing is not None:
            self._outgoing.cut()
        if not self._gone.done():
            self._gone.set_result(None)

    def data_received(self, data: bytes) -> None:
        """Parse `data`; the deadline of a header runs from its first byte, even if that is an empty line."""
        if self._deaf:
            return
        if not self._receiving:
            self._begin()
        self._fed_bytes += len(data)
        self._feed(memoryview(data))
        # The parser shows a header field only when it is whole, hence this bound for one without end.
        if self._in_header and self._fed_bytes > self._limits.header_bytes and not self._deaf:
            self._refuse(414 if len(self.url) > self._limits.target_bytes else 431)

    def _feed(self, data: memoryview) -> None:
        self._unset_keepalive_if_required()
        try:
            while data:
                try:
                    self.parser.feed_data(data)
                    return
                except HttpParserUpgrade as upgrade:
                    # The parser takes the header for all of the request, and the rest for another protocol.
                    self.parser.feed_data(self._without_upgrade())
                    data = data[upgrade.args[0] :]
        except HttpParserError:
            self.send_400_response("")

    def _without_upgrade(self) -> bytes:
        """The head that was just read, of a client that would speak another protocol too; we speak this one.

        A server may ignore Upgrade (RFC 9110 7.8); `h2c` comes with every request of Java's own client.
        """
        lines = [b"%s %s HTTP/1.1" % (self.parser.get_method(), self.url)]
        for name, value in self.headers:
            if name == b"connection":
                tokens = (token.strip() for token in value.split(b","))
                value = b", ".join(token for token in tokens if token.lower() not in _OF_AN_UPGRADE)
            if name not in _OF_AN_UPGRADE:
                lines.append(b"%s: %s" % (name, value))
        return b"\r\n".join((*lines, b"", b""))

    def drain(self) -> None:
        """Let an answer that has not begun say that it is the last one, now that the server is leaving."""
        if self.cycle is not None and not self.cycle.response_started:
            self.cycle.keep_alive = False

    def shutdown(self) -> None:
        """Close when idle, or after the response that is under way, or to the request that is arriving; who
        was just let in and has not spoken yet has a little longer."""
        if self._lingering_seconds is not None:
            return
        if not self._receiving:
            super().shutdown()
        elif not self._fed_bytes:
            self.loop.call_later(FIRST_WORD_SECONDS, self._hush)

    def _hush(self) -> None:
        if not self._fed_bytes:
            self.transport.close()

    # --- the parser's callbacks --------------------------------------------------------------------

    def _begin(self) -> None:
        self._receiving = True
        # It began somewhere between two sweeps, and must not be cut early.
        self._receiving_seconds = -self._limits.sweep_seconds
        self._in_header = True
        self._fed_bytes = 0

    def on_message_begin(self) -> None:
        """Start a request."""
        super().on_message_begin()
        if not self._receiving:
            self._begin()
        self._header_bytes = self._body_bytes = 0
        self._arriving = Pace(self._limits)

    def on_url(self, url: bytes) -> None:
        """Collect the request target, as far as its limit (414)."""
        super().on_url(url)
        if len(self.url) > self._limits.target_bytes:
            raise RefusedRequest(self._refused(414))

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect one header field, as far as the limits (431); trailers are not passed on."""
        self._header_bytes += len(name) + len(value) + 4
        if self._header_bytes + len(self.url) > self._limits.header_bytes:
            raise RefusedRequest(self._refused(431))
        if self._in_header:
            super().on_header(name, value)
            if len(self.headers) > self._limits.header_lines:
                raise RefusedRequest(self._refused(431))

    def on_headers_complete(self) -> None:
        """Begin the request's task, with our extensions in its scope; an Upgrade comes again without."""
        if self.parser.should_upgrade():
            if self.parser.get_method() == b"CONNECT":
                raise RefusedRequest(self._refused(400))
            return
        self._in_header = False
        self._check_head()
        extensions: dict[str, Any] = {PEER_CERTIFICATE: self._certificate}
        if self._peer.relayed:
            extensions[RELAYED] = {}
        if self._parts.leaving:
            extensions[LEAVING] = {}
        self.scope["extensions"] = extensions
        super().on_headers_complete()
        self._arrived = False
        cycle = self.cycle
        if self._parts.leaving:
            cycle.keep_alive = False

        async def send_pieces(pieces: Sequence[Piece]) -> None:
            await self._send_pieces(cycle, pieces)

        async def send_passage(passage: Passage) -> None:
            await self._send_passage(cycle, passage)

        extensions[PIECES] = send_pieces
        extensions[PASSAGE] = send_passage

    def on_body(self, body: bytes) -> None:
        """Hand on a part of the body; reading pauses while the application has 64 KB of it waiting."""
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request has arrived."""
        if self.parser.should_upgrade():
            return
        super().on_message_complete()
        self._arrived = True
        self._receiving = False

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, app)

    def _tell_gone(self, cycle: RequestResponseCycle) -> None:
        """Let the application find out at its next receive or send."""
        if not cycle.response_complete:
            cycle.disconnected = True
            cycle.message_event.set()

    def _refused(self, status: int) -> int:
        self._refusal = status
        return status

    def _check_head(self) -> None:
        """Refuse a request whose end two readers could see in different places (RFC 9112 6.3), and one that
        names no host, or two (RFC 9112 3.2)."""
        framing = hosts = 0
        needs_version = False
        for name, value in self.headers:
            if name == b"host":
                hosts += 1
                is_right = _HOST.fullmatch(value) is not None
            elif name == b"content-length":
                framing += 1
                continue
            elif name == b"transfer-encoding":
                framing += 1
                is_right = needs_version = value.lower() == b"chunked"
            else:
                continue
            if not is_right:
                raise RefusedRequest(self._refused(400))
        is_latest = self.parser.get_http_version() == "1.1"
        if framing > 1 or hosts > 1 or (needs_version and not is_latest) or (not hosts and is_latest):
            raise RefusedRequest(self._refused(400))

    # --- refusals ----------------------------------------------------------------------------------

    def send_400_response(self, msg: str) -> None:
        """Answer what the parser, or a callback of ours, refused."""
        self._refuse(self._refusal)

    def _refuse(self, status: int) -> None:
        """Answer `status` where an answer is possible, and close; nothing more is read as a request."""
        self._deaf = True
        self._unset_keepalive_if_required()
        cycle = self.cycle
        answered = cycle is None or cycle.response_complete
        if answered and self._arrived:
            with Span("HTTP") as span:
                span.status, span.outcome = status, Result.FAULT
                self._answer_and_close(status)
        elif answered:
            # The rest of a request that has its answer already.
            self.transport.close()
        elif self._arrived:
            # A request behind another one is refused: the other gets its answer, and then all ends.
            cycle.keep_alive = False
        elif cycle.response_started:
            self._abort()
        else:
            self._tell_gone(cycle)
            self._answer_and_close(status)

    def _answer_and_close(self, status: int) -> None:
        phrase = http.HTTPStatus(status).phrase.encode()
        retry = b"retry-after: 1\r\n" if status == 503 else b""
        self.transport.write(
            b"HTTP/1.1 %d %s\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\n"
            b"%sconnection: close\r\n\r\n%s" % (status, phrase, len(phrase), retry, phrase)
        )
        if self.transport.can_write_eof() and self._parts.lingering < MAX_LINGERING:
            # Closing with unread bytes would reset the connection, and the client might never see the answer.
            self.transport.write_eof()
            self._lingering_seconds = 0.0
            self._parts.lingering += 1
            self.flow.resume_reading()
        else:
            self.transport.close()

    def _abort(self) -> None:
        if self.cycle is not None:
            self._tell_gone(self.cycle)
        if self._outgoing is not None:
            self._outgoing.cut()
        self.transport.abort()

    # --- deadlines ---------------------------------------------------------------------------------

    def sweep(self, elapsed_seconds: float) -> None:
        """Cut the connection if it is past a deadline; `elapsed_seconds` since the last sweep."""
        if self._lingering_seconds is not None:
            self._lingering_seconds += elapsed_seconds
            if self._lingering_seconds > LINGER_SECONDS:
                self.transport.abort()
        elif late := self._late_sending(elapsed_seconds):
            self._log_cut(late, "sending")
            self._abort()
        elif late := self._late_receiving(elapsed_seconds):
            self._log_cut(late, "receiving")
            self._refuse(408)

    def _late_receiving(self, elapsed_seconds: float) -> Cut | None:
        if not self._receiving or self._deaf or self.transport.is_closing():
            return None
        if self.flow.read_paused or (not self._in_header and self.cycle.waiting_for_100_continue):
            return None
        self._receiving_seconds += elapsed_seconds
        if self._in_header:
            return Cut.HEADER if self._receiving_seconds > self._limits.header_seconds else None
        if self._receiving_seconds > self._limits.receive_seconds:
            return Cut.RECEIVE
        return self._arriving.step(elapsed_seconds, self._body_bytes)

    def _late_sending(self, elapsed_seconds: float) -> Cut | None:
        if self._outgoing is not None and self._leaving is not None:
            waiting = self._outgoing.waiting
            return self._leaving.step(elapsed_seconds, self._outgoing.sent) if waiting else None
        unsent = self.transport.get_write_buffer_size()
        stands_still = unsent > 0 and unsent == self._unsent_bytes
        self._unsent_bytes = unsent
        self._unsent_seconds = self._unsent_seconds + elapsed_seconds if stands_still else 0.0
        return Cut.STALLED if self._unsent_seconds >= self._limits.stall_seconds else None

    def _log_cut(self, why: Cut, doing: str) -> None:
        _log.info("connection cut", reason=why.value, while_doing=doing, peer=self._peer.address)

    # --- pieces ------------------------------------------------------------------------------------

    async def _send_pieces(self, cycle: RequestResponseCycle, pieces: Sequence[Piece]) -> None:
        """Send the whole body of a response that was started; on any failure the connection is aborted."""
        length = sum(map(size, pieces))
        if cycle.chunked_encoding or cycle.expected_content_length != length:
            raise RuntimeError("the pieces do not add up to the Content-Length of the response")
        secure = self.scheme == "https"
        await self._sent(cycle, self._send_ahead(cycle, pieces) if secure else self._send_files(pieces))

    async def _send_passage(self, cycle: RequestResponseCycle, passage: Passage) -> None:
        """Send the whole body of a response that was started, chunked; on any failure it is aborted."""
        if not cycle.chunked_encoding:
            raise RuntimeError("nobody knows the length of what passes")
        plain = self.scheme == "http" and passage.body.plain
        await self._sent(
            cycle, self._splice(passage) if plain else self._send_chunks(cycle, passing(passage))
        )

    async def _sent(self, cycle: RequestResponseCycle, sending: Coroutine[Any, Any, None]) -> None:
        try:
            with closing(sending):
                self._check_connected(cycle)
                await sending
        except ConnectionGone as error:
            cycle.disconnected = True
            self._abort()
            raise ClientGone("the client stopped taking the response") from error
        except BaseException:
            cycle.disconnected = True
            self._abort()
            raise
        finally:
            self._outgoing = self._leaving = None
        self._complete(cycle)

    async def _send_files(self, pieces: Sequence[Piece]) -> None:
        await self._transmitted(partial(PieceTransmission, pieces=pieces))

    async def _transmitted(self, new_transmission: Callable[[socket], Transmission]) -> None:
        self.flow.pause_reading()
        await self._flushed()
        connection = self.transport.get_extra_info("socket")
        duplicate = fromfd(connection.fileno(), connection.family, connection.type)
        duplicate.setblocking(False)
        try:
            transmission = new_transmission(duplicate)
        except BaseException:
            duplicate.close()
            raise
        self._watch(transmission)
        await transmission.run(self._parts.senders)

    async def _splice(self, passage: Passage) -> None:
        await self._transmitted(partial(PassageTransmission, passage=passage))

    async def _send_ahead(self, cycle: RequestResponseCycle, pieces: Sequence[Piece]) -> None:
        await self._send_chunks(cycle, read_ahead(pieces, executor=self._parts.senders))

    async def _send_chunks(
        self, cycle: RequestResponseCycle, chunks: AsyncGenerator[bytes] | AsyncGenerator[bytearray]
    ) -> None:
        queue = _Queue(self.transport)
        self._watch(queue)
        async with until_gone(self._gone), aclosing(chunks):
            async for chunk in chunks:
                await self.flow.drain()
                self._check_connected(cycle)
                queue.write(chunk)

    def _watch(self, outgoing: Outgoing) -> None:
        self._outgoing = outgoing
        self._leaving = Pace(self._limits)

    async def _flushed(self) -> None:
        """Wait until the response's head, and whatever was written before it, has left for the socket."""
        self.transport.set_write_buffer_limits(high=0)
        await self.flow.drain()
        self.transport.set_write_buffer_limits()
        if self.transport.is_closing():
            raise ConnectionGone

    def _check_connected(self, cycle: RequestResponseCycle) -> None:
        if cycle.disconnected or self.transport.is_closing():
            raise ConnectionGone

    def _complete(self, cycle: RequestResponseCycle) -> None:
        """What uvicorn does after the last byte of a body."""
        cycle.expected_content_length = 0
        cycle.response_complete = True
        cycle.message_event.set()
        if not cycle.keep_alive:
            self.transport.close()
        cycle.on_response()


class _Queue:
    """The write buffer of a transport, as what is being sent."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._written = 0

    def write(self, chunk: bytes | bytearray) -> None:
        self._written += len(chunk)
        self._transport.write(chunk)

    @property
    def sent(self) -> int:
        return self._written - self._unsent

    @property
    def waiting(self) -> bool:
        return self._unsent > 0

    @property
    def _unsent(self) -> int:
        return self._transport.get_write_buffer_size()

    def cut(self) -> None:
        self._transport.abort()
