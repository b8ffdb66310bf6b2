"""One exchange on its way: what is known of it so far, how it may end, and how many there may be at once."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

from shared.faults import ReceiverFault, SenderFault
from shared.http.raw_asgi import Piece, Scope, ServerBusy
from shared.security.caller import Caller, Node
from shared.soap.media_type import MULTIPART, MediaType
from shared.soap.mtom import Relay
from shared.soap.package import Package
from shared.soap.served import Served
from shared.telemetry.metrics import Result


class TooLarge(SenderFault):
    """A limit of size was passed."""

    status = 413


class EncodingRefused(SenderFault):
    """The body came with a Content-Encoding."""

    status = 415


class Unavailable(ReceiverFault):
    """The service cannot do it now; try again later."""

    status = 503


@dataclass(slots=True)
class Exchange:
    """What is known so far of one exchange; a fault, and the end of it, need what the steps before found."""

    scope: Scope
    endpoint: str
    node: Node
    package: Package = field(default_factory=Package)
    media_type: MediaType | None = None
    message_id: str = ""
    served: Served[Any, Any] | None = None
    request: Any = None
    caller: Caller | None = None
    received: float = 0.0
    result: Result = Result.FAULT
    relay: Relay | None = None

    @property
    def mtom(self) -> bool:
        """Whether the request came as an XOP package, so that the answer will."""
        return self.media_type is not None and self.media_type.name == MULTIPART


@dataclass(frozen=True, slots=True)
class Reply:
    """What will be sent, as pieces or as a `stream`; `retry` asks the client to come again."""

    status: int
    content_type: str
    pieces: Sequence[Piece] = ()
    retry: bool = False
    stream: AsyncGenerator[bytes] | None = None


class Gate:
    """Lets a number in at once and sends the others away, so that no peer has all the places.

    A peer may hold as many places as are still free: one alone half of them, two a third each, and there is
    always one for who has none.
    """

    def __init__(self, places: int) -> None:
        self._places = places
        self._of_peer: Counter[str] = Counter()
        self._left: asyncio.Event | None = None

    @property
    def taken(self) -> int:
        """How many are in."""
        return self._of_peer.total()

    def full(self, peer: str) -> bool:
        """Whether the next one of `peer` would be sent away."""
        return self._of_peer.get(peer, 0) >= self._places - self.taken

    @contextmanager
    def entered(self, peer: str) -> Iterator[None]:
        """Hold a place, or raise `ServerBusy`; `peer` is `Node.peer`."""
        if self.full(peer):
            raise ServerBusy
        self._of_peer[peer] += 1
        try:
            yield
        finally:
            self._leave(peer)

    @asynccontextmanager
    async def waited_for(self, peer: str, *, seconds: float) -> AsyncGenerator[None]:
        """Hold a place as soon as `peer` may, or raise `ServerBusy` after `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                while self.full(peer):
                    self._left = self._left or asyncio.Event()
                    await self._left.wait()
        except TimeoutError:
            raise ServerBusy from None
        with self.entered(peer):
            yield

    def _leave(self, peer: str) -> None:
        self._of_peer[peer] -= 1
        if not self._of_peer[peer]:
            del self._of_peer[peer]
        if self._left is not None:
            # Whoever waits looks again, and then waits for another event.
            self._left.set()
            self._left = None
