"""What a department's messages say of studies and patients."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None
additive = True


def upgrade() -> None:
    op.create_table(
        "hl7_message",
        sa.Column("control_id", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("acknowledgement", sa.LargeBinary(), nullable=False),
        sa.Column("created", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("control_id", "digest"),
        if_not_exists=True,
    )
    op.create_index("hl7_message_by_time", "hl7_message", ["created"], unique=False, if_not_exists=True)
    op.create_table(
        "study_order",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("patients", sa.LargeBinary(), nullable=False),
        sa.Column("received_at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
        if_not_exists=True,
    )
    op.create_index("study_order_by_time", "study_order", ["received_at"], unique=False, if_not_exists=True)
    op.create_table(
        "corrected_study",
        sa.Column("study_instance_uid", sa.Text(), nullable=False),
        sa.Column("noted_at", sa.Text(), nullable=False),
        sa.Column("due_at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("study_instance_uid"),
        if_not_exists=True,
    )
    op.create_index(
        "corrected_study_by_time", "corrected_study", ["due_at"], unique=False, if_not_exists=True
    )
