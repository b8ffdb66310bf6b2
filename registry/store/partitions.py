"""How the tables of objects are divided in PostgreSQL; on SQLite they are plain tables."""

from __future__ import annotations

from collections.abc import Iterator

#: Hash partitions of each table of objects: units of maintenance, and of distribution later. A number that
#: changes needs a revision that moves the rows.
PARTITIONS = 16

#: The column by whose hash rows are divided; the first part of every unique key of these tables.
DIVIDED_BY = "patient_id"

#: The option `postgresql_partition_by` of a table that is divided.
BY_HASH = f"HASH ({DIVIDED_BY})"


def partition_statements(table: str) -> Iterator[str]:
    """The statements that make the partitions of `table` in PostgreSQL."""
    for number in range(PARTITIONS):
        yield (
            f"CREATE TABLE {table}_{number:02} PARTITION OF {table} "
            f"FOR VALUES WITH (MODULUS {PARTITIONS}, REMAINDER {number})"
        )
