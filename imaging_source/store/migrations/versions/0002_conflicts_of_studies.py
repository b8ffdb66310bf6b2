"""Whose a study is, and what is in conflict with it.

The tables are already there where a release without revisions wrote them. Of a study that is not in them the
first instance says whose it is.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "set_aside",
        sa.Column("sop_instance_uid", sa.Text(), nullable=False),
        sa.Column("study_instance_uid", sa.Text(), nullable=False),
        sa.Column("conflict", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("sop_instance_uid"),
        if_not_exists=True,
    )
    op.create_index(
        "set_aside_of_study", "set_aside", ["study_instance_uid"], unique=False, if_not_exists=True
    )
    op.create_table(
        "study_patient",
        sa.Column("study_instance_uid", sa.Text(), nullable=False),
        sa.Column("patient_id", sa.Text(), nullable=False),
        sa.Column("issuer", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("study_instance_uid"),
        if_not_exists=True,
    )
