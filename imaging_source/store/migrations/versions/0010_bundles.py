"""The other encoding of manifests that are registered in both."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None
additive = True


def upgrade() -> None:
    op.create_table(
        "published_bundle",
        sa.Column("publication_id", sa.Text(), nullable=False),
        sa.Column("study_instance_uid", sa.Text(), nullable=False),
        sa.Column("document_unique_id", sa.Text(), nullable=False),
        sa.Column("document", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("publication_id"),
        if_not_exists=True,
    )
    op.create_index(
        "published_bundle_of_study",
        "published_bundle",
        ["study_instance_uid"],
        unique=False,
        if_not_exists=True,
    )
