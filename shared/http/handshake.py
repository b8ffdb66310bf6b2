"""What comes before HTTP: the header of a proxy, and the TLS handshake; counted, timed, and reported when a
node fails to authenticate (ITI-19).
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from shared.attempts import to_its_end
from shared.background import BackgroundWork
from shared.http.protocol import ServerParts, XdsiProtocol
from shared.http.proxied import Peer
from shared.telemetry.log import logger

# How long a closing connection may take to say goodbye.
SHUTDOWN_SECONDS = 5.0
# After an accept failed for want of descriptors or memory.
PAUSE_SECONDS = 0.1

OnTlsFailure = Callable[[str, str], Awaitable[None]]
"""Called with the peer's address and the reason, in words, when a handshake failed."""

_log = logger(__name__)


class Acceptor:
    """Accepts connections and carries each past the header of a proxy, and to TLS, before HTTP sees it.

    The loop's own TLS server drops failed handshakes without telling whose they were, and begins one for
    whoever connects, however many connections there are.
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
        self._accepting = BackgroundWork("connections", self._accept)
        self._accepting.start()

    async def close(self) -> None:
        """Accept no more, end the handshakes that are going on; failures already found are still reported."""
        await self._accepting.stop()
        running = tuple(self._tasks)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        self._listening.close()

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("a connection could not be taken, or its failure not be reported", exc_info=error)

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, at = await loop.sock_accept(self._listening)
            except OSError as error:
                _log.error("connections cannot be accepted", exc_info=error)
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            accepted = Peer(str(at[0]), at[1])
            if self._parts.admission.admit(accepted.address):
                self._start(self._take(connection, accepted))
            else:
                connection.close()

    async def _take(self, connection: socket.socket, accepted: Peer) -> None:
        if (peer := await self._parts.admission.client(connection, accepted)) is not None:
            await self._secure(connection, peer)

    async def _secure(self, connection: socket.socket, peer: Peer) -> None:
        address, tls = peer.address, self._context
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: XdsiProtocol(self._parts, admitted=peer),
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
