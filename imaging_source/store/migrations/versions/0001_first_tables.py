"""The first tables of the imaging source; already there where a release without revisions wrote them."""

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
        "described_study",
        sa.Column("study_instance_uid", sa.Text(), nullable=False),
        sa.Column("document_unique_id", sa.Text(), nullable=False),
        sa.Column("patient_id", sa.Text(), nullable=False),
        sa.Column("department_patient_id", sa.Text(), nullable=False),
        sa.Column("confidentiality", sa.Text(), nullable=False),
        sa.Column("class_code", sa.Text(), nullable=False),
        sa.Column("type_code", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("study_instance_uid"),
        if_not_exists=True,
    )
    op.create_table(
        "instance",
        sa.Column("sop_instance_uid", sa.Text(), nullable=False),
        sa.Column("study_instance_uid", sa.Text(), nullable=False),
        sa.Column("series_instance_uid", sa.Text(), nullable=False),
        sa.Column("sop_class_uid", sa.Text(), nullable=False),
        sa.Column("transfer_syntax_uid", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("patient_id", sa.Text(), nullable=False),
        sa.Column("issuer_local", sa.Text(), nullable=False),
        sa.Column("issuer_universal_id", sa.Text(), nullable=False),
        sa.Column("issuer_universal_id_type", sa.Text(), nullable=False),
        sa.Column("accession_number", sa.Text(), nullable=False),
        sa.Column("modality", sa.Text(), nullable=False),
        sa.Column("series_number", sa.BigInteger(), nullable=True),
        sa.Column("instance_number", sa.BigInteger(), nullable=True),
        sa.Column("number_of_frames", sa.Integer(), nullable=False),
        sa.Column("rows", sa.Integer(), nullable=True),
        sa.Column("columns", sa.Integer(), nullable=True),
        sa.Column("samples_per_pixel", sa.Integer(), nullable=False),
        sa.Column("bits_allocated", sa.Integer(), nullable=True),
        sa.Column("has_pixels", sa.Integer(), nullable=False),
        sa.Column("metadata_size", sa.Integer(), nullable=False),
        sa.Column("received_at", sa.Text(), nullable=False),
        sa.Column("header", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("sop_instance_uid"),
        if_not_exists=True,
    )
    op.create_index("instance_by_sha256", "instance", ["sha256"], unique=False, if_not_exists=True)
    op.create_index("instance_of_patient", "instance", ["patient_id"], unique=False, if_not_exists=True)
    op.create_index(
        "instance_of_series",
        "instance",
        ["study_instance_uid", "series_instance_uid"],
        unique=False,
        if_not_exists=True,
    )
    op.create_table(
        "instance_metadata",
        sa.Column("sop_instance_uid", sa.Text(), nullable=False),
        sa.Column("json", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("sop_instance_uid"),
        if_not_exists=True,
    )
    op.create_table(
        "pixel_data",
        sa.Column("sop_instance_uid", sa.Text(), nullable=False),
        sa.Column("offset", sa.BigInteger(), nullable=False),
        sa.Column("length", sa.BigInteger(), nullable=False),
        sa.Column("fragments", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("sop_instance_uid"),
        if_not_exists=True,
    )
    op.create_table(
        "publication",
        sa.Column("publication_id", sa.Text(), nullable=False),
        sa.Column("study_instance_uid", sa.Text(), nullable=False),
        sa.Column("serial", sa.Integer(), nullable=False),
        sa.Column("patient_id", sa.Text(), nullable=False),
        sa.Column("department_patient_id", sa.Text(), nullable=False),
        sa.Column("confidentiality", sa.Text(), nullable=False),
        sa.Column("class_code", sa.Text(), nullable=False),
        sa.Column("type_code", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("message_id", sa.Text(), nullable=False),
        sa.Column("entry_uuid", sa.Text(), nullable=False),
        sa.Column("replacement_uuid", sa.Text(), nullable=False),
        sa.Column("document_unique_id", sa.Text(), nullable=False),
        sa.Column("submission_set_unique_id", sa.Text(), nullable=False),
        sa.Column("document", sa.LargeBinary(), nullable=False),
        sa.Column("submission", sa.LargeBinary(), nullable=False),
        sa.Column("replaces", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("in_doubt", sa.Integer(), nullable=False),
        sa.Column("due", sa.BigInteger(), nullable=False),
        sa.Column("lease_until", sa.BigInteger(), nullable=False),
        sa.Column("errors", sa.Text(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("changed", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("publication_id"),
        if_not_exists=True,
    )
    op.create_index("publication_due", "publication", ["state", "due"], unique=False, if_not_exists=True)
    op.create_index(
        "publication_of_study",
        "publication",
        ["study_instance_uid", "serial"],
        unique=True,
        if_not_exists=True,
    )
    op.create_table(
        "transfer",
        sa.Column("transfer_id", sa.Text(), nullable=False),
        sa.Column("sender", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("transfer_id"),
        if_not_exists=True,
    )
    op.create_table(
        "transfer_content",
        sa.Column("transfer_id", sa.Text(), nullable=False),
        sa.Column("study_instance_uid", sa.Text(), nullable=False),
        sa.Column("patient_id", sa.Text(), nullable=False),
        sa.Column("sop_class_uid", sa.Text(), nullable=False),
        sa.Column("fate", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("last_at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("transfer_id", "study_instance_uid", "patient_id", "sop_class_uid", "fate"),
        if_not_exists=True,
    )
