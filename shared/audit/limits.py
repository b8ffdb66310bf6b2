"""How large an audit record may be, and how much of what it is about it names; `shared.audit.bounds` keeps to
it, whatever an event holds."""

from __future__ import annotations

from typing import Final

#: Octets of one record, with its syslog header.
MAX_RECORD: Final = 60 * 1024
#: Objects that one record names; details and SOP classes that one object of it has.
MAX_OBJECTS: Final = 200
#: Instances that one event names of those that did not come.
MAX_NAMED: Final = 200
#: Octets of a query that are kept beside the digest of all of it.
MAX_QUERY: Final = 8 * 1024
#: Octets of any other value, as it is written.
MAX_VALUE: Final = 1024
#: Records that one event becomes at most; objects beyond them are counted.
MAX_PARTS: Final = 100
