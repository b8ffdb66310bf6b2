"""One database for each service: SQLite below its folder, or a schema of its own in PostgreSQL.

Both sides keep the same promises. `write` runs one piece of work in one transaction and returns when it is
durable; a piece that was taken is carried out even when its caller is gone. `insert` is such a piece that
only inserts, in one round trip. `read` gives one snapshot to several statements. `fetch` is a read of one
statement. Work awaits only the transaction's own methods: on SQLite it is driven without an event loop, in
the writer's thread.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from sqlalchemy import TableClause
from sqlalchemy.sql.elements import ClauseElement

from shared.store.sole import Sole
from shared.store.usage import Usage

Result = TypeVar("Result")
Row = tuple[Any, ...]
#: A table, and rows for it that have the same columns.
Batch = tuple[TableClause, Sequence[Mapping[str, Any]]]


class Reader(Protocol):
    """What can be read from: a database, a transaction."""

    async def fetch(self, statement: ClauseElement, /, **parameters: Any) -> list[Row]:
        """The rows of one statement, as the driver gives them."""
        ...


class Transaction(Reader, Protocol):
    """What work may do with the database."""

    async def execute(self, statement: ClauseElement, /, **parameters: Any) -> int:
        """Carry out `statement` and count the rows that it touched."""
        ...

    async def execute_many(self, statement: ClauseElement, rows: Sequence[Mapping[str, Any]]) -> None:
        """Carry out `statement` for each of `rows`; none is no work."""
        ...

    async def insert(self, table: TableClause, rows: Sequence[Mapping[str, Any]]) -> None:
        """Insert `rows`, which have the same columns, before the transaction ends.

        All that is inserted so may wait for the end, and then goes in one round trip; what the transaction
        reads itself shall not need it.
        """
        ...


Work = Callable[[Transaction], Coroutine[Any, Any, Result]]


class Database(Reader, Protocol):
    """An open database; `dialect` is `sqlite` or `postgresql`, `fetch` reads outside any transaction."""

    dialect: str

    @property
    def usage(self) -> Usage:
        """How much of it is in use now."""
        ...

    def version(self) -> int | None:
        """Another number than before when anything was committed since, by anybody; None where only a
        question tells. What was read after it was asked for is what is there while it stays the same."""
        ...

    async def read(self, work: Work[Result]) -> Result:
        """Run `work`, which only reads, on one snapshot."""
        ...

    async def write(self, work: Work[Result]) -> Result:
        """Run `work` in one transaction and return its result once that is durable.

        What `work` raises rolls it back and is raised here. On PostgreSQL the work is repeated after a
        serialization failure, a deadlock or a unique violation, so it must read before it decides and have no
        effect but by its transaction.

        Raises
        ------
        DatabaseBusy, DatabaseFull, DatabaseUnavailable
            Nothing was committed.
        UniqueViolation
            The work met what a unique index holds without looking first.
        OutcomeUnknown
            The connection broke, or fell silent, during the commit.
        """
        ...

    async def insert(self, batches: Sequence[Batch], *, when: ClauseElement, **parameters: Any) -> bool:
        """Insert rows, table after table, in one transaction of their own; True once that is durable.

        False, and nothing is inserted, when the statement `when`, which may lock, finds nothing, or a unique
        index holds one of the values. Raises as `write`, but for `UniqueViolation`.
        """
        ...

    def sole(self, job: str) -> Sole:
        """The right to `job`, a name of ours."""
        ...

    async def check(self) -> None:
        """Write and read one row durably, for readiness; raises `DatabaseError`."""
        ...

    async def close(self) -> None:
        """Finish what was taken, then let go of the database."""
        ...
