"""The tables of the repository, and for each index the access that it serves."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    UniqueConstraint,
)

from shared.audit.outbox import audit_outbox

metadata = MetaData()
MIGRATIONS = "repository.store:migrations"

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

# Documents that are made when they are asked for. A row stays for as long as something is to be done: an
# On-Demand entry always, a delayed one until its document is kept and the registry told (`update_message`,
# an ITI-57 that is sent until it is answered; empty before the document is made).
assembly = Table(
    "assembly",
    metadata,
    Column("unique_id", String, primary_key=True),
    Column("provision_id", String, ForeignKey("provision.provision_id"), nullable=False),
    Column("kind", String, nullable=False),
    Column("study_instance_uid", String, nullable=False),
    Column("entry_uuid", String, nullable=False),
    Column("patient_id", String, nullable=False),
    Column("source_patient_id", String, nullable=False),
    Column("confidentiality", String, nullable=False),
    Column("class_code", String, nullable=False),
    Column("type_code", String, nullable=False),
    Column("update_message_id", String, nullable=False),
    Column("update_message", LargeBinary, nullable=False),
    # a study is registered once
    Index("assembly_study", "study_instance_uid"),
    # the janitor asks for updates that were not answered
    Index("assembly_update", "update_message_id"),
    # a refused provision takes its entry with it
    Index("assembly_provision", "provision_id"),
)

# What On-Demand entries gave, as it was registered: the highest number is the one that is current, and takes
# the place of the one before it.
snapshot = Table(
    "snapshot",
    metadata,
    Column("provision_id", String, ForeignKey("provision.provision_id"), primary_key=True),
    Column("on_demand_unique_id", String, nullable=False),
    Column("number", Integer, nullable=False),
    Column("unique_id", String, nullable=False),
    Column("entry_uuid", String, nullable=False),
    # a retrieval asks for the last one
    UniqueConstraint("on_demand_unique_id", "number"),
)

outbox = audit_outbox(metadata)
