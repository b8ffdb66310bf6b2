"""Databases as earlier releases left them: the schema as it was made then, with rows that fit into it.

`first_release` holds the tables of the services that had no revisions yet, as that release made them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import MetaData, select

from shared.store import migration
from shared.store.engine import Database
from tests.support.databases import DatabasePlace

FIRST_RELEASE = Path(__file__).parent / "first_release"
#: Columns that its tables did not have.
LATER = ("attributes", "fingerprint", "standing")

Rows = Mapping[str, Sequence[Mapping[str, Any]]]


async def rows_of(database: Database, metadata: MetaData) -> Rows:
    """All rows by table, tables in the order in which they refer to each other; numbers are given anew."""
    found = {}
    for table in metadata.sorted_tables:
        numbered = table.autoincrement_column
        columns = [
            column for column in table.columns if column is not numbered or column.autoincrement is not True
        ]
        rows = await database.fetch(select(*columns).order_by(*table.primary_key))
        found[table.name] = [dict(zip((column.name for column in columns), row, strict=True)) for row in rows]
    return found


async def make_first_release(place: DatabasePlace, service: str, rows: Rows) -> None:
    """Make the database of a service as the first release did, with those of `rows` for which it had tables.

    Columns that came later are left out.
    """
    dialect = "sqlite" if place.url is None else "postgresql"
    script = (FIRST_RELEASE / f"{service}.{dialect}.sql").read_text()
    place.folder.mkdir(parents=True, exist_ok=True)
    if place.url is not None:
        await place.execute([f"CREATE SCHEMA {place.name}"])
    await place.execute([statement for statement in script.split(";\n") if statement.strip()])
    await place.fill({name: rows for name, rows in rows.items() if f" {name} (" in script}, without=LATER)


@contextmanager
def upgraded_to(revision: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Schemas are brought to `revision` and no further, as an earlier release does."""
    with monkeypatch.context() as patched:
        patched.setattr(migration, "HEAD", revision)
        yield


#: What makes a trail one of the release that knew nothing of merges: the tables of later revisions go.
BEFORE_MERGES = (
    *(
        f"DROP TABLE {name}"
        for name in ("audit_identity", "audit_backlog", "audit_given_up", "audit_hold", "audit_relay")
    ),
    "UPDATE alembic_version SET version_num = '0002'",
)
