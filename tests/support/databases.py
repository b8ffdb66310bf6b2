"""Databases for tests: every test that asks for `database_place` runs on SQLite and on PostgreSQL."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
import uuid
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from shared.store import migration, schema
from shared.store.engine import Database
from shared.store.opening import open_database
from tests.support.postgres import postgres_url

__all__ = ["THINGS", "DatabasePlace", "database_place", "postgres_url"]

#: Tables of no service, for tests of the database itself: `thing`, `part`, `number`, `audit_outbox`.
THINGS = "tests.support:migrations"


@dataclass(frozen=True)
class DatabasePlace:
    """Where a test's database is: its own file, or a schema of its own in the shared cluster."""

    url: str | None
    folder: Path
    name: str

    async def open(self, migrations: str, *, plans_kept: bool = False) -> Database:
        """Open the database; what it holds stays between two openings.

        A new file is a copy of one that the revisions made: they are carried out once, not for every test.
        """
        if self.url is None and not self.folder.exists():
            await _copy(migrations, self.folder, self.name)
        return await open_database(
            self.url,
            folder=self.folder,
            migrations=migrations,
            name=self.name,
            plans_kept=plans_kept,
        )

    async def execute(self, statements: Sequence[str]) -> None:
        """Carry out statements behind the back of a database that is closed."""
        if self.url is None:
            with closing(sqlite3.connect(self.folder / f"{self.name}.sqlite3")) as file, file:
                for statement in statements:
                    file.execute(statement)
            return
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
            connection = await asyncpg.connect(self.url, server_settings={"search_path": self.name})
            try:
                await connection.executemany(statement, values)
            finally:
                await connection.close()


#: Files that the revisions made, by the revisions and the last of them; for the life of the test process.
_MADE: dict[tuple[str, str, str], Path] = {}
_KEPT = tempfile.TemporaryDirectory(prefix="xdsi-databases-")


async def _copy(migrations: str, folder: Path, name: str) -> None:
    made_by = (migrations, schema.latest(migrations), migration.HEAD)
    made = _MADE.get(made_by)
    if made is None:
        place = Path(_KEPT.name) / "-".join(made_by).replace(":", ".")
        await (await open_database(None, folder=place, migrations=migrations, name="made")).close()
        made = _MADE[made_by] = place / "made.sqlite3"
    folder.mkdir(mode=0o700, parents=True)
    shutil.copyfile(made, folder / f"{name}.sqlite3")


@pytest.fixture(params=["sqlite", "postgresql"])
def database_place(request: pytest.FixtureRequest, tmp_path: Path) -> DatabasePlace:
    """A fresh, empty place."""
    url = None if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    return DatabasePlace(url=url, folder=tmp_path / "database", name=f"test_{uuid.uuid4().hex}")
