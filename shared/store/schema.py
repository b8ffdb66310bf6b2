"""What a schema has beside the tables of its service, and to which revision this release brings it."""

from __future__ import annotations

from importlib.resources import files

from sqlalchemy import BigInteger, Integer, column, literal, select, table, update

#: One row that readiness writes; each schema has it from its beginning, before any revision.
store_probe = table("store_probe", column("id", Integer), column("writes", BigInteger))
PROBE_STATEMENTS = (
    "CREATE TABLE IF NOT EXISTS store_probe (id INTEGER NOT NULL PRIMARY KEY, writes BIGINT NOT NULL)",
    "INSERT INTO store_probe (id, writes) VALUES (1, 0) ON CONFLICT DO NOTHING",
)
WRITE_PROBE = update(store_probe).where(store_probe.c.id == 1).values(writes=store_probe.c.writes + 1)
READ_PROBE = select(store_probe.c.writes).where(store_probe.c.id == literal(1))


def latest(migrations: str) -> str:
    """The last revision of `migrations`, by the names of its files: `0005_used_assertions.py` is `0005`."""
    package, _, folder = migrations.partition(":")
    return max(
        file.name.partition("_")[0]
        for file in (files(package) / folder / "versions").iterdir()
        if file.name.endswith(".py") and file.name[0].isdecimal()
    )
