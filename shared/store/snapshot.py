"""The rows of a service as they are at one moment, beside the process that owns the database; and back.

A dump is JSON Lines and knows no dialect: what was dumped from SQLite can be restored into PostgreSQL.
"""

from __future__ import annotations

import asyncio
import base64
import json
import sqlite3
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, closing
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote

import asyncpg
from sqlalchemy import Insert, MetaData, Text, bindparam, column, insert, select, table
from sqlalchemy.schema import Table
from sqlalchemy.sql.elements import ClauseElement

from shared.store.engine import Reader, Row, Transaction
from shared.store.failures import DatabaseUnavailable
from shared.store.statements import POSTGRESQL, SQLITE, Statements

_ROWS = 1_000
_BYTES = "base64"
_VERSION = table("alembic_version", column("version_num", Text))
_REVISION = select(_VERSION.c.version_num)


class SqliteSnapshot:
    """One read transaction of its own connection; implements `Reader`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._statements = Statements(SQLITE)

    async def fetch(self, statement: ClauseElement, /, **parameters: Any) -> list[Row]:
        """The rows of `statement`."""
        compiled = self._statements.compiled(statement)
        return self._connection.execute(compiled.text, compiled.arguments(parameters)).fetchall()

    async def rows(self, of: Table) -> AsyncIterator[list[Row]]:
        """All rows of a table, in batches."""
        cursor = self._connection.execute(_all_of(of))
        while batch := await asyncio.to_thread(cursor.fetchmany, _ROWS):
            yield batch

    async def begun(self) -> SqliteSnapshot:
        """Itself, with its transaction and so its moment begun."""
        self._connection.execute("BEGIN")
        self._connection.execute("SELECT 1 FROM sqlite_schema").fetchall()
        return self

    async def tables(self) -> set[str]:
        """The names of the tables."""
        rows = self._connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()
        return {name for (name,) in rows}


class PostgresSnapshot:
    """One REPEATABLE READ transaction; implements `Reader`."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._statements = Statements(POSTGRESQL)

    async def fetch(self, statement: ClauseElement, /, **parameters: Any) -> list[Row]:
        """The rows of `statement`."""
        compiled = self._statements.compiled(statement)
        return [
            tuple(row) for row in await self._connection.fetch(compiled.text, *compiled.arguments(parameters))
        ]

    async def rows(self, of: Table) -> AsyncIterator[list[Row]]:
        """All rows of a table, in batches."""
        cursor = await self._connection.cursor(_all_of(of))
        while batch := await cursor.fetch(_ROWS):
            yield [tuple(row) for row in batch]

    def transaction(self) -> Any:
        """The context of its transaction."""
        return self._connection.transaction(isolation="repeatable_read", readonly=True)

    async def tables(self) -> set[str]:
        """The names of the tables."""
        rows = await self._connection.fetch(
            "SELECT tablename FROM pg_catalog.pg_tables WHERE schemaname = current_schema()"
        )
        return {name for (name,) in rows}


Snapshot = SqliteSnapshot | PostgresSnapshot


def _all_of(of: Table) -> str:
    columns = ", ".join(f'"{column.name}"' for column in of.columns)
    order = ", ".join(f'"{column.name}"' for column in of.primary_key)
    return f'SELECT {columns} FROM "{of.name}" ORDER BY {order}'  # noqa: S608  # names of our own tables


@asynccontextmanager
async def open_snapshot(url: str | None, *, folder: Path) -> AsyncIterator[Snapshot]:
    """The rows as they are now, whoever writes on meanwhile; `url` and `folder` as for `open_database`.

    Raises
    ------
    DatabaseUnavailable
        There is no such database, or what is read of it is not there.
    """
    async with _connected(url, folder) as connected:
        if isinstance(connected, SqliteSnapshot):
            yield await connected.begun()
            return
        async with connected.transaction():
            yield connected


@asynccontextmanager
async def open_reader(url: str | None, *, folder: Path) -> AsyncIterator[Reader]:
    """The same, but each statement reads what is there then: for work that is too long for one snapshot,
    which keeps a database from forgetting old rows.

    Raises
    ------
    DatabaseUnavailable
        As `open_snapshot`.
    """
    async with _connected(url, folder) as connected:
        yield connected


@asynccontextmanager
async def _connected(url: str | None, folder: Path) -> AsyncIterator[Snapshot]:
    if url is None or url.startswith("sqlite"):
        path = folder / f"{_name(folder)}.sqlite3" if url is None else Path(url.split("///", 1)[-1])
        with closing(await asyncio.to_thread(_sqlite, path)) as connection:
            try:
                yield SqliteSnapshot(connection)
            except sqlite3.Error as error:
                raise DatabaseUnavailable(f"{path} cannot be read: {error}") from error
        return
    address = url.replace("postgresql+asyncpg://", "postgresql://", 1)
    try:
        connection = await asyncpg.connect(address, server_settings={"search_path": _name(folder)})
    except (OSError, asyncpg.PostgresError) as error:
        raise DatabaseUnavailable(f"the database cannot be read: {error}") from error
    try:
        yield PostgresSnapshot(connection)
    except asyncpg.PostgresError as error:
        raise DatabaseUnavailable(f"the database cannot be read: {error}") from error
    finally:
        await connection.close()


def _name(folder: Path) -> str:
    return folder.name.replace("-", "_")


def _sqlite(path: Path) -> sqlite3.Connection:
    try:
        connection = sqlite3.connect(
            f"file:{quote(str(path.absolute()))}?mode=ro",
            uri=True,
            isolation_level=None,
            check_same_thread=False,
        )
        connection.execute("PRAGMA busy_timeout = 5000")
        connection.execute("SELECT 1 FROM sqlite_schema").fetchall()
    except sqlite3.Error as error:
        raise DatabaseUnavailable(f"{path} cannot be read: {error}") from error
    return connection


async def revision(snapshot: Snapshot) -> str:
    """The alembic revision of the schema; empty where there is none."""
    if "alembic_version" not in await snapshot.tables():
        return ""
    rows = await snapshot.fetch(_REVISION)
    return str(rows[0][0]) if rows else ""


# --- dump and restore ---------------------------------------------------------------------------------


async def dump(snapshot: Snapshot, metadata: MetaData, file: BinaryIO) -> int:
    """Write every row of every table as one line, tables in the order in which they refer to each other;
    count the rows."""
    count = 0
    for of in metadata.sorted_tables:
        names = [column.name for column in of.columns]
        async for batch in snapshot.rows(of):
            lines = (line_of(of.name, dict(zip(names, row, strict=True))) for row in batch)
            await asyncio.to_thread(file.write, b"".join(lines))
            count += len(batch)
    return count


def line_of(name: str, row: Mapping[str, Any]) -> bytes:
    """One line of a dump; `name` comes first in it."""
    shown = {name: _shown(value) for name, value in row.items()}
    return json.dumps([name, shown], ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _shown(value: Any) -> Any:
    return {_BYTES: base64.b64encode(value).decode()} if isinstance(value, bytes | memoryview) else value


def _read(line: bytes) -> tuple[str, dict[str, Any]]:
    name, shown = json.loads(line)
    return name, {
        name: base64.b64decode(value[_BYTES]) if isinstance(value, dict) else value
        for name, value in shown.items()
    }


async def load(transaction: Transaction, metadata: MetaData, path: Path) -> None:
    """Insert every row of a dump; what numbers itself is numbered anew, in its order."""
    inserts = {of.name: _insert(of) for of in metadata.sorted_tables}
    with path.open("rb") as file:
        rows = map(_read, file)
        while batch := list(islice(rows, _ROWS)):
            for name, values in _runs(batch):
                if name in inserts:
                    await transaction.execute_many(inserts[name], values)


def _insert(of: Table) -> Insert:
    """An INSERT that lets the database number what it numbers: a number that is given would leave the
    sequence of PostgreSQL behind."""
    own = of.autoincrement_column
    numbered = own is not None and own.autoincrement is True
    names = [column.name for column in of.columns if not (numbered and column is own)]
    return insert(of).values({name: bindparam(name) for name in names}).inline()


def _runs(batch: list[tuple[str, dict[str, Any]]]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Rows of the same table."""
    for each in dict.fromkeys(name for name, _ in batch):
        yield each, [row for name, row in batch if name == each]
