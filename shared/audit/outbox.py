"""The outbox table: events that belong to a change are committed with it, and sent from there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    TableClause,
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
COPIES = "audit_outbox_copy"

# Rows that one statement looks at.
_PAGE = 1_000

_OUTBOX = table(TABLE, column("octets", LargeBinary), column("created", Text))
_COPIES = table(
    COPIES,
    column("id", BigInteger),
    column("destination", Text),
    column("octets", LargeBinary),
    column("created", Text),
)
_DESTINATIONS = select(_COPIES.c.destination).distinct()
_COPIES_OF = (
    select(_COPIES.c.id, _COPIES.c.octets, _COPIES.c.created)
    .where(_COPIES.c.destination == bindparam("destination"))
    .order_by(_COPIES.c.id)
    .limit(_PAGE)
)


def audit_outbox(metadata: MetaData) -> Table:
    """The table in a service's schema: `id` grows, `octets` is a syslog message, `created` ISO 8601.

    Beside it stands that of the copies for each of several destinations, host and port of each.
    """
    copies = Table(
        COPIES,
        metadata,
        Column("id", BigInteger().with_variant(Integer(), "sqlite"), primary_key=True, autoincrement=True),
        Column("destination", Text, nullable=False),
        Column("octets", LargeBinary, nullable=False),
        Column("created", Text, nullable=False),
        sqlite_autoincrement=True,
    )
    Index("audit_outbox_copy_by_destination", copies.c.destination, copies.c.id)
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
    """The rows of an outbox table on their way: of all processes at the database one at a time sends them, in
    their order, and the others measure them alone.

    Where there are several destinations, whoever sends puts a copy for each into a table beside, in the
    transaction that removes the row: each copy goes when its destination has it.
    """

    def __init__(self, database: Database, outbox: Table) -> None:
        self._database = database
        self._sole = database.sole("audit outbox")
        self._tables = (_Rows(database, _COPIES), _Rows(database, outbox))
        self._page = select(outbox.c.id, outbox.c.octets, outbox.c.created).order_by(outbox.c.id).limit(_PAGE)
        self._outbox = outbox
        self._names: tuple[str, ...] = ()
        self._settled = False
        self._copying = asyncio.Lock()

    def readers(self, names: Sequence[str]) -> list[OutboxReader]:
        """Who reads for each of the destinations `names`."""
        self._names = tuple(names)
        if len(names) == 1:
            return [OutboxReader(self, _Rows(self._database, self._outbox))]
        return [OutboxReader(self, _Rows(self._database, _COPIES, name)) for name in names]

    async def is_ours(self) -> bool:
        """Whether it is this process that sends; everything is then where its readers look for it."""
        if not await self._sole.held():
            return False
        async with self._copying:
            if not self._settled:
                await self._settle()
                self._settled = True
            if len(self._names) > 1:
                await self._copy()
        return True

    async def measure(self) -> int:
        """Octets that wait, read a page of rows at a time."""
        return sum([await rows.measure() for rows in self._tables])

    async def drop(self, octets: int) -> int:
        """Delete the oldest rows, at least `octets` of them as far as there are so many; how many rows."""
        number = 0
        for rows in self._tables:
            dropped, size = await rows.drop(octets)
            number, octets = number + dropped, octets - size
        return number

    async def _copy(self) -> None:
        """Put a copy of each row for each destination in its place."""
        while rows := await self._database.fetch(self._page):
            copies = [
                {"destination": name, "octets": bytes(octets), "created": created}
                for _, octets, created in rows
                for name in self._names
            ]
            await self._replace(_COPIES, copies, self._outbox, [row_id for row_id, *_ in rows])

    async def _settle(self) -> None:
        """Put back what waits for a destination that is named no more: then it waits for all."""
        names = self._names if len(self._names) > 1 else ()
        for (name,) in await self._database.fetch(_DESTINATIONS):
            while name not in names and (rows := await self._database.fetch(_COPIES_OF, destination=name)):
                fresh = [{"octets": bytes(octets), "created": created} for _, octets, created in rows]
                await self._replace(_OUTBOX, fresh, _COPIES, [row_id for row_id, *_ in rows])

    async def _replace(
        self, table: TableClause, rows: Sequence[Mapping[str, Any]], former: TableClause, ids: list[int]
    ) -> None:
        delete = delete_from(former).where(in_list(former.c.id, "ids"))

        async def work(transaction: Transaction) -> None:
            await transaction.insert(table, rows)
            await transaction.execute(delete, ids=ids)

        await self._database.write(work)


class OutboxReader:
    """The rows for one destination, for one task."""

    def __init__(self, outbox: DatabaseOutbox, rows: _Rows) -> None:
        self._outbox = outbox
        self._rows = rows
        self._handed: set[int] = set()

    @property
    def place(self) -> str:
        """Where the messages wait."""
        return "outbox"

    async def next(self, most: int) -> list[tuple[int, bytes]]:
        """Up to `most` rows that were not handed out before, the oldest first."""
        if not await self._outbox.is_ours():
            self._handed.clear()  # who sends them now sends all of them
            return []
        rows = await self._rows.oldest(most, besides=self._handed)
        self._handed.update(row_id for row_id, _ in rows)
        return rows

    async def done(self, sequences: Sequence[int]) -> None:
        """Delete rows that need not be kept."""
        await self._rows.delete(sequences)
        self._handed.difference_update(sequences)

    def rewind(self) -> None:
        """Hand out again whatever is still there."""
        self._handed.clear()


class _Rows:
    """The rows of one table, or those of one destination in it."""

    def __init__(self, database: Database, table: TableClause, destination: str | None = None) -> None:
        self._database = database
        self._of = {} if destination is None else {"destination": destination}
        ids = select(table.c.id).order_by(table.c.id).limit(bindparam("most"))
        self._oldest = (
            ids if destination is None else ids.where(table.c.destination == bindparam("destination"))
        )
        self._rows = select(table.c.id, table.c.octets).where(in_list(table.c.id, "ids")).order_by(table.c.id)
        self._sizes = (
            select(table.c.id, func.length(table.c.octets))
            .where(table.c.id > bindparam("after"))
            .order_by(table.c.id)
            .limit(_PAGE)
        )
        self._delete = delete_from(table).where(in_list(table.c.id, "ids"))

    async def oldest(self, most: int, *, besides: Collection[int]) -> list[tuple[int, bytes]]:
        """Up to `most` rows besides those that are known, the oldest first."""
        # All ids are looked at, not those above the last: another transaction may commit a lower one later.
        oldest = await self._database.fetch(self._oldest, most=len(besides) + most, **self._of)
        fresh = [row_id for (row_id,) in oldest if row_id not in besides]
        if not fresh:
            return []
        return [
            (row_id, bytes(octets)) for row_id, octets in await self._database.fetch(self._rows, ids=fresh)
        ]

    async def delete(self, ids: Sequence[int]) -> None:
        """Delete rows."""
        if not ids:
            return

        async def work(transaction: Transaction) -> None:
            await transaction.execute(self._delete, ids=list(ids))

        await self._database.write(work)

    async def measure(self) -> int:
        """Octets of all of them."""
        size = 0
        async for _, octets in self._each():
            size += octets
        return size

    async def drop(self, octets: int) -> tuple[int, int]:
        """Delete the oldest, at least `octets` of them as far as there are so many; how many, and octets."""
        ids, size = [], 0
        async for row_id, length in self._each():
            if size >= octets:
                break
            ids.append(row_id)
            size += length
        for at in range(0, len(ids), _PAGE):
            await self.delete(ids[at : at + _PAGE])
        return len(ids), size

    async def _each(self) -> AsyncIterator[tuple[int, int]]:
        after = 0
        while rows := await self._database.fetch(self._sizes, after=after):
            for row_id, octets in rows:
                yield row_id, octets
            after = rows[-1][0]
            await asyncio.sleep(0)
