"""The tables of the repository, and for each index the access that it serves."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    ForeignKey,
    Index,
    LargeBinary,
    MetaData,
    String,
    Table,
    UniqueConstraint,
)

from shared.audit.outbox import audit_outbox

metadata = MetaData()

# The identity of a document's bytes: one uniqueId, one content, for ever.
document = Table(
    "document",
    metadata,
    Column("unique_id", String, primary_key=True),
    Column("sha256", String, nullable=False),
    Column("sha1", String, nullable=False),
    Column("size", BigInteger, nullable=False),
    # the sweep asks whether a blob is still referred to
    Index("document_sha256", "sha256"),
)

provision = Table(
    "provision",
    metadata,
    Column("provision_id", String, primary_key=True),
    Column("message_id", String, nullable=False),
    Column("digest", String, nullable=False),
    Column("registration_message_id", String, nullable=False),
    Column("registration", LargeBinary, nullable=False),
    Column("state", String, nullable=False),
    Column("answer", LargeBinary, nullable=False),
    Column("created", Float, nullable=False),
    # a retry is the same message with the same content
    UniqueConstraint("message_id", "digest"),
    # the janitor asks for what has no outcome yet, oldest first
    Index("provision_state_created", "state", "created"),
)

# What a retrieval must know of a document to ask for consent; one row for each submission that provided it.
provided_document = Table(
    "provided_document",
    metadata,
    Column("provision_id", String, ForeignKey("provision.provision_id"), primary_key=True),
    Column("unique_id", String, ForeignKey("document.unique_id"), primary_key=True),
    Column("patient_id", String, nullable=False),
    Column("confidentiality", String, nullable=False),
    Column("class_code", String, nullable=False),
    Column("type_code", String, nullable=False),
    Column("mime_type", String, nullable=False),
    # ITI-43 asks by uniqueId
    Index("provided_document_unique_id", "unique_id"),
)

# Documents that were removed (ITI-86), and when, in seconds since 1970: their uniqueId never gets other
# bytes, and their own bytes stay for the grace time.
removed_document = Table(
    "removed_document",
    metadata,
    Column("unique_id", String, ForeignKey("document.unique_id"), primary_key=True),
    Column("removed", Float, nullable=False),
)

outbox = audit_outbox(metadata)
