"""Schemas: the tables of a service, created or brought up to date by alembic revisions.

PostgreSQL has no synchronous driver here, so its revisions are rendered as SQL and run by asyncpg in one
transaction; they must therefore not read what they change through Python.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from io import StringIO
from typing import Any

from alembic.config import Config
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import (
    BigInteger,
    Column,
    Integer,
    MetaData,
    Table,
    create_engine,
    insert,
    literal,
    select,
    update,
)
from sqlalchemy.pool import StaticPool
from sqlalchemy.schema import CreateIndex, CreateTable

from shared.store.failures import SchemaError
from shared.store.statements import POSTGRESQL, dialect_of

_OWN = MetaData()

#: One row that readiness writes.
store_probe = Table(
    "store_probe",
    _OWN,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("writes", BigInteger, nullable=False),
)
FIRST_PROBE = insert(store_probe).values(id=1, writes=0)
WRITE_PROBE = update(store_probe).where(store_probe.c.id == 1).values(writes=store_probe.c.writes + 1)
READ_PROBE = select(store_probe.c.writes).where(store_probe.c.id == literal(1))


def upgrade_sqlite(connection: sqlite3.Connection, *, metadata: MetaData, migrations: str | None) -> None:
    """Bring the schema behind `connection` up to date, in one transaction."""
    engine = create_engine("sqlite://", creator=lambda: connection, poolclass=StaticPool)
    with engine.connect() as wrapped:
        # isolation_level is None on our connections, so the transaction is ours to begin.
        wrapped.exec_driver_sql("BEGIN IMMEDIATE")
        _create_probe_sqlite(connection)
        if migrations is None:
            metadata.create_all(wrapped)
        else:
            context = MigrationContext.configure(wrapped, opts=_steps(migrations))
            with _readable(), Operations.context(context):
                context.run_migrations()
        wrapped.commit()
        if connection.in_transaction:
            connection.commit()


def _create_probe_sqlite(connection: sqlite3.Connection) -> None:
    connection.execute(
        "CREATE TABLE IF NOT EXISTS store_probe (id INTEGER NOT NULL PRIMARY KEY, writes BIGINT NOT NULL)"
    )
    connection.execute("INSERT OR IGNORE INTO store_probe (id, writes) VALUES (1, 0)")


def upgrade_script(*, migrations: str, revision: str | None) -> str:
    """The SQL that brings a PostgreSQL schema from `revision` (None: empty) up to date; empty when it is."""
    with _readable():
        if _script(migrations).get_current_head() == revision:
            return ""
        text = StringIO()
        options = {**_steps(migrations), "as_sql": True, "output_buffer": text, "starting_rev": revision}
        context = MigrationContext.configure(dialect=dialect_of(POSTGRESQL), opts=options)
        with Operations.context(context):
            context.run_migrations()
    return text.getvalue()


def create_script(metadata: MetaData) -> str:
    """The SQL that creates the tables and indexes of `metadata` in PostgreSQL where they are absent."""
    dialect = dialect_of(POSTGRESQL)
    statements = []
    for table in metadata.sorted_tables:
        statements.append(str(CreateTable(table, if_not_exists=True).compile(dialect=dialect)))
        statements.extend(
            str(CreateIndex(index, if_not_exists=True).compile(dialect=dialect)) for index in table.indexes
        )
    return ";\n".join(statements)


def probe_script() -> str:
    """The SQL that creates the readiness probe in PostgreSQL."""
    return (
        f"{create_script(_OWN)};\nINSERT INTO store_probe (id, writes) VALUES (1, 0) ON CONFLICT DO NOTHING"
    )


@lru_cache
def _script(migrations: str) -> ScriptDirectory:
    config = Config()
    config.set_main_option("script_location", migrations)
    return ScriptDirectory.from_config(config)


def _steps(migrations: str) -> dict[str, Any]:
    script = _script(migrations)

    def upgrade(revision: Any, _: MigrationContext) -> Any:
        return script._upgrade_revs("head", revision)

    return {"fn": upgrade, "script": script}


@contextmanager
def _readable() -> Iterator[None]:
    try:
        yield
    except CommandError as error:
        raise SchemaError(
            f"the database is of another release ({error}); start the release that wrote it, or a newer one"
        ) from error
