"""Reports that messages brought: their documents, what is to become of each, and what is registered of it.

A row is written with the acknowledgement of its message. What is under way is a message of ITI-41 that is
frozen in the row, and is sent as it is until its outcome is known. Times are milliseconds since 1970.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, astuple, dataclass
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    and_,
    bindparam,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.sql.dml import Update

from imaging_source.domain.imaging_reports import (
    OrderNumber,
    ReportKind,
    ReportObstacle,
    ReportState,
    ReportStatus,
    needs_person,
)
from imaging_source.domain.orders import PatientIdentifier
from imaging_source.domain.report_entries import DescribedReport
from imaging_source.store.tables import metadata, study
from shared.ebrim.model import Code
from shared.store.engine import Database, Reader, Row, Transaction
from shared.store.statements import by_name, in_list

# One row for each version of each document. `sent_key` is what its sender calls the report, `report_key` what
# the first version was called; `part` counts its documents, `serial` their versions; `parent` is what the
# sender calls the report that one is an addendum to. `beside`, `registered_for`, `entry_uuid` and
# `appended_to` are what is registered of it: study, patient, entry, and the entry to which it is appended.
# `message_id` and `submission` are the message that is under way. `due` is NULL where nothing is to be done.
imaging_report = Table(
    "imaging_report",
    metadata,
    Column("report_id", Text, primary_key=True),
    Column("report_key", Text, nullable=False),
    Column("sent_key", Text, nullable=False),
    Column("part", Integer, nullable=False),
    Column("serial", Integer, nullable=False),
    Column("parent", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("patients", LargeBinary, nullable=False),
    Column("study_instance_uid", Text, nullable=False),
    Column("accession_number", Text, nullable=False),
    Column("accepted_for", Text, nullable=False),
    Column("description", LargeBinary, nullable=False),
    Column("digest", Text, nullable=False),
    Column("document", LargeBinary, nullable=False),
    Column("state", Text, nullable=False),
    Column("obstacle", Text, nullable=False),
    Column("errors", Text, nullable=False),
    Column("beside", Text, nullable=False),
    Column("registered_for", Text, nullable=False),
    Column("entry_uuid", Text, nullable=False),
    Column("appended_to", Text, nullable=False),
    Column("message_id", Text, nullable=False),
    Column("submission", LargeBinary, nullable=False),
    Column("in_doubt", Integer, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("due", BigInteger),
    Column("created", BigInteger, nullable=False),
    Column("changed", BigInteger, nullable=False),
    # The versions of a report.
    Index("imaging_report_by_key", "report_key", "part", "serial", unique=True),
    # The report of a version.
    Index("imaging_report_by_sent_key", "sent_key"),
    # The addenda of a report.
    Index("imaging_report_of_parent", "parent"),
    # What is to be looked at now.
    Index("imaging_report_due", "due"),
    # What waits, and what a person has to decide about, the newest first.
    Index("imaging_report_by_state", "state", "obstacle", "created"),
    # Reports of a study, by whatever names it.
    Index("imaging_report_of_study", "study_instance_uid"),
    Index("imaging_report_by_accession", "accession_number"),
    Index("imaging_report_beside", "beside"),
    Index("imaging_report_accepted", "accepted_for"),
)

OPEN: Final = (ReportState.WAITING, ReportState.PUBLISHED, ReportState.REFUSED)
#: States of what is not registered, and may be.
UNREGISTERED: Final = (ReportState.WAITING, ReportState.REFUSED)
_AT_ONCE: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class NewReport:
    """A document of a report, as it is kept; see the table."""

    report_id: str
    sent_key: str
    replaces: str
    part: int
    parent: str
    status: ReportStatus
    patients: tuple[PatientIdentifier, ...]
    study_instance_uid: str
    accession_number: str
    description: DescribedReport
    digest: str
    document: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportRow:
    """A document of a report without its bytes; see the table."""

    report_id: str
    report_key: str
    sent_key: str
    part: int
    serial: int
    parent: str
    status: ReportStatus
    patients: tuple[PatientIdentifier, ...]
    study_instance_uid: str
    accession_number: str
    accepted_for: str
    description: DescribedReport
    digest: str
    state: ReportState
    obstacle: ReportObstacle | None
    errors: str
    beside: str
    registered_for: str
    entry_uuid: str
    appended_to: str
    message_id: str
    in_doubt: bool
    attempts: int
    due: int | None
    created: int
    changed: int

    @property
    def unique_id(self) -> str:
        """The uniqueId of the document."""
        return self.description.unique_id

    @property
    def needs_person(self) -> bool:
        """Whether it is not registered by itself."""
        return needs_person(self.state, self.obstacle)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenReports:
    """How many documents wait, how many were refused, and how many of both a person has to decide about."""

    waiting: int = 0
    refused: int = 0
    for_persons: int = 0


def _one_of(*states: ReportState) -> ColumnElement[bool]:
    return or_(*(imaging_report.c.state == state for state in states))


_COLUMNS: Final = tuple(
    column for column in imaging_report.c if column.name not in ("document", "submission")
)
_ALL = select(*_COLUMNS)
_NEWEST: Final = (imaging_report.c.created.desc(), imaging_report.c.report_id)
_ONE = _ALL.where(imaging_report.c.report_id == bindparam("report"))
_BYTES = select(imaging_report.c.document, imaging_report.c.submission).where(
    imaging_report.c.report_id == bindparam("report")
)
_OF_KEY = (
    _ALL.where(imaging_report.c.report_key == bindparam("key"))
    .order_by(imaging_report.c.part, imaging_report.c.serial.desc())
    .limit(1000)
)
_DUE = (
    _ALL.where(imaging_report.c.due <= bindparam("now"))
    .order_by(imaging_report.c.due, imaging_report.c.serial)
    .limit(_AT_ONCE)
)
_IN_STATES = in_list(imaging_report.c.state, "states")
_LIST = _ALL.where(_IN_STATES).order_by(*_NEWEST).limit(bindparam("limit"))
_LIST_FOR_PERSONS = (
    _ALL.where(
        or_(
            *(
                and_(imaging_report.c.state == state, imaging_report.c.obstacle == (obstacle or ""))
                for state in UNREGISTERED
                for obstacle in (None, *ReportObstacle)
                if needs_person(state, obstacle)
            )
        )
    )
    .order_by(*_NEWEST)
    .limit(bindparam("limit"))
)
_COUNT = (
    select(imaging_report.c.state, imaging_report.c.obstacle, func.count())
    .where(_one_of(*UNREGISTERED))
    .group_by(imaging_report.c.state, imaging_report.c.obstacle)
)


def _of_study(name: str) -> ColumnElement[bool]:
    """Whatever names a study, or is registered beside it."""
    accession = (
        select(study.c.accession_number)
        .where(study.c.study_instance_uid == bindparam(name), study.c.accession_number != "")
        .scalar_subquery()
    )
    return or_(
        imaging_report.c.study_instance_uid == bindparam(name),
        imaging_report.c.beside == bindparam(name),
        imaging_report.c.accepted_for == bindparam(name),
        and_(imaging_report.c.study_instance_uid == "", imaging_report.c.accession_number == accession),
    )


_LIST_OF_STUDY = _ALL.where(_of_study("study"), _IN_STATES).order_by(*_NEWEST).limit(bindparam("limit"))
_LOOK_AGAIN = (
    update(imaging_report)
    .where(
        _one_of(ReportState.WAITING, ReportState.PUBLISHED),
        _of_study("study"),
    )
    .values(due=bindparam("now"))
)
_KEY = (
    select(imaging_report.c.report_key)
    .where(in_list(imaging_report.c.sent_key, "names"))
    .order_by(imaging_report.c.created.desc())
    .limit(1)
)
_NAMES = select(imaging_report.c.sent_key).where(imaging_report.c.report_key == bindparam("key")).distinct()
_ADDENDA = (
    update(imaging_report)
    .where(
        imaging_report.c.parent.in_(_NAMES),
        _one_of(ReportState.WAITING, ReportState.PUBLISHED),
    )
    .values(due=bindparam("now"))
)
_INSERT = insert(imaging_report).values({column.name: bindparam(column.name) for column in imaging_report.c})
_ERASE = delete(imaging_report).where(
    imaging_report.c.entry_uuid == "", imaging_report.c.message_id == "", _of_study("study")
)


# --- kept -------------------------------------------------------------------------------------------


async def keep(transaction: Transaction, new: NewReport, now: int) -> None:
    """Keep a document as the version that counts; the same again is kept once.

    A version that is not registered and is not under way is overtaken by this one. One that was overtaken
    comes back by a correction alone: what arrives late changes nothing.
    """
    report_key = await key_of(transaction, new.sent_key, new.replaces) or new.replaces or new.sent_key
    versions = [one for one in await of_key(transaction, report_key) if one.part == new.part]
    last = versions[0] if versions else None
    is_corrected = new.status is ReportStatus.CORRECTED
    if last is not None and last.state is not ReportState.WITHDRAWN:
        is_same = last.digest == new.digest
        if is_same and (last.status is not ReportStatus.PRELIMINARY or last.status is new.status):
            return
        if any(one.digest == new.digest for one in versions[1:]) and not is_corrected:
            return
        if new.status is ReportStatus.PRELIMINARY and last.status is not ReportStatus.PRELIMINARY:
            return
    serial = last.serial + 1 if last is not None else 1
    await transaction.execute(_INSERT, **_row(new, report_key, serial=serial, now=now))
    for one in versions:
        if one.state in (ReportState.WAITING, ReportState.REFUSED) and not _is_registered(one):
            await change(transaction, one.report_id, now, state=ReportState.REPLACED, due=None, errors="")


def _is_registered(one: ReportRow) -> bool:
    """Whether something of it is registered, or may be."""
    return bool(one.entry_uuid or one.message_id)


async def cancel(transaction: Transaction, sent_key: str, now: int, *, beyond: int = 0) -> None:
    """Let the documents of a report be registered no more; those after the first `beyond`, if some stay."""
    report_key = await key_of(transaction, sent_key)
    for one in await of_key(transaction, report_key) if report_key else ():
        if one.part > beyond and one.state in OPEN:
            due = now if _is_registered(one) else None
            await change(transaction, one.report_id, now, state=ReportState.WITHDRAWN, due=due, errors="")


async def change(transaction: Transaction, report_id: str, now: int, **values: Any) -> None:
    """Let columns of a row have these values."""
    await transaction.execute(
        _change(tuple(sorted(values))),
        report=report_id,
        now=now,
        **{f"new_{name}": value for name, value in values.items()},
    )


@lru_cache(maxsize=64)
def _change(names: tuple[str, ...]) -> Update:
    return (
        update(imaging_report)
        .where(imaging_report.c.report_id == bindparam("report"))
        .values(
            changed=bindparam("now"),
            **{name: bindparam(f"new_{name}", type_=imaging_report.c[name].type) for name in names},
        )
    )


async def look_again(transaction: Transaction, study_instance_uid: str, now: int) -> None:
    """Let the reports of a study be looked at now: its manifest changed."""
    await transaction.execute(_LOOK_AGAIN, study=study_instance_uid, now=now)


async def look_at_addenda(transaction: Transaction, report_key: str, now: int) -> None:
    """Let the addenda of a report be looked at now: it changed."""
    await transaction.execute(_ADDENDA, key=report_key, now=now)


async def erase(database: Database, study_instance_uid: str) -> None:
    """Forget the reports of a study of which nothing is registered."""

    async def work(transaction: Transaction) -> None:
        await transaction.execute(_ERASE, study=study_instance_uid)

    await database.write(work)


# --- found ------------------------------------------------------------------------------------------


async def find(reader: Reader, report_id: str) -> ReportRow | None:
    """A document of a report, or None."""
    rows = await reader.fetch(_ONE, report=report_id)
    return _read(rows[0]) if rows else None


async def find_bytes(reader: Reader, report_id: str) -> tuple[bytes, bytes]:
    """The document of a report that is there, and the submission that is under way."""
    [(document, submission)] = await reader.fetch(_BYTES, report=report_id)
    return bytes(document), bytes(submission)


async def key_of(reader: Reader, *names: str) -> str:
    """The key of the report of which a version was called one of `names`; empty where there is none."""
    rows = await reader.fetch(_KEY, names=[name for name in names if name])
    return str(rows[0][0]) if rows else ""


async def of_key(reader: Reader, report_key: str) -> list[ReportRow]:
    """All documents of a report, the newest version of each part first."""
    return [_read(row) for row in await reader.fetch(_OF_KEY, key=report_key)]


async def find_due(database: Database, now: int) -> list[ReportRow]:
    """What is to be looked at now."""
    return [_read(row) for row in await database.fetch(_DUE, now=now)]


async def find_reports(
    database: Database,
    *,
    study_instance_uid: str = "",
    states: Iterable[ReportState] = tuple(ReportState),
    limit: int = 100,
) -> list[ReportRow]:
    """Reports, the newest first; of one study, or of all without it."""
    if study_instance_uid:
        rows = await database.fetch(
            _LIST_OF_STUDY, study=study_instance_uid, states=list(states), limit=limit
        )
    else:
        rows = await database.fetch(_LIST, states=list(states), limit=limit)
    return [_read(row) for row in rows]


async def find_for_persons(database: Database, *, limit: int) -> list[ReportRow]:
    """Reports that a person has to decide about, the newest first."""
    return [_read(row) for row in await database.fetch(_LIST_FOR_PERSONS, limit=limit)]


async def count_open(database: Database) -> OpenReports:
    """What is not registered."""
    counted = [
        (ReportState(state), ReportObstacle(obstacle) if obstacle else None, number)
        for state, obstacle, number in await database.fetch(_COUNT)
    ]
    return OpenReports(
        waiting=sum(number for state, _, number in counted if state is ReportState.WAITING),
        refused=sum(number for state, _, number in counted if state is ReportState.REFUSED),
        for_persons=sum(number for state, obstacle, number in counted if needs_person(state, obstacle)),
    )


# --- rows -------------------------------------------------------------------------------------------


def _row(new: NewReport, report_key: str, *, serial: int, now: int) -> dict[str, Any]:
    return {
        "report_id": new.report_id,
        "report_key": report_key,
        "sent_key": new.sent_key,
        "part": new.part,
        "serial": serial,
        "parent": new.parent,
        "status": new.status,
        "patients": json.dumps([astuple(one) for one in new.patients]).encode(),
        "study_instance_uid": new.study_instance_uid,
        "accession_number": new.accession_number,
        "accepted_for": "",
        "description": _described(new.description),
        "digest": new.digest,
        "document": new.document,
        "state": ReportState.WAITING,
        "obstacle": "",
        "errors": "",
        "beside": "",
        "registered_for": "",
        "entry_uuid": "",
        "appended_to": "",
        "message_id": "",
        "submission": b"",
        "in_doubt": 0,
        "attempts": 0,
        "due": now,
        "created": now,
        "changed": now,
    }


def _read(row: Row) -> ReportRow:
    values = by_name(_COLUMNS, row)
    patients: Sequence[Sequence[str]] = json.loads(values.pop("patients"))
    obstacle = values.pop("obstacle")
    return ReportRow(
        **{
            **values,
            "status": ReportStatus(values["status"]),
            "state": ReportState(values["state"]),
            "in_doubt": bool(values["in_doubt"]),
            "description": _undescribed(values["description"]),
        },
        patients=tuple(PatientIdentifier(*one) for one in patients),
        obstacle=ReportObstacle(obstacle) if obstacle else None,
    )


def _described(description: DescribedReport) -> bytes:
    return json.dumps(asdict(description), ensure_ascii=False).encode()


def _undescribed(octets: bytes) -> DescribedReport:
    values: dict[str, Any] = json.loads(octets)
    code, placer, procedure = (values.pop(name) for name in ("code", "placer", "procedure"))
    return DescribedReport(
        **{**values, "kind": ReportKind(values["kind"])},
        code=Code(**code) if code else None,
        placer=OrderNumber(**placer) if placer else None,
        procedure=Code(**procedure) if procedure else None,
    )
