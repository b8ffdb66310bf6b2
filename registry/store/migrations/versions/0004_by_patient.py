"""Objects and their values by patient, divided in PostgreSQL; one table of identifiers leads to them.

The tables are filled anew by the database itself, so that no row passes through memory; the disk holds both
until the end. What runs into a unique key here was registered twice, which the release before refused.
"""

from __future__ import annotations

from collections.abc import Iterator

import sqlalchemy as sa
from alembic import op

from registry.store.partitions import BY_HASH, partition_statements

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_DIVIDED = ("registry_object", "object_value")

_COPIED = (
    "entry_uuid",
    "object_class",
    "status",
    "unique_id",
    "object_type",
    "logical_id",
    "version",
    "class_code",
    "type_code",
    "format_code",
    "practice_setting_code",
    "healthcare_facility_type_code",
    "confidentiality",
    "creation_time",
    "service_start_time",
    "service_stop_time",
    "document_availability",
    "source_id",
    "submission_time",
    "content_type_code",
    "last_update_time",
    "association_type",
    "source_object",
    "target_object",
    "submission_set_status",
    "metadata_level",
    "encoding_version",
    "fragment",
)

# What starts at an object is of its patient: rules hold it, and merges keep it.
_FILL_OBJECTS = f"""
INSERT INTO registry_object (patient_id, {", ".join(_COPIED)})
SELECT coalesce(old.patient_id, source.patient_id, target.patient_id, ''), {", ".join(f"old.{name}" for name in _COPIED)}
FROM registry_object_0003 AS old
LEFT JOIN registry_object_0003 AS source ON source.entry_uuid = old.source_object
LEFT JOIN registry_object_0003 AS target ON target.entry_uuid = old.target_object
"""  # noqa: E501, S608
_FILL_VALUES = """
INSERT INTO object_value (patient_id, entry_uuid, attribute, value)
SELECT object.patient_id, old.entry_uuid, old.attribute, old.value
FROM object_value_0003 AS old
JOIN registry_object_0003 AS object ON object.entry_uuid = old.entry_uuid
"""

_FILL_IDENTIFIERS = (
    """
    INSERT INTO identifier (identifier, object_class, patient_id, content_hash, size)
    SELECT entry_uuid, object_class, patient_id, NULL, NULL FROM registry_object
    """,
    """
    INSERT INTO identifier (identifier, object_class, patient_id, content_hash, size)
    SELECT unique_id.unique_id, object_class,
           (SELECT min(object.patient_id) FROM registry_object_0003 AS object
            WHERE object.unique_id = unique_id.unique_id),
           nullif(content_hash, ''), size
    FROM unique_id
    """,
    # Lineages of which the first version was removed.
    """
    INSERT INTO identifier (identifier, object_class, patient_id, content_hash, size)
    SELECT logical_id, min(object_class), min(patient_id), NULL, NULL FROM registry_object
    WHERE logical_id IS NOT NULL
      AND NOT EXISTS (SELECT 1 FROM identifier WHERE identifier.identifier = logical_id)
    GROUP BY logical_id
    """,
)


def _fill_shared() -> Iterator[str]:
    for column in ("unique_id", "logical_id", "source_object", "target_object"):
        yield f"""
        INSERT INTO shared_identifier (identifier, patient_id)
        SELECT DISTINCT identifier.identifier, object.patient_id
        FROM registry_object AS object
        JOIN identifier ON identifier.identifier = object.{column}
        WHERE identifier.patient_id <> object.patient_id
        ON CONFLICT DO NOTHING
        """  # noqa: S608


def upgrade() -> None:
    on_postgresql = op.get_context().dialect.name == "postgresql"
    if on_postgresql:
        # A large registry takes longer than a statement of a request may.
        op.execute("SET LOCAL statement_timeout = 0")
    for table in _DIVIDED:
        op.rename_table(table, f"{table}_0003")
        if on_postgresql:
            op.execute(f"ALTER INDEX {table}_pkey RENAME TO {table}_0003_pkey")
    _create_tables()
    if on_postgresql:
        for table in _DIVIDED:
            for statement in partition_statements(table):
                op.execute(statement)
    for statement in (_FILL_OBJECTS, _FILL_VALUES, *_FILL_IDENTIFIERS, *_fill_shared()):
        op.execute(statement)
    for table in ("unique_id", *(f"{table}_0003" for table in _DIVIDED)):
        op.drop_table(table)
    _create_indexes()
    if on_postgresql:
        for table in (*_DIVIDED, "identifier", "shared_identifier"):
            op.execute(f"ANALYZE {table}")
    else:
        _tell_statistics()


#: Rows of an index, then rows of each value of its first column, of its first two, and so on: a patient with
#: a thick file, for whom a wrong choice of index would matter. SQLite without statistics takes every patient
#: for one of ten objects, and reads them all to find one by its id.
_STATISTICS = {
    "registry_object": {
        "sqlite_autoindex_registry_object_1": "1000000 1000 1",
        "registry_object_of_patient": "1000000 1000 400 300",
        "registry_object_by_unique_id": "500000 500 1",
        "registry_object_by_source": "500000 500 5 5",
        "registry_object_by_target": "500000 500 3 3",
        "registry_object_version": "400000 400 1 1",
        "registry_object_approved_version": "400000 400 1",
        "registry_object_by_class_code": "400000 20000",
        "registry_object_by_facility_type": "400000 20000",
    },
    "object_value": {
        "object_value": "1600000 1600 4 2 1",
        "object_value_by_event_code": "400000 20000 200 1",
        "object_value_by_folder_code": "40000 2000 20 1",
    },
    "identifier": {"identifier": "1500000 1"},
    "shared_identifier": {"shared_identifier": "10000 2 1", "shared_identifier_of_patient": "10000 20 1"},
}


def _tell_statistics() -> None:
    op.execute("ANALYZE sqlite_schema")  # makes their table
    op.execute("DELETE FROM sqlite_stat1")
    statistics = sa.table("sqlite_stat1", *map(sa.column, ("tbl", "idx", "stat")))
    op.bulk_insert(
        statistics,
        [
            {"tbl": table, "idx": index, "stat": rows}
            for table, of_table in _STATISTICS.items()
            for index, rows in of_table.items()
        ],
    )


def _create_tables() -> None:
    op.create_table(
        "registry_object",
        sa.Column("patient_id", sa.Text(), nullable=False),
        sa.Column("entry_uuid", sa.Text(), nullable=False),
        sa.Column("object_class", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("unique_id", sa.Text(), nullable=True),
        sa.Column("object_type", sa.Text(), nullable=True),
        sa.Column("logical_id", sa.Text(), nullable=True),
        sa.Column("version", sa.Integer(), nullable=True),
        sa.Column("class_code", sa.Text(), nullable=True),
        sa.Column("type_code", sa.Text(), nullable=True),
        sa.Column("format_code", sa.Text(), nullable=True),
        sa.Column("practice_setting_code", sa.Text(), nullable=True),
        sa.Column("healthcare_facility_type_code", sa.Text(), nullable=True),
        sa.Column("confidentiality", sa.Text(), nullable=True),
        sa.Column("creation_time", sa.Text(), nullable=True),
        sa.Column("service_start_time", sa.Text(), nullable=True),
        sa.Column("service_stop_time", sa.Text(), nullable=True),
        sa.Column("document_availability", sa.Text(), nullable=True),
        sa.Column("source_id", sa.Text(), nullable=True),
        sa.Column("submission_time", sa.Text(), nullable=True),
        sa.Column("content_type_code", sa.Text(), nullable=True),
        sa.Column("last_update_time", sa.Text(), nullable=True),
        sa.Column("association_type", sa.Text(), nullable=True),
        sa.Column("source_object", sa.Text(), nullable=True),
        sa.Column("target_object", sa.Text(), nullable=True),
        sa.Column("submission_set_status", sa.Text(), nullable=True),
        sa.Column("metadata_level", sa.Integer(), nullable=False),
        sa.Column("encoding_version", sa.Integer(), nullable=False),
        sa.Column("fragment", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("patient_id", "entry_uuid"),
        postgresql_partition_by=BY_HASH,
    )
    op.create_table(
        "object_value",
        sa.Column("patient_id", sa.Text(), nullable=False),
        sa.Column("entry_uuid", sa.Text(), nullable=False),
        sa.Column("attribute", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("patient_id", "entry_uuid", "attribute", "value"),
        sqlite_with_rowid=False,
        postgresql_partition_by=BY_HASH,
    )
    op.create_table(
        "identifier",
        sa.Column("identifier", sa.Text(), nullable=False),
        sa.Column("object_class", sa.Text(), nullable=False),
        sa.Column("patient_id", sa.Text(), nullable=True),
        sa.Column("content_hash", sa.Text(), nullable=True),
        sa.Column("size", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("identifier"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "shared_identifier",
        sa.Column("identifier", sa.Text(), nullable=False),
        sa.Column("patient_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("identifier", "patient_id"),
        sqlite_with_rowid=False,
    )


_APPROVED = "status = 'urn:oasis:names:tc:ebxml-regrep:StatusType:Approved'"


def _create_indexes() -> None:
    _index("registry_object", "of_patient", "patient_id", "object_class", "status")
    for name, *columns in (
        ("by_unique_id", "patient_id", "unique_id"),
        ("by_source", "patient_id", "source_object", "association_type"),
        ("by_target", "patient_id", "target_object", "association_type"),
    ):
        _index("registry_object", name, *columns, where=f"{columns[1]} IS NOT NULL")
    has_versions = "logical_id IS NOT NULL"
    _index(
        "registry_object", "version", "patient_id", "logical_id", "version", where=has_versions, unique=True
    )
    _index(
        "registry_object",
        "approved_version",
        "patient_id",
        "logical_id",
        where=f"{has_versions} AND {_APPROVED}",
        unique=True,
    )
    for name, column in (("class_code", "class_code"), ("facility_type", "healthcare_facility_type_code")):
        _index("registry_object", f"by_{name}", column, where=f"{column} IS NOT NULL")
    for name, attribute in (("event_code", "eventCodeList"), ("folder_code", "codeList")):
        _index(
            "object_value",
            f"by_{name}",
            "value",
            "patient_id",
            "entry_uuid",
            where=f"attribute = '{attribute}'",
        )
    _index("shared_identifier", "of_patient", "patient_id")


def _index(table: str, name: str, *columns: str, where: str = "", unique: bool = False) -> None:
    condition = sa.text(where) if where else None
    op.create_index(
        f"{table}_{name}",
        table,
        list(columns),
        unique=unique,
        sqlite_where=condition,
        postgresql_where=condition,
    )
