"""The database of a service looked at beside whoever uses it: may we log in, write, and read its schema?

Nothing is made or changed. What opening would refuse is refused here in the same words.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import asyncpg

from shared.store import schema
from shared.store.failures import DatabaseUnavailable
from shared.store.opening import is_embedded, sqlite_path
from shared.store.postgresql import CONNECT_SECONDS, GONE, floors_of, revision_of, shown, why_not_opened


@dataclass(frozen=True, slots=True)
class Inspection:
    """A database that can be used; `revision` is None where there is no schema yet."""

    place: str
    revision: str | None
    newest: str

    def __str__(self) -> str:
        if self.revision is None:
            return f"{self.place}: empty; the schema is made at the start"
        if self.revision > self.newest:
            return f"{self.place}: revision {self.revision} of a newer release, with which this one can live"
        if self.revision != self.newest:
            return f"{self.place}: revision {self.revision}, brought to {self.newest} at the start"
        return f"{self.place}: up to date ({self.revision})"


async def inspect(url: str | None, *, folder: Path, migrations: str) -> Inspection:
    """Look at a database; parameters as of `open_database`.

    Raises
    ------
    DatabaseUnavailable
        It cannot be reached, read or written as this user.
    SchemaError
        The schema is of a newer release.
    """
    name = folder.name.replace("-", "_")
    if is_embedded(url):
        return _file(sqlite_path(url, folder, name), migrations)
    return await _server(url or "", name, migrations)


def _inspection(
    place: str, revision: str | None, migrations: str, floors: Iterable[Sequence[str]] = ()
) -> Inspection:
    newest = schema.latest(migrations)
    if revision not in (None, newest) and not schema.lives_with(newest, revision, floors):
        from shared.store.migration import check_revision  # which takes its time to load

        check_revision(migrations, str(revision))
    return Inspection(place, revision, newest)


def _file(path: Path, migrations: str) -> Inspection:
    if not path.exists():
        return _inspection(str(path), None, migrations)
    if not os.access(path, os.R_OK | os.W_OK):
        raise DatabaseUnavailable(f"{path} is not writable; chown it to the user of the service")
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path.absolute()))}?mode=ro", uri=True)) as connection:
            revision, floors = _revision(connection), _floors(connection)
    except sqlite3.Error as error:
        raise DatabaseUnavailable(
            f"{path}: SQLite: {error}; restore it from a copy, or name another"
        ) from error
    return _inspection(str(path), revision, migrations, floors)


def _revision(connection: sqlite3.Connection) -> str | None:
    tables = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()
    if ("alembic_version",) not in tables:
        return None
    rows = connection.execute("SELECT version_num FROM alembic_version").fetchall()
    return str(rows[0][0]) if rows else None


def _floors(connection: sqlite3.Connection) -> list[Any]:
    table = connection.execute("SELECT 1 FROM sqlite_schema WHERE name = ?", (schema.FLOORS,)).fetchone()
    return [] if table is None else connection.execute(schema.READ_FLOORS).fetchall()


async def _server(url: str, name: str, migrations: str) -> Inspection:
    address = url.replace("postgresql+asyncpg://", "postgresql://", 1)
    writable = {} if "target_session_attrs=" in address else {"target_session_attrs": "read-write"}
    try:
        connection = await asyncpg.connect(
            address, timeout=CONNECT_SECONDS, server_settings={"search_path": name}, **writable
        )
        try:
            await _check_rights(connection, shown(url), name)
            revision, floors = await revision_of(connection), await floors_of(connection)
        finally:
            await connection.close()
    except (*GONE, asyncpg.PostgresError, asyncpg.InterfaceError, ValueError) as error:
        raise DatabaseUnavailable(f"{shown(url)}: {why_not_opened(error)}") from error
    return _inspection(shown(url), revision, migrations, floors)


async def _check_rights(connection: Any, place: str, name: str) -> None:
    """What opening the schema `name` needs of the user, asked for instead of tried."""
    user = await connection.fetchval("SELECT current_user::text")
    if await connection.fetchval("SELECT to_regnamespace($1)::text", name) is None:
        if not await connection.fetchval("SELECT has_database_privilege(current_database(), 'CREATE')"):
            raise DatabaseUnavailable(
                f"{place}: permission denied for {user} to create the schema {name}; "
                "grant CREATE on the database to this user"
            )
        return
    if not await connection.fetchval(
        "SELECT has_schema_privilege($1, 'USAGE') AND has_schema_privilege($1, 'CREATE')", name
    ):
        raise DatabaseUnavailable(
            f"{place}: permission denied for {user} in the schema {name}; "
            "grant USAGE and CREATE on it to this user"
        )
    probe = f"{name}.store_probe"
    if await connection.fetchval("SELECT to_regclass($1) IS NOT NULL", probe) and not (
        await connection.fetchval(
            "SELECT has_table_privilege($1, 'SELECT') AND has_table_privilege($1, 'UPDATE')", probe
        )
    ):
        raise DatabaseUnavailable(
            f"{place}: permission denied for {user} on the tables of the schema {name}; "
            "grant it, or name the user who made them"
        )
