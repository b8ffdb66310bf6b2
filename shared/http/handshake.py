"""What comes before HTTP: the accept, the header of a proxy, and the TLS handshake; counted, timed, and
reported when a node fails to authenticate (ITI-19).
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any

from shared.attempts import to_its_end
from shared.http.backlog import last_callers
from shared.http.protocol import ServerParts, XdsiProtocol
from shared.http.proxied import Peer
from shared.security.certificate_check import certificate_known
from shared.security.revocation import CertificateRefusedError
from shared.telemetry.log import logger

# How long a closing connection may take to say goodbye.
SHUTDOWN_SECONDS = 5.0
# After an accept failed for want of descriptors or memory.
PAUSE_SECONDS = 0.1
# Connections that are accepted before others of the loop have their turn.
AT_ONCE = 64

OnTlsFailure = Callable[[str, str], Awaitable[None]]
"""Called with the peer's address and the reason, in words, when a handshake failed."""

_log = logger(__name__)


class Acceptor:
    """Accepts connections and carries each past the header of a proxy, and to TLS, before HTTP sees it.

    The loop's own server drops failed handshakes without telling whose they were, begins one for whoever
    connects, however many connections there are, and cuts at its end who waits to be accepted.
    """

    def __init__(
        self,
        parts: ServerParts,
        listening: socket.socket,
        context: ssl.SSLContext | None,
        on_failure: OnTlsFailure | None,
    ) -> None:
        """Accept from `listening`, a bound socket that is closed with the listener."""
        self._parts = parts
        self._listening = listening
        self._context = context
        self._on_failure = on_failure
        self._tasks: set[asyncio.Task[None]] = set()
        self._watch()

    async def close(self, *, drain_seconds: float, handshake_seconds: float) -> None:
        """Accept those who have come, and nobody after them; let handshakes end, as long as they may.

        Parameters
        ----------
        drain_seconds
            For so long the service was drained; a connection that the kernel is just making is waited for no
            longer.
        handshake_seconds
            For so long handshakes may go on; failures already found are reported in any case.
        """
        if self._listening.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(self._listening)
            for connection, peer in await last_callers(self._listening, drain_seconds):
                self._admit(connection, peer)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=handshake_seconds)
        running = tuple(self._tasks)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    def _watch(self) -> None:
        if self._listening.fileno() >= 0:
            asyncio.get_running_loop().add_reader(self._listening, self._accept)

    def _accept(self) -> None:
        """Accept some of those who wait.

        In a callback of the loop, not in a task: what ends a task between the accept and its next step would
        lose the connection.
        """
        for _ in range(AT_ONCE):
            try:
                connection, at = self._listening.accept()
            except BlockingIOError:
                return
            except ConnectionError:
                continue
            except OSError as error:
                _log.error("connections cannot be accepted", exc_info=error)
                loop = asyncio.get_running_loop()
                loop.remove_reader(self._listening)
                loop.call_later(PAUSE_SECONDS, self._watch)
                return
            self._admit(connection, Peer(str(at[0]), at[1]))

    def _admit(self, connection: socket.socket, peer: Peer) -> None:
        connection.setblocking(False)
        admitted = self._parts.admission.admit(peer.address)
        self._start(self._take(connection, peer) if admitted else self._refuse(connection, peer))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("a connection could not be taken, or its failure not be reported", exc_info=error)

    async def _take(self, connection: socket.socket, accepted: Peer) -> None:
        peer = await self._parts.admission.caller(connection, accepted)
        if peer is not None:
            await (self._secure(connection, peer) if peer.admitted else self._refuse(connection, peer))

    async def _refuse(self, connection: socket.socket, peer: Peer) -> None:
        """End a connection that is one too many; with an answer where that needs no handshake."""
        if self._context is not None:
            connection.close()
            return
        with suppress(OSError):
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: XdsiProtocol(self._parts, peer._replace(admitted=False)), connection
            )

    async def _secure(self, connection: socket.socket, peer: Peer) -> None:
        address, tls = peer.address, self._context
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            transport, _ = await asyncio.get_running_loop().connect_accepted_socket(
                lambda: XdsiProtocol(self._parts, peer),
                connection,
                ssl=tls,
                ssl_handshake_timeout=self._parts.limits.handshake_seconds if tls else None,
                ssl_shutdown_timeout=SHUTDOWN_SECONDS if tls else None,
            )
        except ssl.SSLError as error:
            self._parts.admission.leave(address)
            await self._report(address, reason_of(error))
        except OSError as error:
            # No failed authentication: gone (scanners, probes of load balancers), or too slow.
            self._parts.admission.leave(address)
            _log.info("no handshake", peer=address, error=type(error).__name__)
        except BaseException:
            self._parts.admission.leave(address)
            raise
        else:
            await self._judged(transport, address)

    async def _judged(self, transport: asyncio.Transport, address: str) -> None:
        """Wait until the peer of a connection that is made is accepted; its place goes with its end."""
        try:
            await certificate_known(transport)
        except CertificateRefusedError as error:
            await self._report(address, reason_of(error))

    async def _report(self, address: str, reason: str) -> None:
        _log.warning("node authentication failed", peer=address, reason=reason)
        if self._on_failure is not None:
            # Shielded: what happened is recorded even if the server is just stopping.
            await to_its_end(self._on_failure(address, reason))


def reason_of(error: ssl.SSLError) -> str:
    """Why a handshake failed, in words and without anything that the peer chose."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    return (error.reason or "protocol error").lower().replace("_", " ")
