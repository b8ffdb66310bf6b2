"""Other data sets under the UID of an instance are kept, and erased instances are known."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None
additive = True


def upgrade() -> None:
    op.create_table(
        "other_version",
        sa.Column("sop_instance_uid", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("study_instance_uid", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("fate", sa.Text(), nullable=False),
        sa.Column("noted_at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("sop_instance_uid", "sha256"),
        if_not_exists=True,
    )
    op.create_table(
        "erased_instance",
        sa.Column("sop_instance_uid", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("study_instance_uid", sa.Text(), nullable=False),
        sa.Column("erased_at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("sop_instance_uid", "sha256"),
        if_not_exists=True,
    )
    for name, table, column in (
        ("other_version_by_sha256", "other_version", "sha256"),
        ("erased_instance_by_sha256", "erased_instance", "sha256"),
    ):
        op.create_index(name, table, [column], unique=False, if_not_exists=True)
