"""How a database fails, in terms that callers act on.

DatabaseError
  DatabaseBusy          contention; the same work may succeed a moment later
  DatabaseFull          no space is left; reads go on
  DatabaseUnavailable   it cannot be reached, read or written
    DatabaseAway        it does not answer, and may in a moment
  OutcomeUnknown        the connection broke while a commit was under way
  UniqueViolation       the work inserts what a unique index already holds
  SchemaError           the schema is of another release, or damaged
"""

from __future__ import annotations


class DatabaseError(Exception):
    """The database could not do the work; nothing of it was committed unless a subclass says otherwise."""


class DatabaseBusy(DatabaseError):
    """Others hold what the work needs, and retrying did not help; try later."""


class DatabaseFull(DatabaseError):
    """The disk or a quota is full; nothing was committed, and reads go on."""


class DatabaseUnavailable(DatabaseError):
    """The database cannot be reached, read or written."""


class DatabaseAway(DatabaseUnavailable):
    """The database does not answer now, and may in a moment; another setting is not what is needed."""


class OutcomeUnknown(DatabaseError):
    """The connection broke during COMMIT: the work is either whole or absent, and only asking tells."""


class UniqueViolation(DatabaseError):
    """A unique index holds one of the values already; work that can meet this reads before it inserts."""


class SchemaError(DatabaseError):
    """The schema cannot be used by this release; the text says what to do."""
