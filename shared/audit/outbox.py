"""The outbox table: events that belong to a change are committed with it, and sent from there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime

from sqlalchemy import (
    BigInteger,
    Column,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    bindparam,
    column,
    func,
    select,
    table,
)
from sqlalchemy import delete as delete_from

from shared.audit.events import AuditEvent
from shared.audit.recorder import AuditRecorder
from shared.store.engine import Batch, Database, Transaction
from shared.store.statements import in_list

TABLE = "audit_outbox"

# Rows that one statement looks at.
_PAGE = 1_000

_OUTBOX = table(TABLE, column("octets", LargeBinary), column("created", Text))


def audit_outbox(metadata: MetaData) -> Table:
    """The table in a service's schema: `id` grows, `octets` is a syslog message, `created` ISO 8601."""
    return Table(
        TABLE,
        metadata,
        Column("id", BigInteger().with_variant(Integer(), "sqlite"), primary_key=True, autoincrement=True),
        Column("octets", LargeBinary, nullable=False),
        Column("created", Text, nullable=False),
        # Without it SQLite gives the number of a deleted last row away again.
        sqlite_autoincrement=True,
    )


async def insert_events(
    transaction: Transaction, events: Sequence[AuditEvent], recorder: AuditRecorder
) -> None:
    """Put the events of a change into its own transaction; raises as `event_batch`."""
    await transaction.insert(*event_batch(events, recorder))


def event_batch(events: Sequence[AuditEvent], recorder: AuditRecorder) -> Batch:
    """The rows by which events are put into the transaction of their change.

    Raises
    ------
    AuditUnavailable
        Too much waits already, in the spool and in outbox tables; the change is not made.
    """
    created = datetime.now(UTC).isoformat()
    messages = [octets for event in events for octets in recorder.messages(event)]
    recorder.spool.admit(sum(map(len, messages)))
    return _OUTBOX, [{"octets": octets, "created": created} for octets in messages]


class DatabaseOutbox:
    """Reads and deletes the rows of an outbox table, for the forwarder: of all processes at the database one
    at a time sends them, in their order, and the others measure them alone.
    """

    def __init__(self, database: Database, outbox: Table) -> None:
        self._database = database
        self._sole = database.sole("audit outbox")
        self._handed: set[int] = set()
        self._oldest = select(outbox.c.id).order_by(outbox.c.id).limit(bindparam("most"))
        self._rows = (
            select(outbox.c.id, outbox.c.octets).where(in_list(outbox.c.id, "ids")).order_by(outbox.c.id)
        )
        self._sizes = (
            select(outbox.c.id, func.length(outbox.c.octets))
            .where(outbox.c.id > bindparam("after"))
            .order_by(outbox.c.id)
            .limit(_PAGE)
        )
        self._delete = delete_from(outbox).where(in_list(outbox.c.id, "ids"))

    async def next(self, most: int) -> list[tuple[int, bytes]]:
        """Up to `most` rows that were not handed out before, the oldest first."""
        if not await self._sole.held():
            self._handed.clear()  # who sends them now sends all of them
            return []
        # All ids are looked at, not those above the last: another transaction may commit a lower one later.
        known = await self._database.fetch(self._oldest, most=len(self._handed) + most)
        fresh = [row_id for (row_id,) in known if row_id not in self._handed]
        if not fresh:
            return []
        rows = [
            (row_id, bytes(octets)) for row_id, octets in await self._database.fetch(self._rows, ids=fresh)
        ]
        self._handed.update(row_id for row_id, _ in rows)
        return rows

    async def done(self, sequences: Sequence[int]) -> None:
        """Delete rows that need not be kept."""
        if not sequences:
            return
        ids = list(sequences)

        async def work(transaction: Transaction) -> None:
            await transaction.execute(self._delete, ids=ids)

        await self._database.write(work)
        self._handed.difference_update(ids)

    def rewind(self) -> None:
        """Hand out again whatever is still there."""
        self._handed.clear()

    async def measure(self) -> int:
        """Octets that wait, read a page of rows at a time."""
        size = 0
        async for _, octets in self._each():
            size += octets
        return size

    async def drop(self, octets: int) -> int:
        """Delete the oldest rows, at least `octets` of them as far as there are so many; how many rows."""
        ids, size = [], 0
        async for row_id, length in self._each():
            if size >= octets:
                break
            ids.append(row_id)
            size += length
        for at in range(0, len(ids), _PAGE):
            await self.done(ids[at : at + _PAGE])
        return len(ids)

    async def _each(self) -> AsyncIterator[tuple[int, int]]:
        after = 0
        while rows := await self._database.fetch(self._sizes, after=after):
            for row_id, octets in rows:
                yield row_id, octets
            after = rows[-1][0]
            await asyncio.sleep(0)
