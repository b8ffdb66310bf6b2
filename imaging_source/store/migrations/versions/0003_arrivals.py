"""What came lately is found without looking at everything."""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None
additive = True


def upgrade() -> None:
    op.create_index("instance_by_arrival", "instance", ["received_at"], unique=False, if_not_exists=True)
