"""Databases for tests: every test that asks for `database_place` runs on SQLite and on PostgreSQL."""

from __future__ import annotations

import sqlite3
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from shared.store import migration, schema
from shared.store.engine import Database
from shared.store.opening import open_database
from tests.support.postgres import copy_database, database_url, drop_later, postgres_url

__all__ = ["THINGS", "DatabasePlace", "database_place", "postgres_url"]

#: Tables of no service, for tests of the database itself: `thing`, `part`, `number`, `audit_outbox`.
THINGS = "tests.support:migrations"


@dataclass(frozen=True)
class DatabasePlace:
    """Where a test's database is: its own file, or the schema `name` at `url`.

    Where a `cluster` is given, the database at `url` is made in it with its first use.
    """

    url: str | None
    folder: Path
    name: str
    cluster: str | None = None

    async def open(self, migrations: str, *, plans_kept: bool = False) -> Database:
        """Open the database; what it holds stays between two openings.

        A new one is a copy of what the revisions made: they are carried out once, not for every test.
        """
        await self._make(migrations)
        return await open_database(
            self.url,
            folder=self.folder,
            migrations=migrations,
            name=self.name,
            plans_kept=plans_kept,
        )

    async def _make(self, migrations: str | None = None) -> None:
        if self.cluster is not None and self.url is not None and self.url not in _DATABASES:
            template = None if migrations is None else await _template(self.cluster, migrations, self.name)
            await copy_database(self.cluster, self.url, template)
            _DATABASES.add(self.url)

    async def execute(self, statements: Sequence[str]) -> None:
        """Carry out statements behind the back of a database that is closed."""
        if self.url is None:
            with closing(sqlite3.connect(self.folder / f"{self.name}.sqlite3")) as file, file:
                for statement in statements:
                    file.execute(statement)
            return
        await self._make()
        connection = await asyncpg.connect(self.url, server_settings={"search_path": self.name})
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    async def fill(
        self, rows: Mapping[str, Sequence[Mapping[str, Any]]], *, without: Sequence[str] = ()
    ) -> None:
        """Insert rows by table, but for the columns `without`, behind the back of a closed database."""
        for table, all_of in rows.items():
            kept = [{name: row[name] for name in row if name not in without} for row in all_of]
            if not kept:
                continue
            marks = ["?" if self.url is None else f"${number}" for number in range(1, len(kept[0]) + 1)]
            names = ", ".join(f'"{name}"' for name in kept[0])
            statement = f"INSERT INTO {table} ({names}) VALUES ({', '.join(marks)})"
            values = [tuple(row.values()) for row in kept]
            if self.url is None:
                with closing(sqlite3.connect(self.folder / f"{self.name}.sqlite3")) as file, file:
                    file.executemany(statement, values)
                continue
            await self._make()
            connection = await asyncpg.connect(self.url, server_settings={"search_path": self.name})
            try:
                await connection.executemany(statement, values)
            finally:
                await connection.close()


#: What the revisions made of an empty database, by the revisions and the last of them; for the life of the
#: test process.
_MADE: dict[tuple[str, ...], sqlite3.Connection] = {}
_MAKING = threading.Lock()
_TEMPLATES: dict[tuple[str, ...], str] = {}
#: URLs of the databases that exist.
_DATABASES: set[str] = set()


def _made_by(migrations: str) -> tuple[str, ...]:
    return (migrations, schema.latest(migrations), migration.HEAD)


def make_once() -> None:
    """From now on the revisions make a new SQLite database once in this process; others are copies of it."""
    upgrade = migration.upgrade_sqlite

    def made(connection: sqlite3.Connection, *, migrations: str) -> None:
        beside = ("store_probe", schema.FLOORS)
        tables = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()
        if sorted(name for (name,) in tables) != sorted(beside):
            upgrade(connection, migrations=migrations)
            return
        with _MAKING:
            made_by = _made_by(migrations)
            if made_by in _MADE:
                _MADE[made_by].backup(connection)
                return
            upgrade(connection, migrations=migrations)
            kept = sqlite3.connect(":memory:", check_same_thread=False)
            connection.backup(kept)
            _MADE[made_by] = kept

    migration.upgrade_sqlite = made


async def _template(cluster: str, migrations: str, name: str) -> str:
    made_by = (cluster, name, *_made_by(migrations))
    if made_by not in _TEMPLATES:
        url = database_url(cluster, f"template_{len(_TEMPLATES)}")
        await copy_database(cluster, url, None)
        await (await open_database(url, folder=Path(), migrations=migrations, name=name)).close()
        _TEMPLATES[made_by] = url
    return _TEMPLATES[made_by]


@pytest.fixture(params=["sqlite", "postgresql"])
def database_place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[DatabasePlace]:
    """A fresh, empty place."""
    folder = tmp_path / "database"
    if request.param == "sqlite":
        yield DatabasePlace(url=None, folder=folder, name="test")
        return
    cluster = request.getfixturevalue("postgres_url")
    url = database_url(cluster, f"test_{uuid.uuid4().hex}")
    yield DatabasePlace(url=url, folder=folder, name="test", cluster=cluster)
    if url in _DATABASES:
        _DATABASES.remove(url)
        drop_later(url)
