"""Merges that move their objects in portions: which patients are of one that is not finished."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("patient", sa.Column("merging", sa.Integer(), server_default="0", nullable=False))
    unfinished = sa.text("merging = 1")
    op.create_index(
        "patient_merging",
        "patient",
        ["patient_id"],
        unique=False,
        sqlite_where=unfinished,
        postgresql_where=unfinished,
    )
