"""Reports that messages brought, until they are registered beside their images and after."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None
additive = True

_TEXTS = (
    "report_key",
    "sent_key",
    "parent",
    "status",
    "study_instance_uid",
    "accession_number",
    "accepted_for",
    "digest",
    "state",
    "obstacle",
    "errors",
    "beside",
    "registered_for",
    "entry_uuid",
    "appended_to",
    "message_id",
)
_OCTETS = ("patients", "description", "document", "submission")
_NUMBERS = ("part", "serial", "in_doubt", "attempts")


def upgrade() -> None:
    op.create_table(
        "imaging_report",
        sa.Column("report_id", sa.Text(), nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in _TEXTS),
        *(sa.Column(name, sa.LargeBinary(), nullable=False) for name in _OCTETS),
        *(sa.Column(name, sa.Integer(), nullable=False) for name in _NUMBERS),
        sa.Column("due", sa.BigInteger(), nullable=True),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("changed", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("report_id"),
        if_not_exists=True,
    )
    op.create_index(
        "imaging_report_by_key",
        "imaging_report",
        ["report_key", "part", "serial"],
        unique=True,
        if_not_exists=True,
    )
    for name, column in (
        ("by_sent_key", "sent_key"),
        ("of_parent", "parent"),
        ("due", "due"),
        ("of_study", "study_instance_uid"),
        ("by_accession", "accession_number"),
        ("beside", "beside"),
        ("accepted", "accepted_for"),
    ):
        op.create_index(
            f"imaging_report_{name}", "imaging_report", [column], unique=False, if_not_exists=True
        )
