"""What a record of each transaction consists of (ITI TF-2 3.x.5.1; RAD TF), as a table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class AuditedTransaction:
    """How a transaction is recorded.

    `events` are EventID and EventActionCode, of the client and of the server; `pattern` is push, query, pull,
    feed or change; `objects` those that every record has, of patient, set, query, document, study.
    """

    number: str
    events: frozenset[tuple[str, str]]
    pattern: str
    objects: tuple[str, ...] = ()
    by_message: bool = False


def _events(*pairs: str) -> frozenset[tuple[str, str]]:
    return frozenset((pair[:6], pair[6:]) for pair in pairs)


_PATIENT_RECORD: Final = _events("110110C", "110110U", "110110D")
_ASK: Final = _events("110112E")
_PUSHED: Final = _events("110106R", "110107C")
_UPDATED: Final = _events("110106U", "110107U")
_PULLED: Final = _events("110107C", "110106R")
_ACCESSED: Final = _events("110103R", "110103C", "110104R", "110102E")
_STORED: Final = _events("110102E", "110104C", "110104U", "110104R")

_LISTED: Final = (
    *(AuditedTransaction(f"ITI-{n}", _PATIENT_RECORD, "feed", ("patient",), True) for n in (8, 30)),
    AuditedTransaction("ITI-44", _PATIENT_RECORD, "feed", ("patient",)),
    *(AuditedTransaction(f"ITI-{n}", _ASK, "query", ("query",), True) for n in (9, 21)),
    *(AuditedTransaction(f"ITI-{n}", _ASK, "query", ("query",)) for n in (18, 38, 45, 47, 51, 55)),
    *(AuditedTransaction(f"ITI-{n}", _PUSHED, "push", ("patient", "set")) for n in (41, 42, 61)),
    *(AuditedTransaction(f"ITI-{n}", _UPDATED, "push", ("patient", "set")) for n in (57, 92)),
    *(AuditedTransaction(f"ITI-{n}", _PULLED, "pull", ("document",)) for n in (39, 43)),
    *(AuditedTransaction(f"ITI-{n}", _events("110110D"), "change") for n in (62, 86)),
    *(AuditedTransaction(f"RAD-{n}", _ACCESSED, "pull", ("study",)) for n in (55, 69, 75, 107)),
    *(AuditedTransaction(f"RAD-{n}", _STORED, "push", ("study",)) for n in (18, 108)),
    *(AuditedTransaction(f"RAD-{n}", _ASK, "query") for n in (14, 129)),
)
BY_NUMBER: Final = {one.number: one for one in _LISTED}

EVENTS: Final = frozenset(str(code) for code in range(110100, 110115))
ROLES: Final = {"source": "110153", "destination": "110152"}
