"""The first tables of the repository; already there where a release without revisions wrote them."""

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
        if_not_exists=True,
    )
    op.create_table(
        "document",
        sa.Column("unique_id", sa.String(), nullable=False),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("sha1", sa.String(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("unique_id"),
        if_not_exists=True,
    )
    op.create_index("document_sha256", "document", ["sha256"], unique=False, if_not_exists=True)
    op.create_table(
        "provision",
        sa.Column("provision_id", sa.String(), nullable=False),
        sa.Column("message_id", sa.String(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("registration_message_id", sa.String(), nullable=False),
        sa.Column("registration", sa.LargeBinary(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("answer", sa.LargeBinary(), nullable=False),
        sa.Column("created", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("provision_id"),
        sa.UniqueConstraint("message_id", "digest"),
        if_not_exists=True,
    )
    op.create_index(
        "provision_state_created", "provision", ["state", "created"], unique=False, if_not_exists=True
    )
    op.create_table(
        "assembly",
        sa.Column("unique_id", sa.String(), nullable=False),
        sa.Column("provision_id", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("study_instance_uid", sa.String(), nullable=False),
        sa.Column("entry_uuid", sa.String(), nullable=False),
        sa.Column("patient_id", sa.String(), nullable=False),
        sa.Column("source_patient_id", sa.String(), nullable=False),
        sa.Column("confidentiality", sa.String(), nullable=False),
        sa.Column("class_code", sa.String(), nullable=False),
        sa.Column("type_code", sa.String(), nullable=False),
        sa.Column("update_message_id", sa.String(), nullable=False),
        sa.Column("update_message", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["provision_id"], ["provision.provision_id"]),
        sa.PrimaryKeyConstraint("unique_id"),
        if_not_exists=True,
    )
    op.create_index("assembly_provision", "assembly", ["provision_id"], unique=False, if_not_exists=True)
    op.create_index("assembly_study", "assembly", ["study_instance_uid"], unique=False, if_not_exists=True)
    op.create_index("assembly_update", "assembly", ["update_message_id"], unique=False, if_not_exists=True)
    op.create_table(
        "provided_document",
        sa.Column("provision_id", sa.String(), nullable=False),
        sa.Column("unique_id", sa.String(), nullable=False),
        sa.Column("patient_id", sa.String(), nullable=False),
        sa.Column("confidentiality", sa.String(), nullable=False),
        sa.Column("class_code", sa.String(), nullable=False),
        sa.Column("type_code", sa.String(), nullable=False),
        sa.Column("mime_type", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["provision_id"], ["provision.provision_id"]),
        sa.ForeignKeyConstraint(["unique_id"], ["document.unique_id"]),
        sa.PrimaryKeyConstraint("provision_id", "unique_id"),
        if_not_exists=True,
    )
    op.create_index(
        "provided_document_unique_id", "provided_document", ["unique_id"], unique=False, if_not_exists=True
    )
    op.create_table(
        "removed_document",
        sa.Column("unique_id", sa.String(), nullable=False),
        sa.Column("removed", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["unique_id"], ["document.unique_id"]),
        sa.PrimaryKeyConstraint("unique_id"),
        if_not_exists=True,
    )
    op.create_table(
        "snapshot",
        sa.Column("provision_id", sa.String(), nullable=False),
        sa.Column("on_demand_unique_id", sa.String(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("unique_id", sa.String(), nullable=False),
        sa.Column("entry_uuid", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["provision_id"], ["provision.provision_id"]),
        sa.PrimaryKeyConstraint("provision_id"),
        sa.UniqueConstraint("on_demand_unique_id", "number"),
        if_not_exists=True,
    )
