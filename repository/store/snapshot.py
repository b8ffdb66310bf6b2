"""The rows of the repository as they are at one moment, beside the process that owns the database; and back.

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
from sqlalchemy import insert
from sqlalchemy.schema import Table
from sqlalchemy.sql.elements import ClauseElement

from repository.settings import RepositorySettings
from repository.store.tables import metadata
from shared.store.engine import Database, Row, Transaction, open_database
from shared.store.failures import DatabaseUnavailable
from shared.store.statements import POSTGRESQL, SQLITE, Statements

_ROWS = 1_000
_BYTES = "base64"
_INSERTS = {table.name: insert(table) for table in metadata.sorted_tables}


class SqliteSnapshot:
    """One read transaction of its own connection; implements `Reader`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._statements = Statements(SQLITE)

    async def fetch(self, statement: ClauseElement, /, **parameters: Any) -> list[Row]:
        """The rows of `statement`."""
        compiled = self._statements.compiled(statement)
        return self._connection.execute(compiled.text, compiled.arguments(parameters)).fetchall()

    async def rows(self, table: Table) -> AsyncIterator[list[Row]]:
        """All rows of `table`, in batches."""
        cursor = self._connection.execute(_all_of(table))
        while batch := await asyncio.to_thread(cursor.fetchmany, _ROWS):
            yield batch


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

    async def rows(self, table: Table) -> AsyncIterator[list[Row]]:
        """All rows of `table`, in batches."""
        cursor = await self._connection.cursor(_all_of(table))
        while batch := await cursor.fetch(_ROWS):
            yield [tuple(row) for row in batch]


Snapshot = SqliteSnapshot | PostgresSnapshot


def _all_of(table: Table) -> str:
    columns = ", ".join(f'"{column.name}"' for column in table.columns)
    order = ", ".join(f'"{column.name}"' for column in table.primary_key)
    return f'SELECT {columns} FROM "{table.name}" ORDER BY {order}'  # noqa: S608  # names of our own tables


@asynccontextmanager
async def open_snapshot(settings: RepositorySettings) -> AsyncIterator[Snapshot]:
    """The index as it is now, whoever writes on meanwhile.

    Raises
    ------
    DatabaseUnavailable
        There is no such database.
    """
    if settings.database_url is None or settings.database_url.startswith("sqlite"):
        with closing(await asyncio.to_thread(_sqlite, _path(settings))) as connection:
            yield SqliteSnapshot(connection)
        return
    address = settings.database_url.replace("postgresql+asyncpg://", "postgresql://", 1)
    try:
        connection = await asyncpg.connect(address, server_settings={"search_path": _name(settings)})
    except (OSError, asyncpg.PostgresError) as error:
        raise DatabaseUnavailable(f"the database cannot be read: {error}") from error
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            yield PostgresSnapshot(connection)
    finally:
        await connection.close()


def _name(settings: RepositorySettings) -> str:
    return settings.folder.name.replace("-", "_")


def _path(settings: RepositorySettings) -> Path:
    if settings.database_url is None:
        return settings.folder / f"{_name(settings)}.sqlite3"
    return Path(settings.database_url.split("///", 1)[-1])


def _sqlite(path: Path) -> sqlite3.Connection:
    try:
        connection = sqlite3.connect(
            f"file:{quote(str(path.absolute()))}?mode=ro",
            uri=True,
            isolation_level=None,
            check_same_thread=False,
        )
        connection.execute("PRAGMA busy_timeout = 5000")
        connection.execute("BEGIN")
        connection.execute("SELECT 1 FROM sqlite_schema").fetchall()
    except sqlite3.Error as error:
        raise DatabaseUnavailable(f"{path} cannot be read: {error}") from error
    return connection


# --- dump and restore ---------------------------------------------------------------------------------


async def dump(snapshot: Snapshot, file: BinaryIO) -> int:
    """Write every row of every table as one line, tables in the order in which they refer to each other;
    count the rows."""
    count = 0
    for table in metadata.sorted_tables:
        names = [column.name for column in table.columns]
        async for batch in snapshot.rows(table):
            lines = (_line(table.name, dict(zip(names, row, strict=True))) for row in batch)
            await asyncio.to_thread(file.write, b"".join(lines))
            count += len(batch)
    return count


def _line(table: str, row: Mapping[str, Any]) -> bytes:
    shown = {name: _shown(value) for name, value in row.items()}
    return json.dumps([table, shown], ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _shown(value: Any) -> Any:
    return {_BYTES: base64.b64encode(value).decode()} if isinstance(value, bytes | memoryview) else value


def _read(line: bytes) -> tuple[str, dict[str, Any]]:
    table, shown = json.loads(line)
    return table, {
        name: base64.b64decode(value[_BYTES]) if isinstance(value, dict) else value
        for name, value in shown.items()
    }


async def open_empty(settings: RepositorySettings) -> Database:
    """The database to restore into, opened alone.

    Raises
    ------
    DatabaseUnavailable
        The service is running, or the database cannot be reached.
    """
    return await open_database(settings.database_url, folder=settings.folder, metadata=metadata)


async def load(database: Database, path: Path) -> None:
    """Insert every row of a dump, all in one transaction."""

    async def insert_rows(transaction: Transaction) -> None:
        with path.open("rb") as file:
            rows = map(_read, file)
            while batch := list(islice(rows, _ROWS)):
                for table, values in _runs(batch):
                    await transaction.execute_many(_INSERTS[table], values)

    await database.write(insert_rows)


def _runs(batch: list[tuple[str, dict[str, Any]]]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Neighbouring rows of the same table."""
    for table in dict.fromkeys(table for table, _ in batch):
        yield table, [row for name, row in batch if name == table]
