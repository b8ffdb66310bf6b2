"""What a search tells of an instance itself, apart from its study and series."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None
additive = True


def upgrade() -> None:
    op.add_column("instance", sa.Column("attributes", sa.LargeBinary(), nullable=True))
