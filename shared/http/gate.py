"""How many there may be at once of what takes long, of each peer and in all."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, contextmanager

from shared.http.raw_asgi import ServerBusy


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
