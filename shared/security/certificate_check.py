"""What is asked of a peer's certificate when its chain was found good, in coroutines and in threads.

Where a responder has to be asked, a handshake on an event loop ends without an answer, and nothing of the
connection can be read or written before there is one: `certificate_known` waits for it, on either side.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import httpx2

from shared.security.caller import Node
from shared.security.peer_certificate import node_from_der
from shared.security.revocation import CertificateRefusedError, Revocations
from shared.security.stapling import arrived_staple
from shared.telemetry.log import logger

_log = logger(__name__)

#: Tells by its certificate whether a node may answer where it is called.
Known = Callable[[Node], bool]


def checking(
    revocations: Revocations, may_answer: Known | None
) -> tuple[type[ssl.SSLObject], type[ssl.SSLSocket]]:
    """What checks a peer further when its chain was found good, for coroutines and for threads."""

    def check(der: bytes | None, stapled: bytes) -> Future[None] | None:
        if may_answer is not None and not may_answer(node := node_from_der(der, "")):
            _log.error(
                "a node that may not answer here; XDSI_COMMUNITY_NODES or XDSI_NODES names those of this "
                "community",
                subject=node.subject,
                fingerprint=node.fingerprint,
            )
            raise CertificateRefusedError("the certificate is of no node that may answer here")
        return revocations.check(der, stapled)

    class CheckedObject(_AwaitingObject):
        def do_handshake(self) -> None:
            try:
                super().do_handshake()
            finally:
                self.stapled = arrived_staple() or self.stapled
            self.awaited = check(self.getpeercert(binary_form=True), self.stapled)

    class CheckedSocket(ssl.SSLSocket):
        def do_handshake(self, block: bool = False) -> None:
            try:
                super().do_handshake(block)
            finally:
                stapled = arrived_staple()
            if (awaited := check(self.getpeercert(binary_form=True), stapled)) is not None:
                # Nobody else waits in this thread.
                awaited.result()

    return CheckedObject, CheckedSocket


class _AwaitingObject(ssl.SSLObject):
    """One side of a connection, which carries nothing while something is `awaited`, nor when that is a no."""

    awaited: Future[None] | None = None
    stapled = b""

    def read(self, *args: Any) -> Any:
        """Read, as `ssl.SSLObject.read` does; nothing has come while it is not known who sent it."""
        self._settle()
        return super().read(*args)

    def write(self, data: Any) -> int:
        """Write, as `ssl.SSLObject.write` does."""
        self._settle()
        return super().write(data)

    def _settle(self) -> None:
        if self.awaited is not None:
            if not self.awaited.done():
                raise ssl.SSLWantReadError
            self.awaited.result()


async def certificate_known(transport: asyncio.BaseTransport) -> None:
    """Wait until the certificate of the peer is accepted; whoever makes a connection waits before using it.

    Raises
    ------
    CertificateRefusedError
        It is not; the connection was ended.
    """
    if (secured := transport.get_extra_info("ssl_object")) is None:
        return
    try:
        if not await _accepted(secured):
            return
    except BaseException:  # nobody waits any longer, too
        transport.abort()  # type: ignore[attr-defined]  # of a connection
        raise
    # What came meanwhile is read now.
    transport.pause_reading()  # type: ignore[attr-defined]
    transport.resume_reading()  # type: ignore[attr-defined]


async def _accepted(secured: ssl.SSLObject) -> bool:
    """Whether it had to be waited for that the certificate is accepted."""
    awaited: Future[None] | None = getattr(secured, "awaited", None)
    if awaited is None:
        return False
    decision = asyncio.wrap_future(awaited)
    await asyncio.shield(decision)
    return True


async def http_certificate_known(event: str, info: dict[str, Any]) -> None:
    """As `certificate_known`, for requests of httpx2 that have it as their `trace`; raises `ConnectError`."""
    if event != "connection.start_tls.complete":
        return
    stream = info["return_value"]
    try:
        await _accepted(stream.get_extra_info("ssl_object"))
    except CertificateRefusedError as error:
        await stream.aclose()
        raise httpx2.ConnectError(str(error)) from error
