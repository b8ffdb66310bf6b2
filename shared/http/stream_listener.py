"""A listener whose connections are streams and no requests, as those of MLLP and of syslog are: counted, for
whom a proxy calls, with TLS, and left without cutting who has just come."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import NamedTuple

from shared.background import BackgroundWork
from shared.faults import SecurityFault
from shared.http.backlog import SILENT_SECONDS, last_callers
from shared.http.handshake import OnTlsFailure, reason_of
from shared.http.proxied import Entrance, Peer
from shared.security.caller import Node
from shared.security.certificate_check import certificate_known
from shared.security.peer_certificate import node_from_der
from shared.telemetry.log import logger

_log = logger(__name__)

HANDSHAKE_SECONDS = 10.0
PAUSE_SECONDS = 0.1
BACKLOG = 128


class StreamConnection(NamedTuple):
    """One connection, and who is at its other end."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    node: Node


Serve = Callable[[StreamConnection], Awaitable[None]]
"""Serves one connection to its end. A `SecurityFault` refuses the node, an `OSError` is a connection that
was lost."""


class StreamListener:
    """Accepts connections and hands each to `serve`.

    Parameters
    ----------
    protocol
        What is spoken, for operators.
    entrance
        Counts the connections.
    on_refused
        Awaited with address and reason when a node was refused.
    read_bytes
        How much a stream reads at once.
    receive_bytes
        The receive buffer of a socket; None leaves it to the system.
    """

    def __init__(
        self,
        protocol: str,
        serve: Serve,
        *,
        entrance: Entrance,
        tls: ssl.SSLContext | None,
        on_refused: OnTlsFailure | None,
        read_bytes: int,
        receive_bytes: int | None = None,
    ) -> None:
        self._protocol = protocol
        self._serve = serve
        self._entrance = entrance
        self._tls = tls
        self._on_refused = on_refused
        self._read_bytes = read_bytes
        self._receive_bytes = receive_bytes
        self._listening: socket.socket | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self.work = BackgroundWork(protocol, self._accept)
        self.port = 0

    async def start(self, host: str, port: int, *, reuse_port: bool = False) -> None:
        """Listen, beside other processes with `reuse_port`; `port` tells then where, when 0 was asked for.

        Raises
        ------
        OSError
            The address cannot be listened on.
        """
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.create_server((host, port), family=family, backlog=BACKLOG, reuse_port=reuse_port)
        if self._receive_bytes is not None:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._receive_bytes)
        listening.setblocking(False)
        self._listening = listening
        self.port = listening.getsockname()[1]
        self.work.start()

    async def leave(self, drain_seconds: float) -> None:
        """Accept who has come, and nobody after them; for a moment they may still say something.
        `drain_seconds` are as of `RunningServer.stop`, and over."""
        await self.work.stop()
        listening, self._listening = self._listening, None
        if listening is not None:
            for connection, accepted in await last_callers(listening, drain_seconds):
                self._admit(connection, accepted)
        if self._connections:
            await asyncio.wait(self._connections, timeout=SILENT_SECONDS)

    async def end(self) -> None:
        """End every connection."""
        connections = tuple(self._connections)
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)

    async def refuse(self, address: str, reason: str) -> None:
        """Tell that a node was refused."""
        _log.warning("node refused", protocol=self._protocol, peer=address, reason=reason)
        if self._on_refused is not None:
            await self._on_refused(address, reason)

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        listening = self._listening
        assert listening is not None
        while True:
            try:
                connection, at = await loop.sock_accept(listening)
            except OSError as error:
                # Too many open files, or the peer is gone already: neither ends the service.
                _log.error("a connection was not accepted", protocol=self._protocol, exc_info=error)
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            self._admit(connection, Peer(str(at[0]), at[1]))

    def _admit(self, connection: socket.socket, accepted: Peer) -> None:
        connection.setblocking(False)
        if not self._entrance.admit(accepted.address):
            _log.warning(
                "too many connections",
                protocol=self._protocol,
                peer=accepted.address,
                connections=self._entrance.open,
            )
            connection.close()
            return
        task = asyncio.create_task(self._arrived(connection, accepted))
        self._connections.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._connections.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("a connection failed", protocol=self._protocol, exc_info=error)

    async def _arrived(self, connection: socket.socket, accepted: Peer) -> None:
        if (peer := await self._entrance.client(connection, accepted)) is None:
            return
        writer: asyncio.StreamWriter | None = None
        try:
            reader, writer = await self._opened(connection)
            await self._serve(StreamConnection(reader, writer, _node(writer, peer)))
        except SecurityFault as fault:
            await self.refuse(peer.address, fault.detail)
        except OSError as error:
            await self._lost(peer, error, handshaken=writer is not None)
        finally:
            self._entrance.leave(peer.address)
            if writer is not None:
                await _closed(writer)

    async def _lost(self, peer: Peer, error: OSError, *, handshaken: bool) -> None:
        if isinstance(error, ssl.SSLError) and not handshaken:
            await self.refuse(peer.address, reason_of(error))
            return
        # Without a handshake no failed authentication: scanners and probes of balancers come and go.
        what = "connection lost" if handshaken else "no handshake"
        _log.info(what, protocol=self._protocol, peer=peer.address, error=type(error).__name__)

    async def _opened(self, connection: socket.socket) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        # Streams that are upgraded to TLS later never see the end of the connection under uvloop.
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=self._read_bytes)
        protocol = asyncio.StreamReaderProtocol(reader)
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            transport, _ = await loop.connect_accepted_socket(
                lambda: protocol,
                connection,
                ssl=self._tls,
                ssl_handshake_timeout=HANDSHAKE_SECONDS if self._tls else None,
            )
            await certificate_known(transport)
        except BaseException:
            connection.close()
            raise
        return reader, asyncio.StreamWriter(transport, protocol, reader, loop)


async def _closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(OSError, asyncio.CancelledError):
        async with asyncio.timeout(HANDSHAKE_SECONDS):
            await writer.wait_closed()


def _node(writer: asyncio.StreamWriter, peer: Peer) -> Node:
    """Who is at the other end of a connection, by its certificate."""
    secured = writer.get_extra_info("ssl_object")
    certificate = secured.getpeercert(binary_form=True) if secured else None
    return node_from_der(certificate, peer.address, relayed=peer.relayed)
