"""A connection to the audit repository: octets go one way, and the end of it is all that comes back."""

from __future__ import annotations

import asyncio
import fcntl
import ssl
import struct
import termios
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

from shared.audit import syslog
from shared.security.certificate_check import certificate_known

CONNECT_SECONDS = 15.0
SEND_SECONDS = 30.0


class ConnectionEnded(Exception):
    """The audit repository ended the connection."""


class Connection:
    """An open connection; made by `opened`."""

    def __init__(self, writer: asyncio.StreamWriter, ended: asyncio.Task[bytes]) -> None:
        self._writer = writer
        self._ended = ended

    @property
    def ended(self) -> bool:
        """Whether the peer has ended it."""
        return self._ended.done()

    @property
    def peer_certificate(self) -> bytes | None:
        """The certificate of the peer (DER); None without TLS."""
        tls = self._writer.get_extra_info("ssl_object")
        return tls.getpeercert(binary_form=True) if tls is not None else None

    @property
    def in_flight(self) -> int:
        """Octets that the peer's host has not acknowledged."""
        transport = self._writer.transport
        waiting = transport.get_write_buffer_size()
        socket = transport.get_extra_info("socket")
        if socket is None or socket.fileno() < 0:
            return waiting
        (unacknowledged,) = struct.unpack("i", fcntl.ioctl(socket.fileno(), termios.TIOCOUTQ, b"\0\0\0\0"))
        return waiting + int(unacknowledged)

    async def send(self, messages: Sequence[bytes]) -> None:
        """Send each in a frame of its own.

        Raises
        ------
        ConnectionEnded
            The peer ended the connection.
        TimeoutError
            It takes nothing.
        """
        if not messages:
            return
        try:
            self._writer.write(b"".join(map(syslog.frame, messages)))
            async with asyncio.timeout(SEND_SECONDS):
                await self._writer.drain()
        except ConnectionError as error:
            raise ConnectionEnded(error.strerror or "it ended while a record was sent") from error

    async def quiet(self, seconds: float) -> None:
        """Wait so long; raises `ConnectionEnded` as soon as the peer ends the connection."""
        await asyncio.wait({self._ended}, timeout=seconds)
        if not self._ended.done():
            return
        error = self._ended.exception()
        if error is None:
            raise ConnectionEnded("the audit repository closed the connection")
        raise ConnectionEnded(reason_of(error)) from error


@asynccontextmanager
async def opened(host: str, port: int, tls: ssl.SSLContext | None) -> AsyncIterator[Connection]:
    """Connect; raises `OSError`, or `TimeoutError`, when nobody answers."""
    async with asyncio.timeout(CONNECT_SECONDS):
        reader, writer = await asyncio.open_connection(
            host, port, ssl=tls, server_hostname=host if tls else None
        )
        await certificate_known(writer.transport)
    # A syslog peer never speaks, so anything to read is the end.
    ended = asyncio.create_task(reader.read(1))
    try:
        yield Connection(writer, ended)
    finally:
        ended.cancel()
        with suppress(OSError, asyncio.CancelledError):
            await ended
        writer.close()
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(1):
                await writer.wait_closed()


def reason_of(error: BaseException) -> str:
    """Why a connection failed, in words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        # What we refuse ourselves has its reason as its text alone.
        return getattr(error, "verify_message", "") or str(error.args[-1])
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
