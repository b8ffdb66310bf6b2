"""The tables of the identity service."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Index, MetaData, Table, Text

from shared.audit.outbox import audit_outbox

metadata = MetaData()
MIGRATIONS = "identity.store:migrations"

person = Table(
    "person",
    metadata,
    Column("name", Text, primary_key=True),
    # the person as JSON, without logins
    Column("content", Text, nullable=False),
    Column("disabled", Boolean, nullable=False),
)

# A login is of one person.
login = Table(
    "login",
    metadata,
    Column("issuer", Text, primary_key=True),
    Column("subject", Text, primary_key=True),
    Column("name", Text, nullable=False),
    # the logins of a person
    Index("login_of_person", "name"),
)

outbox = audit_outbox(metadata)
