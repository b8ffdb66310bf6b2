"""The tables of the trail. Into its records, and all that is signed, the product inserts and, heads apart,
never updates; it deletes the records of whole partitions alone, by a signed certificate (`retention`).
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, MetaData, Table, Text, text

metadata = MetaData()
MIGRATIONS = "audit_repository.store:migrations"

_NOT_PROVED = text("standing <> 'proved'")

audit_record = Table(
    "audit_record",
    metadata,
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("partition", Text, nullable=False),
    Column("received", Text, nullable=False),
    Column("peer", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("raw", LargeBinary, nullable=False),
    # a record that is sent again is known by it
    Column("digest", Text, nullable=False, unique=True),
    Column("state", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("event_time", Text, nullable=False),
    Column("event", Text, nullable=False),
    Column("outcome", Integer, nullable=True),
    Column("terms", Text, nullable=False),
    Column("chain", Text, nullable=False),
    Column("fingerprint", Text, nullable=False, server_default=""),
    Column("standing", Text, nullable=False, server_default="unknown"),
    # searches by time alone, newest first
    Index("audit_record_event_time", "event_time", "sequence"),
    # and by the node that delivered
    Index("audit_record_subject", "subject", "sequence"),
    Index("audit_record_fingerprint", "fingerprint", "sequence"),
    Index("audit_record_peer", "peer", "sequence"),
    Index(
        "audit_record_not_proved",
        "standing",
        "sequence",
        sqlite_where=_NOT_PROVED,
        postgresql_where=_NOT_PROVED,
    ),
)

# The search index: derived from `terms` of the record, which the chain covers; verification compares both.
audit_term = Table(
    "audit_term",
    metadata,
    Column("kind", Text, primary_key=True),
    Column("value", Text, primary_key=True),
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    # verification reads all terms of a range of records
    Index("audit_term_sequence", "sequence"),
    sqlite_with_rowid=False,
)

# What feeds say of ids, of records whose source is believed: derived from them, for the ids of a patient.
audit_identity = Table(
    "audit_identity",
    metadata,
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("patient", Text, primary_key=True),
    Column("action", Text, nullable=False),
    Column("message", Text, nullable=False),
    # microseconds since 1970
    Column("at", BigInteger, nullable=False),
    # by what an id was updated
    Index("audit_identity_of_patient", "patient", "action"),
    # and what else the same message deleted or updated
    Index("audit_identity_by_message", "message", "action", "at"),
)

# From which record on those that tell of a feed are still to be read: an older release may write on until the
# first start of this one.
audit_backlog = Table(
    "audit_backlog",
    metadata,
    Column("feed", Text, primary_key=True),
    Column("first", BigInteger, nullable=False),
)

audit_head = Table(
    "audit_head",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("partition", Text, nullable=False),
    Column("first", BigInteger, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("begin", Text, nullable=False),
    Column("chain", Text, nullable=False),
    Column("signature", LargeBinary, nullable=False),
)

audit_checkpoint = Table(
    "audit_checkpoint",
    metadata,
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("chain", Text, nullable=False),
    Column("time", Text, nullable=False),
    Column("previous", Text, nullable=False),
    Column("signature", LargeBinary, nullable=False),
)

# Partitions whose records retention gave up: what was there is signed, the head stays.
audit_given_up = Table(
    "audit_given_up",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("partition", Text, nullable=False),
    Column("first", BigInteger, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("chain", Text, nullable=False),
    Column("time", Text, nullable=False),
    Column("signature", LargeBinary, nullable=False),
)

# Legal holds: what one names stays, whatever retention says, until it is released.
audit_hold = Table(
    "audit_hold",
    metadata,
    Column("hold_id", Text, primary_key=True),
    # empty: any
    Column("patient", Text, nullable=False),
    Column("study", Text, nullable=False),
    Column("since", Text, nullable=False),
    Column("until", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("placed", Text, nullable=False),
    Column("placed_by", Text, nullable=False),
    # empty: it holds
    Column("released", Text, nullable=False),
    Column("released_by", Text, nullable=False),
)

# Up to which record each further receiver of the trail has had it.
audit_relay = Table(
    "audit_relay",
    metadata,
    Column("destination", Text, primary_key=True),
    Column("sequence", BigInteger, nullable=False),
)
