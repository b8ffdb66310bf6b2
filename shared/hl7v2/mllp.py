"""The Minimal Lower Layer Protocol: frames of HL7 v2 over TCP or TLS, with limits (HL7 Appendix C; ITI TF-2
3.8.2).

A frame is 0x0B, the message, 0x1C 0x0D; the last octet may be absent. Connections are counted, in all and
for each peer; whoever sends too much or too slowly is told so and cut.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from shared.background import BackgroundWork
from shared.http.handshake import OnTlsFailure
from shared.http.proxied import Entrance
from shared.http.stream_listener import StreamConnection, StreamListener
from shared.security.caller import Node
from shared.telemetry.log import logger
from shared.telemetry.trace import Span
from shared.telemetry.wire import Message, WireFolder

_log = logger(__name__)

START, END = b"\x0b", b"\x1c\x0d"
# No text of HL7 holds it, and some senders leave out what follows.
_LAST = END[:1]
READ_BYTES = 64 * 1024
BEGINNING_BYTES = 4_096
STOP_SECONDS = 10.0

Answer = Callable[[bytes, Node], Awaitable[bytes]]
"""Answers the message of a node with the message to send back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MllpLimits:
    """What one peer, and all, may take; beyond it the connection is closed."""

    frame_bytes: int = 1024 * 1024
    frame_seconds: float = 30.0
    connections: int = 64
    connections_per_peer: int = 8


class FrameError(Exception):
    """What came is no frame, is too long, or took too long; the text says which."""


class MllpFrames:
    """Cuts a stream of bytes into messages, wherever it is split."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._buffer = bytearray()
        self._searched = 0

    @property
    def inside(self) -> bool:
        """Whether a frame has begun."""
        return bool(self._buffer.strip(b"\r\n"))

    @property
    def beginning(self) -> bytes:
        """The first octets of the message that has begun, for who has to refuse the rest of it."""
        return bytes(self._buffer[1:BEGINNING_BYTES])

    def feed(self, octets: bytes) -> None:
        """Add what arrived."""
        self._buffer += octets

    def next(self) -> bytes | None:
        """The next message, or None until more arrived.

        Raises
        ------
        FrameError
            The bytes do not begin a frame, or the frame is longer than the limit.
        """
        if not self._searched:
            # Line ends between frames are harmless; anything else means that we lost our place.
            del self._buffer[: len(self._buffer) - len(self._buffer.lstrip(b"\r\n"))]
            if self._buffer and self._buffer[:1] != START:
                raise FrameError("a frame begins with 0x0B")
        end = self._buffer.find(_LAST, self._searched)
        if (end if end >= 0 else len(self._buffer)) > self._limit:
            raise FrameError(f"a message is at most {self._limit} bytes long")
        self._searched = len(self._buffer)
        if end < 0:
            return None
        message = bytes(self._buffer[1:end])
        del self._buffer[: end + len(_LAST)]
        self._searched = 0
        return message


def framed(message: bytes) -> bytes:
    """`message` as a frame."""
    return START + message + END


class MllpListener:
    """Accepts connections and hands each message to `answer`, one after the other for each connection.

    `refusal` makes the message that is sent when a frame is cut, from the reason and the beginning of what
    came; `wire` keeps messages and answers as files; `proxies` are as of `Entrance`.
    """

    def __init__(
        self,
        answer: Answer,
        *,
        refusal: Callable[[str, bytes], bytes],
        limits: MllpLimits | None = None,
        tls: ssl.SSLContext | None = None,
        on_tls_failure: OnTlsFailure | None = None,
        wire: WireFolder | None = None,
        proxies: Iterable[str] = (),
    ) -> None:
        self._wire = wire
        self._answer = answer
        self._refusal = refusal
        self._limits = limits or MllpLimits()
        self._streams = StreamListener(
            "HL7 messages",
            self._serve,
            entrance=Entrance(
                proxies, connections=self._limits.connections, per_peer=self._limits.connections_per_peer
            ),
            tls=tls,
            on_refused=on_tls_failure,
            read_bytes=READ_BYTES,
        )
        self._answering: set[asyncio.Task[None]] = set()
        self._stopping = False

    @property
    def work(self) -> BackgroundWork:
        """What accepts connections."""
        return self._streams.work

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._streams.port

    async def start(self, host: str, port: int, *, reuse_port: bool = False) -> None:
        """Listen, beside other processes with `reuse_port`; raises as `StreamListener.start`."""
        await self._streams.start(host, port, reuse_port=reuse_port)

    async def stop(self, *, drain_seconds: float = 0.0) -> None:
        """Accept who has come, and nobody after them; answer what they say at once, and what is in work;
        close every connection. `drain_seconds` are as of `RunningServer.stop`, and over."""
        await self._streams.leave(drain_seconds)
        self._stopping = True
        if self._answering:
            await asyncio.wait(set(self._answering), timeout=STOP_SECONDS)
        await self._streams.end()

    async def _serve(self, connection: StreamConnection) -> None:
        reader, writer, node = connection
        frames = MllpFrames(self._limits.frame_bytes)
        while not self._stopping:
            try:
                message = await self._next(reader, frames)
            except FrameError as error:
                _log.warning("HL7 connection cut", peer=node.address, reason=str(error))
                writer.write(framed(self._refusal(str(error), frames.beginning)))
                await writer.drain()
                return
            if message is None:
                return
            await self._respond(writer, message, node)

    async def _respond(self, writer: asyncio.StreamWriter, message: bytes, node: Node) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._answering.add(task)
        try:
            with Span("MLLP") as span:
                answer = await self._answer(message, node)
                if self._wire is not None:
                    await self._wire.keep(span.trace_id, "hl7", Message(message), Message(answer))
                writer.write(framed(answer))
                await writer.drain()
        finally:
            self._answering.discard(task)

    async def _next(self, reader: asyncio.StreamReader, frames: MllpFrames) -> bytes | None:
        """The next message; None when the peer is gone, or was silent between two messages for too long."""
        message = frames.next()
        try:
            async with asyncio.timeout(self._limits.frame_seconds):
                while message is None:
                    received = await reader.read(READ_BYTES)
                    if not received:
                        return None
                    frames.feed(received)
                    message = frames.next()
        except TimeoutError:
            if not frames.inside:
                return None
            raise FrameError(f"a message must arrive within {self._limits.frame_seconds:g} s") from None
        return message
