"""What a connection may take: bytes, lines and time; and how often one peer may connect."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from threading import Lock
from typing import Self

from shared.settings import ServiceSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpLimits:
    """Limits of the HTTP server; beyond one of them the connection is answered as told there, and closed.

    Time in which this server does not read, because the application or the machine is busy, is never held
    against a client. Deadlines are kept to within `sweep_seconds`.
    """

    header_bytes: int = 32 * 1024
    """Request line and header fields together (431)."""
    header_lines: int = 100
    """Header fields (431)."""
    target_bytes: int = 8 * 1024
    """Request target (414)."""
    header_seconds: float = 15
    """From the connection, or the first byte of a request, to the end of its header (408)."""
    receive_seconds: float = 15 * 60
    """From the first byte of a request to its last (408)."""
    stall_seconds: float = 20
    """Without a byte of a body received (408), or of a response taken (closed)."""
    slow_after_seconds: float = 10
    """Time after which a body must keep up `bytes_per_second` on the average (as above)."""
    bytes_per_second: int = 10_000
    handshake_seconds: float = 15
    """For the TLS handshake (closed)."""
    idle_seconds: int = 30
    """Between two requests of a connection (closed)."""
    connections: int = 2_000
    """Open at once (503; closed before the handshake under TLS)."""
    connections_per_peer: int = 200
    """Open at once from one address (as above)."""
    sweep_seconds: float = 1.0
    """How often deadlines are looked at: no request has a timer of its own."""

    @classmethod
    def of(cls, settings: ServiceSettings) -> Self:
        """The limits of one service."""
        return cls(connections=settings.connections, connections_per_peer=settings.connections_per_peer)


class Cut(StrEnum):
    """Why a connection was closed by this server."""

    HEADER = "header not complete in time"
    RECEIVE = "request not complete in time"
    STALLED = "no progress"
    SLOW = "too slow"


class Pace:
    """Whether a peer moves a body fast enough; asked once in a sweep, and only while the peer is to move."""

    __slots__ = ("_last", "_limits", "_stalled", "_waited")

    def __init__(self, limits: HttpLimits) -> None:
        self._limits = limits
        self._last = 0
        self._stalled = 0.0
        self._waited = 0.0

    def step(self, elapsed_seconds: float, moved_bytes: int) -> Cut | None:
        """Why to cut the peer, which has moved `moved_bytes` in all; None to go on."""
        self._waited += elapsed_seconds
        if moved_bytes == self._last:
            self._stalled += elapsed_seconds
            return Cut.STALLED if self._stalled >= self._limits.stall_seconds else None
        self._stalled, self._last = 0.0, moved_bytes
        counted = self._waited - self._limits.slow_after_seconds
        return Cut.SLOW if moved_bytes < counted * self._limits.bytes_per_second else None


class Admission:
    """Counts the open connections of one listener from their accept, in all and of each address.

    Any thread may use it.
    """

    def __init__(self, *, connections: int, per_peer: int) -> None:
        self._connections = connections
        self._per_peer = per_peer
        self._of_peer: Counter[str] = Counter()
        self._guard = Lock()

    @property
    def open(self) -> int:
        """How many connections are open."""
        with self._guard:
            return self._of_peer.total()

    def admit(self, address: str) -> bool:
        """Count a connection from `address`, unless there are too many; who is admitted must `leave`."""
        return self._counted(address, in_all_alone=False)

    def _counted(self, address: str, *, in_all_alone: bool) -> bool:
        with self._guard:
            admitted = self._of_peer.total() < self._connections and (
                in_all_alone or self._of_peer.get(address, 0) < self._per_peer
            )
            if admitted:
                self._of_peer[address] += 1
        return admitted

    def leave(self, address: str) -> None:
        """Forget one connection from `address`."""
        with self._guard:
            self._of_peer[address] -= 1
            if not self._of_peer[address]:
                del self._of_peer[address]
