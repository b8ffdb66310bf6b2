"""The statements of one piece of work on a connection of SQLite, and what an error means for its batch."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Coroutine, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any, TypeVar

from sqlalchemy import TableClause
from sqlalchemy.sql.elements import ClauseElement

from shared.store.engine import Row
from shared.store.failures import (
    DatabaseBusy,
    DatabaseError,
    DatabaseFull,
    DatabaseUnavailable,
    UniqueViolation,
)
from shared.store.statements import Statements, insert_row

Result = TypeVar("Result")

#: Result codes after which nothing of the batch can be relied on.
_FATAL = {
    sqlite3.SQLITE_FULL: DatabaseFull,
    sqlite3.SQLITE_BUSY: DatabaseBusy,
    sqlite3.SQLITE_LOCKED: DatabaseBusy,
    sqlite3.SQLITE_IOERR: DatabaseUnavailable,
    sqlite3.SQLITE_READONLY: DatabaseUnavailable,
    sqlite3.SQLITE_CANTOPEN: DatabaseUnavailable,
    sqlite3.SQLITE_NOMEM: DatabaseUnavailable,
    sqlite3.SQLITE_PROTOCOL: DatabaseUnavailable,
    sqlite3.SQLITE_CORRUPT: DatabaseUnavailable,
    sqlite3.SQLITE_NOTADB: DatabaseUnavailable,
}


class FatalError(Exception):
    """Carries the failure of a whole batch out of the work that met it."""

    def __init__(self, failure: DatabaseError) -> None:
        super().__init__(str(failure))
        self.failure = failure


def failure_of(error: sqlite3.Error) -> DatabaseError | None:
    """What `error` means for the whole batch, or None when it concerns one statement alone."""
    code = getattr(error, "sqlite_errorcode", None)
    kind = None if code is None else _FATAL.get(code & 0xFF)
    return None if kind is None else kind(f"SQLite: {error}")


#: Rows that one statement inserts where there are many. At every statement the driver gives Python's lock up,
#: and waits for it while others work.
_ROWS_AT_ONCE = (2_048, 512, 64, 8)
#: Values that one statement takes; SQLite itself allows four times as many.
_VALUES_AT_ONCE = 8_192
_ONE_ROW = re.compile(r"(INSERT INTO .* VALUES )(\((?:\?, )*\?\))", re.DOTALL)


@lru_cache(maxsize=256)
def _of_rows(statement: str) -> tuple[tuple[int, str], ...]:
    """The statements that insert as many rows at once, the largest first; none for one that inserts no single
    row.
    """
    match = _ONE_ROW.fullmatch(statement)
    if match is None:
        return ()
    begin, row = match.groups()
    most = _VALUES_AT_ONCE // row.count("?")
    return tuple([(rows, begin + ", ".join([row] * rows)) for rows in _ROWS_AT_ONCE if rows <= most])


class SqliteTransaction:
    """The statements of one piece of work; its methods never suspend."""

    def __init__(self, connection: sqlite3.Connection, statements: Statements) -> None:
        self._connection = connection
        self._statements = statements

    async def fetch(self, statement: ClauseElement, /, **parameters: Any) -> list[Row]:
        """The rows of `statement`."""
        return self._run(statement, parameters).fetchall()

    async def execute(self, statement: ClauseElement, /, **parameters: Any) -> int:
        """Carry out `statement` and count the rows that it touched."""
        return self._run(statement, parameters).rowcount

    async def execute_many(self, statement: ClauseElement, rows: Sequence[Mapping[str, Any]]) -> None:
        """Carry out `statement` for each of `rows`."""
        if rows:
            compiled = self._statements.compiled(statement)
            arguments = compiled.arguments_of_each(rows)
            try:
                self._connection.executemany(compiled.text, self._of_many(compiled.text, arguments))
            except sqlite3.Error as error:
                raise _translated(error) from None

    def _of_many(self, statement: str, arguments: list[Sequence[Any]]) -> list[Sequence[Any]]:
        """Insert rows by statements of `_ROWS_AT_ONCE`; those that are left over."""
        done = 0
        for number, at_once in _of_rows(statement) if len(arguments) >= _ROWS_AT_ONCE[-1] else ():
            while len(arguments) - done >= number:
                rows = arguments[done : done + number]
                self._connection.execute(at_once, list(chain.from_iterable(rows)))
                done += number
        return arguments[done:]

    async def insert(self, table: TableClause, rows: Sequence[Mapping[str, Any]]) -> None:
        """Insert `rows`; nothing is won by waiting."""
        if rows:
            await self.execute_many(insert_row(table, tuple(rows[0])), rows)

    def _run(self, statement: ClauseElement, parameters: Mapping[str, Any]) -> sqlite3.Cursor:
        compiled = self._statements.compiled(statement)
        try:
            return self._connection.execute(compiled.text, compiled.arguments(parameters))
        except sqlite3.Error as error:
            raise _translated(error) from None


def _translated(error: sqlite3.Error) -> Exception:
    """What is raised for `error`, mostly itself."""
    if isinstance(error, sqlite3.IntegrityError):
        return UniqueViolation(str(error)) if "UNIQUE constraint" in str(error) else error
    failure = failure_of(error)
    return error if failure is None else FatalError(failure)


def drive(coroutine: Coroutine[Any, Any, Result]) -> Result:
    """Run `coroutine` without an event loop; work that awaits anything but its transaction is a mistake."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        result: Result = stop.value
        return result
    coroutine.close()
    raise RuntimeError("work awaits something other than its transaction's own methods")
