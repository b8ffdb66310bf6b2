"""Requests for storage commitment wait for their results, across restarts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None
additive = True


def upgrade() -> None:
    op.create_table(
        "commitment",
        sa.Column("commitment_id", sa.Text(), nullable=False),
        sa.Column("ae_title", sa.Text(), nullable=False),
        sa.Column("transaction_uid", sa.Text(), nullable=False),
        sa.Column("received_at", sa.Text(), nullable=False),
        sa.Column("due_at", sa.Text(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("instances", sa.LargeBinary(), nullable=False),
        sa.Column("result", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("commitment_id"),
        if_not_exists=True,
    )
    op.create_index("commitment_by_time", "commitment", ["due_at"], unique=False, if_not_exists=True)
    op.create_index(
        "commitment_of_transaction",
        "commitment",
        ["transaction_uid", "ae_title"],
        unique=False,
        if_not_exists=True,
    )
