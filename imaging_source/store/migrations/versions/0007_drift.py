"""What the drift watch found of published manifests."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None
additive = True


def upgrade() -> None:
    op.create_table(
        "drift",
        sa.Column("study_instance_uid", sa.Text(), nullable=False),
        sa.Column("kinds", sa.Text(), nullable=False),
        sa.Column("noticed_at", sa.Text(), nullable=False),
        sa.Column("needs_person", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("study_instance_uid"),
        if_not_exists=True,
    )
    op.create_index("drift_for_persons", "drift", ["needs_person"], unique=False, if_not_exists=True)
