"""Who did what with a patient's data, from the records of both sides of every exchange."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from audit_repository.domain.sources import Standing
from shared.audit.events import STUDY_INSTANCE_UID

RETRIEVALS = frozenset({"ITI-39", "ITI-43", "ITI-68", "RAD-16", "RAD-55", "RAD-69", "RAD-75", "RAD-107"})
QUERY = "110112"
# Purposes of use (HL7 ActReason), for records that give the code alone.
_MEANINGS = {
    "TREAT": "treatment",
    "ETREAT": "emergency treatment",
    "BTG": "break the glass",
    "COC": "coordination of care",
    "HPAYMT": "payment",
    "HOPERAT": "healthcare operations",
    "HRESCH": "research",
    "PATRQT": "patient's request",
    "PUBHLTH": "public health",
}
# Both sides of one exchange record it, each at its own moment and by its own clock.
SAME_EXCHANGE_SECONDS = 120


class Manner(StrEnum):
    """What kind of access it was, as an auditor asks."""

    SAW = "saw"
    SEARCHED = "searched for"
    REFUSED = "was refused"
    TRIED = "tried and failed"
    CHANGED = "added or changed"
    DOUBTFUL = "is named by nodes that are not who they say"


@dataclass(frozen=True, slots=True)
class Access:
    """One exchange; `transaction` is its code, `named` says it in words, and `human` whether a user was
    named, else `who` is the system that asked.

    `patients` are the ids under which it was recorded, as they were then. `reported_by` are the sources of
    its records, with what is known of each (`reporter`), and `records` their places.
    """

    time: datetime
    who: str
    human: bool
    roles: tuple[str, ...]
    purposes: tuple[str, ...]
    manner: Manner
    transaction: str
    named: str
    outcome: int
    description: str
    objects: tuple[str, ...]
    patients: tuple[str, ...]
    studies: tuple[str, ...]
    reported_by: tuple[str, ...]
    records: tuple[int, ...] = ()


def accesses(records: Iterable[dict[str, Any]]) -> list[Access]:
    """The exchanges that parsed `records` (as the audit repository shows them) tell of, oldest first."""
    entries: list[Access] = []
    for record in sorted(records, key=lambda record: str(record["time"])):
        access = _access(record)
        twin = _twin(entries, access)
        if twin is None:
            entries.append(access)
        else:
            entries[twin] = _merged(entries[twin], access)
    return entries


def _access(record: dict[str, Any]) -> Access:
    humans = [one for one in record["participants"] if one["name_id"]]
    asking = [one for one in record["participants"] if one["requestor"]] or record["participants"]
    who = humans or asking
    return Access(
        time=datetime.fromisoformat(record["time"]),
        who=who[0]["user_name"] or who[0]["user_id"] if who else "",
        human=bool(humans),
        roles=tuple(in_words(role) for one in humans for role in one["roles"]),
        purposes=tuple(map(in_words, record["purposes"])),
        manner=_manner(record),
        transaction=_kind(record)["code"],
        named=f"{_kind(record)['code']} {_kind(record)['text']}".rstrip(),
        outcome=record["outcome"],
        description=record["description"],
        objects=tuple(item["id"] for item in record["objects"]),
        patients=tuple(record["patients"]),
        studies=studies_of(record),
        reported_by=(reporter(record),),
        records=(record["sequence"],),
    )


def reporter(record: dict[str, Any]) -> str:
    """Who tells it: the AuditSourceID, and the node that delivered the record unless that is its own."""
    node = record["subject"] or record["peer"] or "a node that is not known"
    if record["fingerprint"] and record["standing"] != Standing.PROVED:
        node = f"{node} (SHA-256 {record['fingerprint'][:16]}…)"
    match Standing(record["standing"]):
        case Standing.PROVED:
            return str(record["source"])
        case Standing.CLAIMED:
            return f"{record['source']}, claimed by {node}"
        case Standing.MISMATCHED:
            return f"NOT {record['source']}: sent by {node}"
        case Standing.UNKNOWN:
            return f"{record['source']}, as {node} said; nodes were not compared then"


def studies_of(record: dict[str, Any]) -> tuple[str, ...]:
    """The Study Instance UIDs that a record names."""
    return tuple(
        item["id"] for item in record["objects"] if item["id_type"]["code"] == STUDY_INSTANCE_UID.code
    )


def in_words(code: dict[str, str]) -> str:
    """A code as people read it: its text, or what the code is known to mean, or itself."""
    return code["text"] or _MEANINGS.get(code["code"], code["code"])


def _kind(record: dict[str, Any]) -> dict[str, str]:
    kind: dict[str, str] = (record["types"] or [record["event"]])[-1]
    return kind


def _manner(record: dict[str, Any]) -> Manner:
    if record["standing"] == Standing.MISMATCHED:
        return Manner.DOUBTFUL
    if record["outcome"]:
        return Manner.REFUSED if record["refused"] else Manner.TRIED
    if record["event"]["code"] == QUERY:
        return Manner.SEARCHED
    if RETRIEVALS.intersection(code["code"] for code in record["types"]):
        return Manner.SAW
    return Manner.CHANGED


def _twin(entries: Sequence[Access], access: Access) -> int | None:
    """Index of the other side's record of the same exchange.

    Of a refusal that looks like absence the side that asked knows nothing: its record tells of a search that
    found nothing, or of a retrieval that failed.
    """
    near = [
        index
        for index in range(len(entries) - 1, -1, -1)
        if (access.time - entries[index].time).total_seconds() <= SAME_EXCHANGE_SECONDS
        and _may_be_twins(entries[index], access)
    ]
    same = (index for index in near if _told(entries[index]) == _told(access))
    unlike = (index for index in near if Manner.REFUSED in (entries[index].manner, access.manner))
    return next(same, next(unlike, None))


def _may_be_twins(one: Access, other: Access) -> bool:
    def exchange(access: Access) -> tuple[object, ...]:
        return (access.who, access.transaction, frozenset(access.objects))

    return (
        Manner.DOUBTFUL not in (one.manner, other.manner)
        and not set(one.reported_by) & set(other.reported_by)
        and exchange(one) == exchange(other)
    )


def _told(access: Access) -> tuple[Manner, int]:
    return access.manner, access.outcome


def _merged(one: Access, other: Access) -> Access:
    if other.manner is Manner.REFUSED:
        one, other = other, one
    return Access(
        time=one.time,
        who=one.who,
        human=one.human,
        roles=one.roles or other.roles,
        purposes=one.purposes or other.purposes,
        manner=one.manner,
        transaction=one.transaction,
        named=one.named,
        outcome=one.outcome,
        description=one.description or other.description,
        objects=one.objects,
        patients=tuple(dict.fromkeys((*one.patients, *other.patients))),
        studies=one.studies or other.studies,
        reported_by=(*one.reported_by, *other.reported_by),
        records=(*one.records, *other.records),
    )
