"""Studies and series as they are searched; those that are there are entered while the service runs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None
additive = True

ORDERED = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "study",
        sa.Column("study_instance_uid", ORDERED, nullable=False),
        sa.Column("received_at", ORDERED, nullable=False),
        sa.Column("sop_instance_uid", sa.Text(), nullable=False),
        sa.Column("patient_id", sa.Text(), nullable=False),
        sa.Column("patient_name", ORDERED, nullable=False),
        sa.Column("accession_number", sa.Text(), nullable=False),
        sa.Column("study_date", ORDERED, nullable=False),
        sa.Column("attributes", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("study_instance_uid"),
    )
    op.create_table(
        "series",
        sa.Column("study_instance_uid", ORDERED, nullable=False),
        sa.Column("series_instance_uid", ORDERED, nullable=False),
        sa.Column("received_at", ORDERED, nullable=False),
        sa.Column("sop_instance_uid", sa.Text(), nullable=False),
        sa.Column("modality", sa.Text(), nullable=False),
        sa.Column("attributes", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("study_instance_uid", "series_instance_uid"),
    )
    op.create_table(
        "uncatalogued_study",
        sa.Column("study_instance_uid", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("study_instance_uid"),
    )
    for name, table, columns in (
        ("study_by_arrival", "study", ["received_at", "study_instance_uid"]),
        ("study_of_patient", "study", ["patient_id", "received_at", "study_instance_uid"]),
        ("study_by_name", "study", ["patient_name", "received_at"]),
        ("study_by_accession", "study", ["accession_number", "received_at", "study_instance_uid"]),
        ("study_by_date", "study", ["study_date", "received_at", "study_instance_uid"]),
        ("series_by_uid", "series", ["series_instance_uid"]),
        ("series_by_arrival", "series", ["received_at", "series_instance_uid"]),
        ("series_of_modality", "series", ["modality", "study_instance_uid"]),
    ):
        op.create_index(name, table, columns, unique=False)
    op.execute(
        "INSERT INTO uncatalogued_study (study_instance_uid) SELECT DISTINCT study_instance_uid FROM instance"
    )
