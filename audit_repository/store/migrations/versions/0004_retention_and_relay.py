"""What retention gave up, legal holds, and how far further receivers have had the trail."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None
# Nothing is given up unless a setting says so; what was, an older release takes for lost when it verifies.
additive = True

_HOLD = (
    "patient",
    "study",
    "since",
    "until",
    "reason",
    "placed",
    "placed_by",
    "released",
    "released_by",
)


def upgrade() -> None:
    op.create_table(
        "audit_given_up",
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("partition", sa.Text(), nullable=False),
        sa.Column("first", sa.BigInteger(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("chain", sa.Text(), nullable=False),
        sa.Column("time", sa.Text(), nullable=False),
        sa.Column("signature", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("number"),
    )
    op.create_table(
        "audit_hold",
        sa.Column("hold_id", sa.Text(), nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in _HOLD),
        sa.PrimaryKeyConstraint("hold_id"),
    )
    op.create_table(
        "audit_relay",
        sa.Column("destination", sa.Text(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("destination"),
    )
