"""How records of the trail and the accesses that they tell of are shown: as lists, as CSV, as JSON."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, TextIO

import typer

from audit_repository.domain.accesses import Access, in_words, reporter, studies_of
from audit_repository.domain.record import RecordState, name_id
from audit_repository.domain.spreadsheet import write_csv
from shared.ebrim.identifiers import CX
from xdsi.listing import Cell, Column, counted, show

_RECORDS = (
    Column("#"),
    Column("time"),
    Column("what"),
    Column("outcome"),
    Column("reported by"),
    Column("user", is_id=True),
    Column("patient", is_id=True),
    Column("study", is_id=True),
)
_ACCESSES = (
    Column("role"),
    Column("purpose"),
    Column("by"),
    Column("times"),
    Column("first"),
    Column("last"),
    Column("reported by"),
    Column("user", is_id=True),
    Column("issuer", is_id=True),
    Column("recorded under", is_id=True),
    Column("study", is_id=True),
)
_GAPS = (
    Column("record"),
    Column("time"),
    Column("what"),
    Column("more"),
    Column("source", is_id=True),
)
# EventOutcomeIndicator (DICOM PS3.15 A.5.1).
_OUTCOMES = {0: "success", 4: "minor failure", 8: "serious failure", 12: "major failure"}


def show_records(records: Sequence[dict[str, Any]], affinity_domain: str) -> None:
    """Print records as a list; ids of the affinity domain are bare, as commands take them."""
    typer.echo(counted(len(records), "record"))
    show(_RECORDS, (_row(record, affinity_domain) for record in records))


def show_accesses(accesses: Iterable[Access], affinity_domain: str) -> None:
    """Print accesses of one manner as a list, those alike in one row, the latest first."""
    alike: dict[tuple[Any, ...], list[Access]] = defaultdict(list)
    for access in accesses:
        told_as = (access.roles, access.purposes, access.named, access.who, access.patients, access.studies)
        alike[told_as].append(access)
    groups = sorted(alike.values(), key=lambda group: max(each.time for each in group), reverse=True)
    show(_ACCESSES, (_group(group, affinity_domain) for group in groups))


def show_gaps(gaps: Sequence[dict[str, Any]]) -> None:
    """Print gaps as a list."""
    typer.echo(counted(len(gaps), "gap"))
    show(
        _GAPS,
        ((gap["record"], _local(gap["time"]), gap["meaning"], gap["text"], gap["source"]) for gap in gaps),
    )


def show_access(access: Access) -> dict[str, Any]:
    """An access for JSON."""
    return {
        "time": access.time.isoformat(),
        "who": access.who,
        "human": access.human,
        "roles": access.roles,
        "purposes": access.purposes,
        "manner": access.manner.value,
        "transaction": access.transaction,
        "outcome": access.outcome,
        "description": access.description,
        "objects": access.objects,
        "patients": access.patients,
        "studies": access.studies,
        "reported_by": access.reported_by,
    }


def write_records(file: TextIO, records: Iterable[dict[str, Any]]) -> None:
    """Write records as CSV (RFC 4180) with a heading; several values of a cell are joined by `; `."""
    write_csv(file, _CSV_OF_RECORD, (_flat(record) for record in records))


def write_accesses(file: TextIO, accesses: Iterable[Access]) -> None:
    """Write accesses as CSV (RFC 4180) with a heading; several values of a cell are joined by `; `."""
    shown = (show_access(access) for access in accesses)
    write_csv(file, _CSV_OF_ACCESS, shown)


# --- records -----------------------------------------------------------------------------------------


def _row(record: dict[str, Any], affinity_domain: str) -> tuple[Cell, ...]:
    if record["state"] == RecordState.UNPARSED:
        why = (record["reason"], record["subject"] or record["peer"])
        return (record["sequence"], _local(record["received"]), "unparsed", *why, "", "", "")
    return (
        record["sequence"],
        _local(record["time"]),
        _what(record),
        _outcome(record),
        reporter(record),
        _users(record),
        tuple(_bare(patient, affinity_domain) for patient in record["patients"]),
        studies_of(record),
    )


def _what(record: dict[str, Any]) -> str:
    kinds = record["types"] or [record["event"]]
    return ", ".join(f"{code['code']} {code['text']}".rstrip() for code in kinds)


def _outcome(record: dict[str, Any]) -> str:
    if record["refused"]:
        word = "refused"
    else:
        word = _OUTCOMES.get(record["outcome"], f"outcome {record['outcome']}")
    description = record["description"]
    if record["refused"]:
        description = description.removeprefix("refused ")
    return f"{word}: {description}" if description else word


def _users(record: dict[str, Any]) -> tuple[str, ...]:
    """Who asked: the user where one is named, else the system."""
    asking = [one for one in record["participants"] if one["requestor"]]
    return tuple(dict.fromkeys(one["name_id"] or one["user_name"] or one["user_id"] for one in asking))


def _bare(patient_id: str, affinity_domain: str) -> str:
    try:
        cx = CX.parse(patient_id)
    except ValueError:
        return patient_id
    return cx.id if patient_id == str(CX(cx.id, affinity_domain)) else patient_id


def _local(time: str | datetime) -> str:
    at = datetime.fromisoformat(time) if isinstance(time, str) else time
    return f"{at.astimezone():%Y-%m-%d %H:%M:%S}"


# --- accesses ----------------------------------------------------------------------------------------


def _group(group: Sequence[Access], affinity_domain: str) -> tuple[Cell, ...]:
    one, times = group[0], [each.time for each in group]
    reporters = dict.fromkeys(name for each in group for name in each.reported_by)
    return (
        ", ".join(one.roles) if one.human else "a system",
        ", ".join(one.purposes),
        one.named,
        len(group),
        _local(min(times)),
        _local(max(times)),
        "; ".join(reporters),
        *_who(one),
        tuple(_bare(patient, affinity_domain) for patient in one.patients),
        one.studies,
    )


def _who(access: Access) -> tuple[str, str]:
    """Who asked as `--user` takes it, and who vouches for that."""
    user = name_id(access.who)
    return (user, access.who.rpartition("@")[2].rstrip(">")) if user else (access.who, "")


# --- CSV ---------------------------------------------------------------------------------------------

_CSV_OF_RECORD = (
    "sequence",
    "time",
    "what",
    "outcome",
    "description",
    "users",
    "roles",
    "purposes",
    "patients",
    "studies",
    "objects",
    "source",
    "node",
    "standing",
)
_CSV_OF_ACCESS = (
    "time",
    "who",
    "human",
    "roles",
    "purposes",
    "manner",
    "transaction",
    "outcome",
    "description",
    "patients",
    "studies",
    "objects",
    "reported_by",
)


def _flat(record: dict[str, Any]) -> dict[str, Any]:
    head = {
        "sequence": record["sequence"],
        "node": record["subject"] or record["peer"],
        "standing": record["standing"],
    }
    if record["state"] == RecordState.UNPARSED:
        return head | {"time": record["received"], "what": "unparsed", "description": record["reason"]}
    return head | {
        "time": record["time"],
        "what": _what(record),
        "outcome": "refused" if record["refused"] else _OUTCOMES.get(record["outcome"], record["outcome"]),
        "description": record["description"],
        "users": _users(record),
        "roles": [
            in_words(role) for one in record["participants"] for role in one["roles"] if one["name_id"]
        ],
        "purposes": list(map(in_words, record["purposes"])),
        "patients": record["patients"],
        "studies": studies_of(record),
        "objects": [item["id"] for item in record["objects"]],
        "source": record["source"],
    }
