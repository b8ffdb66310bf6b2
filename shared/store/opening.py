"""Opening the database of a service: SQLite below its folder, or a schema of its own in PostgreSQL."""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path

from shared.store import sqlite
from shared.store.engine import Database
from shared.store.failures import DatabaseAway

#: Between two attempts to reach a database that is waited for.
PAUSE_SECONDS = 1.0

_log = logging.getLogger(__name__)


async def open_database(
    url: str | None,
    *,
    folder: Path,
    migrations: str,
    name: str | None = None,
    plans_kept: bool = False,
    wait_seconds: float = 0.0,
) -> Database:
    """Open the database of a service and bring its schema up to date.

    Parameters
    ----------
    url
        `postgresql://…`, `sqlite:///path`, or None for SQLite below `folder`.
    folder
        The service's folder; it is made when absent.
    migrations
        Folder of the alembic revisions that make the schema, as `package:folder`, for example
        `registry.store:migrations`.
    name
        Names the SQLite file and the PostgreSQL schema; the folder's name when absent. Services may so share
        one PostgreSQL database and yet keep apart.
    plans_kept
        Whether PostgreSQL plans once, for all values, what is carried out outside `read` and `write`: right
        where every such statement is served by one index, whatever the values.
    wait_seconds
        For so long it is tried to reach a PostgreSQL that does not answer.

    Raises
    ------
    DatabaseUnavailable
        The database cannot be reached, or another process has the SQLite file open.
    SchemaError
        The schema is of a newer release, and left as it is; or the file is damaged.
    """
    name = name or folder.name.replace("-", "_")
    if url is None or is_embedded(url):
        return await sqlite.open_database(sqlite_path(url, folder, name), migrations=migrations)
    from shared.store import postgresql  # its driver takes its time to load, and most have no use for it

    until = time.monotonic() + wait_seconds
    while True:
        try:
            return await postgresql.open_database(
                url, schema=name, migrations=migrations, plans_kept=plans_kept
            )
        except DatabaseAway as away:
            if time.monotonic() >= until:
                raise
            _log.warning("waiting for the database: %s", away)
        await asyncio.sleep(PAUSE_SECONDS)


def is_embedded(url: str | None) -> bool:
    """Whether `url` means SQLite, whose file one process owns."""
    return url is None or url.startswith("sqlite")


def sqlite_path(url: str | None, folder: Path, name: str) -> Path:
    """The file of the embedded database; parameters as of `open_database`."""
    return folder / f"{name}.sqlite3" if url is None else Path(url.split("///", 1)[-1])
