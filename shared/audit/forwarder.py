"""The way to the audit repository: syslog over TLS, in order, until it has arrived (ITI-20; RFC 5425).

RFC 5425 has no acknowledgement. What was sent is therefore kept until so much more was sent that it cannot
stand in a buffer any more, or until the peer's host has had it for a minute on a connection that still lives;
after a broken connection everything kept is sent again. The bytes are the same, so that the repository can
drop what it has already.
"""

from __future__ import annotations

import asyncio
import fcntl
import random
import ssl
import struct
import termios
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

from shared.audit import syslog
from shared.background import BackgroundWork
from shared.security.tls import client_context
from shared.settings import ServiceSettings, SettingsError, TlsSettings, is_loopback
from shared.telemetry.log import logger

_log = logger(__name__)

BATCH = 200
KEPT_MESSAGES = 1_000
# More than both hosts' socket buffers hold by Linux's defaults (4 and 6 MB).
KEPT_BYTES = 12 * 1024**2
KEPT_SECONDS = 60.0
POLL_SECONDS = 0.2
CONNECT_SECONDS = 15.0
SEND_SECONDS = 30.0
SHORTEST_PAUSE = 0.25
LONGEST_PAUSE = 60.0
STEADY_SECONDS = 5.0


class EventSource(Protocol):
    """Where messages wait: the spool, or an outbox table. One reader."""

    async def next(self, most: int) -> list[tuple[int, bytes]]:
        """Up to `most` messages not handed out since `rewind`, as (sequence, octets), in order."""
        ...

    async def done(self, sequences: Sequence[int]) -> None:
        """These need not be kept any more."""
        ...

    def rewind(self) -> None:
        """Hand out again whatever is not done."""
        ...


@dataclass(frozen=True, slots=True)
class _Sent:
    source: EventSource
    sequence: int
    at: float
    total: int


class _BrokenError(Exception):
    """The connection is of no more use."""


def target_of(settings: ServiceSettings) -> str:
    """`audit.url`, or the local audit repository."""
    return settings.audit.url or ("tls" if settings.tls.enabled else "tcp") + "://127.0.0.1:6514"


class Forwarder:
    """Drains `sources` to the audit repository of `settings`.

    Raises
    ------
    SettingsError
        `audit.url` is neither `tls://host:port` nor `tcp://` on loopback, or TLS is not set up.
    """

    def __init__(self, settings: ServiceSettings, *sources: EventSource) -> None:
        self._host, self._port, self._tls = _address(target_of(settings), settings.tls)
        self._sources = sources
        self._kept: deque[_Sent] = deque()
        self._sent_until: dict[EventSource, int] = {}
        self._total = 0
        self._taken_at = 0.0
        self._pause = SHORTEST_PAUSE
        self.work = BackgroundWork("audit delivery", self._attempt)
        self._caught_up = asyncio.Event()
        self.connected = False

    async def start(self) -> None:
        """Begin to send; returns at once."""
        self.work.start()

    async def stop(self, grace_seconds: float = 2.0) -> None:
        """Send what waits if that takes at most `grace_seconds`, then stop; the rest stays in its place."""
        self._caught_up.clear()
        if self.connected:
            with suppress(TimeoutError):
                async with asyncio.timeout(grace_seconds):
                    await self._caught_up.wait()
        await self.work.stop()

    def sent_until(self, source: EventSource) -> int | None:
        """The last message of `source` that was sent on the connection at hand, or on the last one."""
        return self._sent_until.get(source)

    async def _attempt(self) -> None:
        """Send until the connection ends; that the repository is away is no failure of ours."""
        began = time.monotonic()
        try:
            await self._session()
        except (OSError, TimeoutError, _BrokenError) as error:
            _log.warning("no audit repository", host=self._host, port=self._port, reason=_reason(error))
        if time.monotonic() - began > STEADY_SECONDS:
            self._pause = SHORTEST_PAUSE
        await asyncio.sleep(self._pause * random.uniform(0.5, 1.0))  # noqa: S311  # spreads reconnects
        self._pause = min(self._pause * 2, LONGEST_PAUSE)

    async def _session(self) -> None:
        async with asyncio.timeout(CONNECT_SECONDS):
            reader, writer = await asyncio.open_connection(
                self._host, self._port, ssl=self._tls, server_hostname=self._host if self._tls else None
            )
        # A syslog peer never speaks, so anything to read is the end.
        ended = asyncio.create_task(reader.read(1))
        try:
            self.connected = True
            self._kept.clear()
            for source in self._sources:
                source.rewind()
            await self._drain(writer, ended)
        finally:
            self.connected = False
            ended.cancel()
            with suppress(OSError, asyncio.CancelledError):
                await ended
            writer.close()
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout(1):
                    await writer.wait_closed()

    async def _drain(self, writer: asyncio.StreamWriter, ended: asyncio.Task[bytes]) -> None:
        while True:
            sent = 0
            for source in self._sources:
                messages = await source.next(BATCH)
                await self._send(writer, [octets for _, octets in messages])
                self._keep(source, messages)
                sent += len(messages)
            await self._release(writer)
            if not sent:
                self._caught_up.set()
            if ended.done() or not sent:
                await self._rest(ended)

    def _keep(self, source: EventSource, messages: Sequence[tuple[int, bytes]]) -> None:
        now = time.monotonic()
        for sequence, octets in messages:
            self._total += len(octets)
            self._kept.append(_Sent(source, sequence, now, self._total))
            self._sent_until[source] = sequence

    async def _send(self, writer: asyncio.StreamWriter, messages: Sequence[bytes]) -> None:
        if messages:
            writer.write(b"".join(map(syslog.frame, messages)))
            async with asyncio.timeout(SEND_SECONDS):
                await writer.drain()

    async def _rest(self, ended: asyncio.Task[bytes]) -> None:
        await asyncio.wait({ended}, timeout=POLL_SECONDS)
        if ended.done():
            ended.result()
            raise _BrokenError("the audit repository closed the connection")

    async def _release(self, writer: asyncio.StreamWriter) -> None:
        now = time.monotonic()
        if not _in_flight(writer):
            self._taken_at = now
        done: dict[EventSource, list[int]] = {}
        while self._kept and self._may_go(self._kept[0], now):
            sent = self._kept.popleft()
            done.setdefault(sent.source, []).append(sent.sequence)
        for source, sequences in done.items():
            await source.done(sequences)

    def _may_go(self, sent: _Sent, now: float) -> bool:
        if len(self._kept) > KEPT_MESSAGES and self._total - sent.total >= KEPT_BYTES:
            return True
        return now - sent.at >= KEPT_SECONDS and self._taken_at >= sent.at


def _in_flight(writer: asyncio.StreamWriter) -> int:
    """Octets that the peer's host has not acknowledged."""
    transport = writer.transport
    waiting = transport.get_write_buffer_size()
    socket = transport.get_extra_info("socket")
    if socket is None or socket.fileno() < 0:
        return waiting
    (unacknowledged,) = struct.unpack("i", fcntl.ioctl(socket.fileno(), termios.TIOCOUTQ, b"\0\0\0\0"))
    return waiting + int(unacknowledged)


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _address(url: str, tls: TlsSettings) -> tuple[str, int, ssl.SSLContext | None]:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or 6514
    except ValueError:
        parts, host, port = urlsplit(""), "", 0
    if parts.scheme == "tls" and host:
        context = client_context(tls)
        context.check_hostname = tls.check_host_names
        return host, port, context
    if parts.scheme == "tcp" and is_loopback(host):
        return host, port, None
    remedy = "write tls://host:6514, or tcp://127.0.0.1:6514 on one machine"
    raise SettingsError((f"XDSI_AUDIT__URL: {url} cannot be used; {remedy}",))
