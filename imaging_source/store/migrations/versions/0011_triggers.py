"""Who sent a study, and which instances were committed: what studies are published by."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None
additive = True


def upgrade() -> None:
    op.create_table(
        "study_sender",
        sa.Column("study_instance_uid", sa.Text(), nullable=False),
        sa.Column("sender", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("study_instance_uid", "sender"),
        if_not_exists=True,
    )
    op.create_table(
        "committed_instance",
        sa.Column("sop_instance_uid", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("sop_instance_uid"),
        if_not_exists=True,
    )
