"""Record Audit Event [ITI-20], receiving side: syslog over TLS, and over UDP when asked for (ITI TF-2 3.20).

Octet counting (RFC 5425), and as a tolerance lines, by which a stream shows itself with its first octet. What
was read of a connection is durable before more is read of it, so a sender that resends after a broken
connection loses nothing. A record that cannot be understood is kept, and of one that is too long its
beginning and its digest; only a stream that cannot be cut into records is closed, and that is recorded too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime

from audit_repository.domain.record import Message, Reading, Record, reading_of, record_of, records_of
from audit_repository.domain.sources import Sources
from audit_repository.settings import AuditRepositorySettings
from shared.attempts import to_its_end
from shared.audit.syslog import FrameReader, FramingError
from shared.background import BackgroundWork
from shared.http.proxied import Entrance
from shared.http.stream_listener import HANDSHAKE_SECONDS, StreamConnection, StreamListener
from shared.security.caller import Node
from shared.security.rights import Rights
from shared.security.tls import server_context
from shared.store.failures import DatabaseError
from shared.telemetry.log import logger
from shared.telemetry.trace import one_trace

_log = logger(__name__)

READ_BYTES = 256 * 1024
# Bounds what a sender's resend window must cover after this host dies.
RECEIVE_BUFFER = 256 * 1024
# Larger batches are read in a process of their own.
INLINE_BYTES = 32 * 1024
UDP_WAITING = 2_000

Read = Callable[[Sequence[Message]], Awaitable[Sequence[Reading]]]
Append = Callable[[Sequence[Record]], Awaitable[int]]
Alert = Callable[[str, str], Awaitable[None]]


class _TooSlowError(Exception):
    """The peer was silent for too long, or took too long for one record."""


class SyslogListener:
    """Takes records by TLS, or by plain TCP on loopback when TLS is not set up.

    Parameters
    ----------
    read
        Reads many messages elsewhere, away from the event loop.
    append
        Keeps records durably.
    sources
        Knows which node may write under which AuditSourceID.
    alert
        Records that a node was refused: its address and the reason, in words.
    """

    def __init__(
        self,
        settings: AuditRepositorySettings,
        *,
        read: Read,
        append: Append,
        sources: Sources,
        alert: Alert,
    ) -> None:
        self._settings = settings
        self._read_elsewhere = read
        self._rights = Rights(settings)
        self._append = append
        self._sources = sources
        self._alert = alert
        self._secured = settings.tls.enabled
        self._streams = StreamListener(
            "syslog",
            self._serve,
            entrance=Entrance(
                settings.proxies,
                connections=settings.syslog_connections,
                per_peer=settings.syslog_connections_per_peer,
            ),
            tls=server_context(settings.tls) if settings.tls.enabled else None,
            on_refused=self._refused,
            read_bytes=READ_BYTES,
            receive_bytes=RECEIVE_BUFFER,
        )

    @property
    def work(self) -> BackgroundWork:
        """What accepts connections."""
        return self._streams.work

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._streams.port

    async def start(self) -> None:
        """Listen; raises as `StreamListener.start`."""
        await self._streams.start(self._settings.host, self._settings.syslog_port)

    async def stop(self) -> None:
        """Accept who has come, and nobody after them; read on for a moment, keep what was read, and close."""
        await self._streams.leave(self._settings.drain_seconds)
        await self._streams.end()

    async def _serve(self, connection: StreamConnection) -> None:
        reader, writer, node = connection
        try:
            # A proxy that calls for itself asks whether we live, and is refused when it says more.
            if self._secured or not node.relayed or await self._speaks(reader):
                self._rights.check(node, "ITI-20")
                with one_trace():
                    await self._receive(reader, node)
        except FramingError as error:
            reason = f"the stream is not syslog with octet counting: {error}"
            await self._streams.refuse(node.address, reason)
        except _TooSlowError as error:
            _log.info("syslog connection closed", peer=node.address, reason=str(error))
        except DatabaseError as error:
            # The sender keeps what it sent; closing makes it send again.
            _log.error("audit records cannot be kept", peer=node.address, exc_info=error)
        finally:
            writer.transport.abort()

    async def _refused(self, address: str, reason: str) -> None:
        with suppress(DatabaseError):
            await self._alert(address, reason)

    async def _speaks(self, reader: asyncio.StreamReader) -> bool:
        """Whether a first octet comes, which is taken."""
        try:
            async with asyncio.timeout(HANDSHAKE_SECONDS):
                return bool(await reader.read(1))
        except TimeoutError:
            return False

    async def _receive(self, reader: asyncio.StreamReader, node: Node) -> None:
        frames = FrameReader(max_bytes=self._settings.syslog_max_bytes, lines=True)
        began = 0.0
        while True:
            was_inside = frames.inside
            octets = await self._read(reader, frames, began)
            # A connection lasts for days; a node may have lost its right since it began.
            self._rights.check(node, "ITI-20")
            if not octets:
                await self._keep(list(frames.close()), node)
                if frames.inside:
                    _log.info("syslog connection ended inside a record", peer=node.address)
                return
            messages: list[Message] = []
            try:
                messages.extend(frames.feed(octets))
            finally:
                # What came whole before a broken frame is kept too.
                await self._keep(messages, node)
            if messages or not was_inside:
                began = asyncio.get_running_loop().time()

    async def _read(self, reader: asyncio.StreamReader, frames: FrameReader, began: float) -> bytes:
        settings = self._settings
        loop = asyncio.get_running_loop()
        deadline = loop.time() + settings.syslog_idle_seconds
        if frames.inside:
            deadline = began + settings.syslog_frame_seconds * max(1.0, frames.announced / READ_BYTES)
        try:
            async with asyncio.timeout_at(deadline):
                return await reader.read(READ_BYTES)
        except TimeoutError:
            raise _TooSlowError("a record took too long" if frames.inside else "nothing came") from None

    async def _keep(self, messages: Sequence[Message], node: Node) -> None:
        if not messages:
            return
        received = datetime.now(UTC)
        large = sum(len(message) for message in messages if isinstance(message, bytes)) > INLINE_BYTES
        readings = await self._read_elsewhere(messages) if large else list(map(reading_of, messages))
        records = records_of(messages, readings, node=node, received=received, sources=self._sources)
        await to_its_end(self._append(records))
        # Nothing is answered in syslog, and every request elsewhere is a record here.
        _log.debug("records kept", peer=node.address, records=len(records))


class DatagramListener(asyncio.DatagramProtocol):
    """Takes records by UDP (RFC 5426): one for each datagram, neither acknowledged nor authenticated."""

    def __init__(
        self,
        settings: AuditRepositorySettings,
        *,
        append: Append,
        sources: Sources,
        lost: Callable[[int], Awaitable[None]],
    ) -> None:
        self._settings = settings
        self._sources = sources
        self._append = append
        self._lost = lost
        self._waiting: asyncio.Queue[tuple[bytes, str, datetime]] = asyncio.Queue(UDP_WAITING)
        self._overrun = 0
        self.work = BackgroundWork("syslog by UDP", self._keep_next)
        self._transport: asyncio.DatagramTransport | None = None
        self.port = 0

    async def start(self) -> None:
        """Listen; the port is then in `port`."""
        loop = asyncio.get_running_loop()
        address = (self._settings.host, self._settings.udp_port)
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=address)
        self.port = self._transport.get_extra_info("sockname")[1]
        self.work.start()

    async def stop(self) -> None:
        """Listen no more; what waits is kept."""
        if self._transport is not None:
            self._transport.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(5):
                await self._waiting.join()
        await self.work.stop()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Take one record, or count it as lost when too many wait."""
        try:
            self._waiting.put_nowait((data, str(addr[0]), datetime.now(UTC)))
        except asyncio.QueueFull:
            self._overrun += 1

    async def _keep_next(self) -> None:
        batch = [await self._waiting.get()]
        while not self._waiting.empty() and len(batch) < 500:
            batch.append(self._waiting.get_nowait())
        # Until they are kept they count as lost.
        self._overrun += len(batch)
        try:
            await self._append(
                [
                    record_of(data, node=Node(address=peer), received=at, sources=self._sources)
                    for data, peer, at in batch
                ]
            )
            self._overrun -= len(batch)
        finally:
            for _ in batch:
                self._waiting.task_done()
        if lost := self._overrun:
            await self._lost(lost)
            self._overrun -= lost
