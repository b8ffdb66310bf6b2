"""The tables of a service, created and brought up to date by its alembic revisions alone.

Loaded where there is something to do: alembic takes longer to load than most services to start.

The first revision finds the tables there where a release without revisions made them, and takes them over.

PostgreSQL has no synchronous driver here, so its revisions are rendered as SQL and run by asyncpg in one
transaction; they must therefore not read what they change through Python.
"""

from __future__ import annotations

import sqlite3
from functools import lru_cache
from io import StringIO
from typing import Any

from alembic.config import Config
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine
from sqlalchemy.pool import StaticPool

from shared.store.failures import SchemaError
from shared.store.schema import remember_floor
from shared.store.statements import POSTGRESQL, dialect_of

#: To where schemas are brought.
HEAD = "head"


def upgrade_sqlite(connection: sqlite3.Connection, *, migrations: str) -> None:
    """Bring the schema behind `connection` up to date, in one transaction; raises `SchemaError`."""
    engine = create_engine("sqlite://", creator=lambda: connection, poolclass=StaticPool)
    with engine.connect() as wrapped:
        # isolation_level is None on our connections, so the transaction is ours to begin.
        wrapped.exec_driver_sql("BEGIN IMMEDIATE")
        context = MigrationContext.configure(wrapped, opts=_steps(migrations))
        with Operations.context(context):
            context.run_migrations()
        wrapped.exec_driver_sql(_floor(migrations))
        wrapped.commit()
        if connection.in_transaction:
            connection.commit()


def upgrade_script(*, migrations: str, revision: str | None) -> str:
    """The SQL that brings a PostgreSQL schema from `revision` (None: empty) up to date.

    Raises
    ------
    SchemaError
        The revision is not known here.
    """
    _known(migrations, revision)
    script = StringIO()
    options = {**_steps(migrations), "as_sql": True, "output_buffer": script, "starting_rev": revision}
    context = MigrationContext.configure(dialect=dialect_of(POSTGRESQL), opts=options)
    with Operations.context(context):
        context.run_migrations()
    return f"{script.getvalue()}\n{_floor(migrations)};\n"


def _floor(migrations: str) -> str:
    """Remembers of the newest revision the oldest whose releases can live with it: what came after it only
    adds."""
    steps = list(_script(migrations).walk_revisions())
    floor = next(step for step in steps if not getattr(step.module, "additive", False))
    return remember_floor(steps[0].revision, floor.revision)


@lru_cache
def _script(migrations: str) -> ScriptDirectory:
    config = Config()
    config.set_main_option("script_location", migrations)
    return ScriptDirectory.from_config(config)


def _steps(migrations: str) -> dict[str, Any]:
    def upgrade(revisions: Any, _: MigrationContext) -> Any:
        for revision in revisions:
            _known(migrations, revision)
        return _script(migrations)._upgrade_revs(HEAD, revisions)

    return {"fn": upgrade, "script": _script(migrations)}


def check_revision(migrations: str, revision: str) -> None:
    """Raise `SchemaError` unless this release knows `revision`."""
    _known(migrations, revision)


def _known(migrations: str, revision: str | None) -> ScriptDirectory:
    """The revisions of this release, `revision` among them unless it is None."""
    script = _script(migrations)
    known = [each.revision for each in script.walk_revisions()]
    if revision not in (None, *known):
        raise SchemaError(
            f"the database is of another release: its revision {revision} is none of this one, which knows "
            f"them up to {known[0]}; start the release that wrote it, or a newer one"
        )
    return script
