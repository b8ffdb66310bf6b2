"""What feeds say of ids: by it the records of an id that was merged away are found by the surviving one.

Of the records that are there it is read by the service, which knows how to read them.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_FEEDS = ("ITI-8", "ITI-30", "ITI-44")


def upgrade() -> None:
    op.create_table(
        "audit_identity",
        sa.Column("sequence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("patient", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("sequence", "patient"),
    )
    op.create_index("audit_identity_of_patient", "audit_identity", ["patient", "action"])
    op.create_index("audit_identity_by_message", "audit_identity", ["message", "action", "at"])
    op.create_table(
        "audit_backlog",
        sa.Column("feed", sa.Text(), nullable=False),
        sa.Column("first", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("feed"),
    )
    for feed in _FEEDS:
        op.execute(f"INSERT INTO audit_backlog (feed, first) VALUES ('{feed}', 1)")  # noqa: S608
