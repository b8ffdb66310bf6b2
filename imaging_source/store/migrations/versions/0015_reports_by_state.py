"""Reports that wait are found without looking at all that came."""

from __future__ import annotations

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None
additive = True


def upgrade() -> None:
    op.create_index(
        "imaging_report_by_state",
        "imaging_report",
        ["state", "obstacle", "created"],
        unique=False,
        if_not_exists=True,
    )
