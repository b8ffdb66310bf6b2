"""What every process knows of sign-ins: attempts by password, and challenges of passkeys."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "attempt",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("key"),
    )
    op.create_index("attempt_since", "attempt", ["since"])
    op.create_table(
        "challenge",
        sa.Column("browser", sa.Text(), nullable=False),
        sa.Column("ends", sa.BigInteger(), nullable=False),
        sa.Column("challenge", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("browser"),
    )
    op.create_index("challenge_ends", "challenge", ["ends"])
