"""What a schema has beside the tables of its service, and to which revision this release brings it.

Schemas grow before they shrink, so that releases can run side by side at one database: a step that only adds
says so (`additive`), and the schema remembers the oldest revision whose releases can live with it, its floor.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib.resources import files

from sqlalchemy import BigInteger, Integer, column, literal, select, table, update

#: One row that readiness writes; each schema has it from its beginning, before any revision.
store_probe = table("store_probe", column("id", Integer), column("writes", BigInteger))
#: Of each revision that the schema has had, its floor.
FLOORS = "schema_floor"
BESIDE_STATEMENTS = (
    "CREATE TABLE IF NOT EXISTS store_probe (id INTEGER NOT NULL PRIMARY KEY, writes BIGINT NOT NULL)",
    "INSERT INTO store_probe (id, writes) VALUES (1, 0) ON CONFLICT DO NOTHING",
    f"CREATE TABLE IF NOT EXISTS {FLOORS} (revision TEXT NOT NULL PRIMARY KEY, floor TEXT NOT NULL)",
)
READ_FLOORS = f"SELECT revision, floor FROM {FLOORS}"  # noqa: S608  # a name of ours
WRITE_PROBE = update(store_probe).where(store_probe.c.id == 1).values(writes=store_probe.c.writes + 1)
READ_PROBE = select(store_probe.c.writes).where(store_probe.c.id == literal(1))


def remember_floor(revision: str, floor: str) -> str:
    """The statement by which a schema remembers the floor of a revision."""
    values = f"('{revision}', '{floor}')"
    return f"INSERT INTO {FLOORS} (revision, floor) VALUES {values} ON CONFLICT DO NOTHING"  # noqa: S608  # names of ours


def lives_with(newest: str, revision: str | None, floors: Iterable[Sequence[str]]) -> bool:
    """Whether a release that knows revisions up to `newest` can live with a schema of a later `revision`."""
    if revision is None or revision <= newest:
        return False
    floor = {str(of): str(floor) for of, floor in floors}.get(revision)
    return floor is not None and floor <= newest


def latest(migrations: str) -> str:
    """The last revision of `migrations`, by the names of its files: `0005_used_assertions.py` is `0005`."""
    package, _, folder = migrations.partition(":")
    return max(
        file.name.partition("_")[0]
        for file in (files(package) / folder / "versions").iterdir()
        if file.name.endswith(".py") and file.name[0].isdecimal()
    )
