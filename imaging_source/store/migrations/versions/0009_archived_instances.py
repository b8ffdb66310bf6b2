"""Instances whose contents an archive keeps."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None
additive = True


def upgrade() -> None:
    op.create_table(
        "archived_instance",
        sa.Column("sop_instance_uid", sa.Text(), nullable=False),
        sa.Column("study_instance_uid", sa.Text(), nullable=False),
        sa.Column("archive", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("sop_instance_uid"),
        if_not_exists=True,
    )
    for name, table in (
        ("archived_instance_of_study", "archived_instance"),
        ("erased_instance_of_study", "erased_instance"),
    ):
        op.create_index(name, table, ["study_instance_uid"], unique=False, if_not_exists=True)
