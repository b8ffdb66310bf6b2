"""The tables of the identity service."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Index, LargeBinary, MetaData, Table, Text

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

# What a person signs in with here; one row for a password (key: name), an app (key: name), each passkey (key:
# its credential id).
credential = Table(
    "credential",
    metadata,
    Column("kind", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("name", Text, nullable=False),
    # a digest of a password; the secret of an app; the public key of a passkey
    Column("content", LargeBinary, nullable=False),
    # the step of an app's last code; the signatures that a passkey counted
    Column("used", BigInteger, nullable=False),
    # the credentials of a person
    Index("credential_of_person", "name"),
)

# What counts once while it holds: codes of people who signed in here, assertions by which clients proved
# themselves.
single_use = Table(
    "single_use",
    metadata,
    # a digest, which is worth nothing itself
    Column("key", Text, primary_key=True),
    # seconds since 1970
    Column("ends", BigInteger, nullable=False),
    # what a code is worth, JSON; empty for assertions
    Column("content", Text, nullable=False),
    # what can be forgotten
    Index("single_use_ends", "ends"),
)

# Attempts to sign in by password that were not right yet, of a name and from a node.
attempt = Table(
    "attempt",
    metadata,
    # a digest of the name, or of the node
    Column("key", Text, primary_key=True),
    # of the first one, in seconds since 1970
    Column("since", BigInteger, nullable=False),
    Column("number", BigInteger, nullable=False),
    # what can be forgotten
    Index("attempt_since", "since"),
)

# Challenges that passkeys sign.
challenge = Table(
    "challenge",
    metadata,
    # a digest of the number of the browser
    Column("browser", Text, primary_key=True),
    # seconds since 1970
    Column("ends", BigInteger, nullable=False),
    Column("challenge", Text, nullable=False),
    # what can be forgotten
    Index("challenge_ends", "ends"),
)

# Who is signed in at a browser.
session = Table(
    "session",
    metadata,
    # a digest of the number of the browser
    Column("key", Text, primary_key=True),
    # a digest of the person and the node
    Column("holder", Text, nullable=False),
    # seconds since 1970
    Column("began", BigInteger, nullable=False),
    Column("used", BigInteger, nullable=False),
    # who, from which node, and by what; JSON
    Column("content", Text, nullable=False),
    # the sessions of a person
    Index("session_of_holder", "holder", "began"),
    # what can be forgotten
    Index("session_used", "used"),
)

# The key by which pages seal what they give to browsers: one row, made by the first process.
page_key = Table(
    "page_key",
    metadata,
    Column("purpose", Text, primary_key=True),
    Column("content", LargeBinary, nullable=False),
)

outbox = audit_outbox(metadata)
