"""Tables of no service, for tests of the database itself."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "thing",
        sa.Column("name", sa.Text(), primary_key=True),
        sa.Column("number", sa.BigInteger()),
        sa.Column("octets", sa.LargeBinary()),
    )
    op.create_table(
        "part",
        sa.Column("id", sa.Integer(), primary_key=True, autoincrement=True),
        sa.Column("thing", sa.Text(), sa.ForeignKey("thing.name")),
    )
    op.create_index("part_of_thing", "part", ["thing"])
    op.create_table("number", sa.Column("value", sa.Integer(), primary_key=True))
    op.create_table(
        "audit_outbox",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True),
        sa.Column("octets", sa.LargeBinary(), nullable=False),
        sa.Column("created", sa.Text(), nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "audit_outbox_copy",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True),
        sa.Column("destination", sa.Text(), nullable=False),
        sa.Column("octets", sa.LargeBinary(), nullable=False),
        sa.Column("created", sa.Text(), nullable=False),
        sqlite_autoincrement=True,
    )
