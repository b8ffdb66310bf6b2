"""The trial of records: which of them does the audit repository not take?

Syslog over TLS says no word of refusal; a receiver that will not have a record ends the connection, and does
so again whenever it comes. Over several connections the trial therefore halves what was sent together until
one record is alone, and holds it guilty only when, three times in a row, a connection that had been at rest
took another record, was at rest again, and ended at once upon this one. A repository that is away, restarts,
or has no database ends connections upon anything, and at other moments: then nothing is held against one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol

from shared.audit.connection import Connection, ConnectionEnded
from shared.audit.limits import MAX_RECORD
from shared.audit.set_aside import SetAside, digest
from shared.telemetry.log import logger

_log = logger(__name__)

BATCH: Final = 200
#: For how long the other record must have been taken, each time; no delay of a receiver's own fits them all.
RESTS: Final = (0.5, 1.5, 4.0)
PATIENCE: Final = 0.5
MOST_PATIENCE: Final = 8.0


class EventSource(Protocol):
    """Where messages wait: the spool, or an outbox table. One reader."""

    @property
    def place(self) -> str:
        """Which of them: `spool` or `outbox`."""
        ...

    async def next(self, most: int) -> list[tuple[int, bytes]]:
        """Up to `most` messages not handed out since `rewind`, as (sequence, octets), in order."""
        ...

    async def done(self, sequences: Sequence[int]) -> None:
        """These need not be kept any more."""
        ...

    def rewind(self) -> None:
        """Hand out again whatever is not done."""
        ...


_Place = tuple[EventSource, int]
Message = tuple[int, bytes]


class Trial:
    """One trial; it lasts over several connections, until all that waits was taken or set aside.

    Parameters
    ----------
    aside
        What has been found guilty before.
    other
        Makes the record that is sent before one that is suspected, and tells of it.
    found
        Sets a record aside.
    patience
        Seconds in which a receiver ends the connection upon what it does not take.
    """

    def __init__(
        self,
        aside: SetAside,
        *,
        other: Callable[[bytes], bytes],
        on_culprit: Callable[[bytes], Awaitable[None]],
        patience: float = PATIENCE,
    ) -> None:
        self._aside = aside
        self._other = other
        self._on_culprit = on_culprit
        self._patience = patience
        self._taken: set[_Place] = set()
        self._size = BATCH
        # Of the next so many messages, one is guilty; 0 when none is known to be.
        self._within = 0
        # The place of the suspected message, and the record that is sent before it.
        self._suspect: tuple[_Place, bytes] | None = None
        self._endings = 0
        self._least = 0
        self.over = False
        self.guilty = 0
        #: Whether the last connection ended upon a record, so that the next one will tell more.
        self.telling = True

    async def go_on(self, connection: Connection, sources: Sequence[EventSource]) -> None:
        """Offer what was not taken yet; afterwards `over`, unless the connection ended.

        Raises
        ------
        ConnectionEnded
            Upon something; the next connection goes on from there.
        """
        await self._at_rest(connection, self._patience)
        for source in sources:
            while messages := await source.next(BATCH):
                await self._offer(connection, source, messages)
        self.over = True

    def away(self) -> None:
        """No connection could be made, or one ended by itself: nothing is held against a record."""
        self._endings, self.telling = 0, False

    async def _at_rest(self, connection: Connection, seconds: float) -> None:
        """Wait; a connection that ends by itself clears the suspect of what came before."""
        try:
            await connection.quiet(seconds)
        except ConnectionEnded:
            self.away()
            raise

    async def _offer(self, connection: Connection, source: EventSource, messages: Sequence[Message]) -> None:
        waiting = [
            message
            for message in messages
            if (source, message[0]) not in self._taken and not self._aside.holds(message[1])
        ]
        while waiting:
            group = waiting[: self._next_size()]
            if len(group) == 1 and self._suspect and self._suspect[0] == (source, group[0][0]):
                await self._send_another(connection, self._suspect[1])
            try:
                await connection.send([octets for _, octets in group])
                await connection.quiet(self._patience)
            except ConnectionEnded:
                await self._ended_upon(source, group)
                raise
            self._took(source, group)
            del waiting[: len(group)]

    def _next_size(self) -> int:
        return max(1, self._within // 2) if self._within else self._size

    async def _send_another(self, connection: Connection, another: bytes) -> None:
        try:
            await connection.send([another])
        except ConnectionEnded:
            self.away()
            raise
        await self._at_rest(connection, RESTS[min(self._endings, len(RESTS) - 1)])

    def _took(self, source: EventSource, group: Sequence[Message]) -> None:
        self._taken.update((source, sequence) for sequence, _ in group)
        self._within = max(0, self._within - len(group))
        if not self._within:
            self._size = min(self._size * 2, BATCH)
            self._suspect, self._endings = None, 0

    async def _ended_upon(self, source: EventSource, group: Sequence[Message]) -> None:
        self._within, self._size, self.telling = len(group), 1, True
        if len(group) > 1:
            self._suspect, self._endings = None, 0
            return
        (sequence, octets) = group[0]
        place = (source, sequence)
        if self._suspect is None or self._suspect[0] != place:
            self._suspect, self._endings = (place, self._other(octets)), 0
            _log.warning("an audit record is suspected", octets=len(octets), sha256=digest(octets))
            return
        self._endings += 1
        if self._endings >= self._needed(octets):
            await self._on_culprit(octets)
            self.guilty += 1
            self._least = min(self._least or len(octets), len(octets))
            self._within, self._suspect, self._endings = 0, None, 0

    def _needed(self, octets: bytes) -> int:
        """Of what is too long, like what was found guilty before, one more proof is enough."""
        return 1 if self._least and len(octets) >= max(self._least, MAX_RECORD + 1) else len(RESTS)
