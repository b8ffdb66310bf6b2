"""Indexes for queries that name no patient."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("registry_object_by_class_code", "registry_object", ["class_code"], unique=False)
    op.create_index(
        "registry_object_by_facility_type",
        "registry_object",
        ["healthcare_facility_type_code"],
        unique=False,
    )
    for name, attribute in (("event_code", "eventCodeList"), ("folder_code", "codeList")):
        of_attribute = sa.text(f"attribute = '{attribute}'")
        op.create_index(
            f"object_value_by_{name}",
            "object_value",
            ["value", "entry_uuid"],
            unique=False,
            sqlite_where=of_attribute,
            postgresql_where=of_attribute,
        )
