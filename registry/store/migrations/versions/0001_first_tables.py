"""The first tables of the registry."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "audit_outbox",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        sa.Column("octets", sa.LargeBinary(), nullable=False),
        sa.Column("created", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "consent",
        sa.Column("policy_id", sa.Text(), nullable=False),
        sa.Column("patient_id", sa.Text(), nullable=False),
        sa.Column("policy", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("policy_id"),
        sqlite_with_rowid=False,
    )
    op.create_index("consent_of_patient", "consent", ["patient_id"], unique=False)
    op.create_table(
        "feed_message",
        sa.Column("control_id", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("acknowledgement", sa.LargeBinary(), nullable=False),
        sa.Column("created", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("control_id", "digest"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "object_value",
        sa.Column("entry_uuid", sa.Text(), nullable=False),
        sa.Column("attribute", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("entry_uuid", "attribute", "value"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "patient",
        sa.Column("patient_id", sa.Text(), nullable=False),
        sa.Column("survivor", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("patient_id"),
        sqlite_with_rowid=False,
    )
    op.create_index("patient_by_survivor", "patient", ["survivor"], unique=False)
    op.create_table(
        "registry_object",
        sa.Column("entry_uuid", sa.Text(), nullable=False),
        sa.Column("object_class", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("unique_id", sa.Text(), nullable=True),
        sa.Column("patient_id", sa.Text(), nullable=True),
        sa.Column("object_type", sa.Text(), nullable=True),
        sa.Column("logical_id", sa.Text(), nullable=True),
        sa.Column("version", sa.Integer(), nullable=True),
        sa.Column("class_code", sa.Text(), nullable=True),
        sa.Column("type_code", sa.Text(), nullable=True),
        sa.Column("format_code", sa.Text(), nullable=True),
        sa.Column("practice_setting_code", sa.Text(), nullable=True),
        sa.Column("healthcare_facility_type_code", sa.Text(), nullable=True),
        sa.Column("confidentiality", sa.Text(), nullable=True),
        sa.Column("creation_time", sa.Text(), nullable=True),
        sa.Column("service_start_time", sa.Text(), nullable=True),
        sa.Column("service_stop_time", sa.Text(), nullable=True),
        sa.Column("source_id", sa.Text(), nullable=True),
        sa.Column("submission_time", sa.Text(), nullable=True),
        sa.Column("content_type_code", sa.Text(), nullable=True),
        sa.Column("last_update_time", sa.Text(), nullable=True),
        sa.Column("association_type", sa.Text(), nullable=True),
        sa.Column("source_object", sa.Text(), nullable=True),
        sa.Column("target_object", sa.Text(), nullable=True),
        sa.Column("submission_set_status", sa.Text(), nullable=True),
        sa.Column("encoding_version", sa.Integer(), nullable=False),
        sa.Column("fragment", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("entry_uuid"),
    )
    op.create_index(
        "registry_object_by_source", "registry_object", ["source_object", "association_type"], unique=False
    )
    op.create_index(
        "registry_object_by_target", "registry_object", ["target_object", "association_type"], unique=False
    )
    op.create_index("registry_object_by_unique_id", "registry_object", ["unique_id"], unique=False)
    op.create_index(
        "registry_object_of_patient",
        "registry_object",
        ["patient_id", "object_class", "status"],
        unique=False,
    )
    op.create_index("registry_object_version", "registry_object", ["logical_id", "version"], unique=True)
    op.create_table(
        "submission",
        sa.Column("message_id", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("response", sa.LargeBinary(), nullable=False),
        sa.Column("created", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("message_id", "digest"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "unique_id",
        sa.Column("unique_id", sa.Text(), nullable=False),
        sa.Column("object_class", sa.Text(), nullable=False),
        sa.Column("content_hash", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("unique_id"),
        sqlite_with_rowid=False,
    )
