"""What only metadata level 2 shows; one Approved version for each logicalID."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_HAS_VERSIONS = sa.text("logical_id IS NOT NULL")
_IS_APPROVED_VERSION = sa.text(
    "logical_id IS NOT NULL AND status = 'urn:oasis:names:tc:ebxml-regrep:StatusType:Approved'"
)
_OFFLINE = "urn:ihe:iti:2010:DocumentAvailability:Offline"
# Nowhere else in a fragment can these bytes stand: in a text, < is escaped.
_SLOT = f'<rim:Slot name="documentAvailability"><rim:ValueList><rim:Value>{_OFFLINE}</rim:Value>'
_HOLDS_IT = {
    "sqlite": f"instr(fragment, CAST('{_SLOT}' AS BLOB)) > 0",
    "postgresql": f"position(convert_to('{_SLOT}', 'UTF8') IN fragment) > 0",
}


def upgrade() -> None:
    op.add_column("registry_object", sa.Column("document_availability", sa.Text(), nullable=True))
    # A constant default: adding the column rewrites no row.
    op.add_column(
        "registry_object", sa.Column("metadata_level", sa.Integer(), nullable=False, server_default="1")
    )
    op.execute(
        f"UPDATE registry_object SET document_availability = '{_OFFLINE}', metadata_level = 2 "  # noqa: S608
        f"WHERE object_class = 'DocumentEntry' AND {_HOLDS_IT[op.get_context().dialect.name]}"
    )
    op.drop_index("registry_object_version", table_name="registry_object")
    op.create_index(
        "registry_object_version",
        "registry_object",
        ["logical_id", "version"],
        unique=True,
        sqlite_where=_HAS_VERSIONS,
        postgresql_where=_HAS_VERSIONS,
    )
    op.create_index(
        "registry_object_approved_version",
        "registry_object",
        ["logical_id"],
        unique=True,
        sqlite_where=_IS_APPROVED_VERSION,
        postgresql_where=_IS_APPROVED_VERSION,
    )
