"""The node that delivered a record, and whether the record's source is its own.

Records that are there keep their links: what they did not have is not chained.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_NOT_PROVED = sa.text("standing <> 'proved'")


def upgrade() -> None:
    # Constant defaults: adding the columns rewrites no row.
    for name, before in (("fingerprint", ""), ("standing", "unknown")):
        op.add_column("audit_record", sa.Column(name, sa.Text(), nullable=False, server_default=before))
    for name in ("subject", "fingerprint", "peer"):
        op.create_index(f"audit_record_{name}", "audit_record", [name, "sequence"])
    op.create_index(
        "audit_record_not_proved",
        "audit_record",
        ["standing", "sequence"],
        sqlite_where=_NOT_PROVED,
        postgresql_where=_NOT_PROVED,
    )
