"""Reports and what they wait for, for tools of this community: `POST /api/reports` and what is below it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from imaging_source.domain.imaging_reports import ReportState
from imaging_source.store import imaging_reports
from imaging_source.store.imaging_reports import ReportRow
from imaging_source.store.publications import decode_errors, now_ms
from imaging_source.unit import Unit
from shared.dicom.uids import MAX_UID, UID_PATTERN
from shared.http.problem import Conflict, NotFound
from shared.rest.message import JsonBody, json_accepted, json_response
from shared.rest.served import ServedRest
from shared.security.rights import Right
from shared.store.engine import Transaction


class _OfReports(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ReportsRequest(_OfReports):
    """Documents of reports, of one study or in some states; the newest first. With `for_persons` those alone
    that a person has to decide about."""

    study_instance_uid: str = Field("", pattern=r"^$|" + UID_PATTERN, max_length=MAX_UID)
    states: tuple[ReportState, ...] = tuple(ReportState)
    for_persons: bool = False
    limit: int = Field(100, ge=1, le=1000)


class ReportRequest(_OfReports):
    """One document of a report: registered no more, or tried again."""

    report_id: str = Field(max_length=64)


class AcceptReportRequest(_OfReports):
    """Decide that a report is of the study's patient, whatever PID-3 says; of which study, where it names
    none that is here."""

    report_id: str = Field(max_length=64)
    study_instance_uid: str = Field("", pattern=r"^$|" + UID_PATTERN, max_length=MAX_UID)


async def listed(unit: Unit, request: ReportsRequest) -> dict[str, Any]:
    """What became of reports, and what they wait for."""
    if request.for_persons:
        undecided = await imaging_reports.find_for_persons(unit.parts.database, limit=request.limit)
        return {"reports": [*map(shown, undecided)]}
    rows = await imaging_reports.find_reports(
        unit.parts.database,
        study_instance_uid=request.study_instance_uid,
        states=request.states,
        limit=request.limit,
    )
    return {"reports": [*map(shown, rows)]}


async def accept(unit: Unit, request: AcceptReportRequest) -> dict[str, str]:
    """Take a report for a study, and its patient."""
    row = await _waiting(unit, request.report_id)
    study = request.study_instance_uid or row.study_instance_uid
    if not study:
        raise Conflict("the report names its study by an accession number alone; say which study is meant")
    if await unit.parts.instances.last_received(study) is None:
        raise NotFound("no instance of this study is here")
    return await _decided(
        unit, row, state=ReportState.WAITING, accepted_for=study, obstacle="", errors="", due=now_ms()
    )


async def retry(unit: Unit, request: ReportRequest) -> dict[str, str]:
    """Try again now."""
    row = await _waiting(unit, request.report_id)
    return await _decided(unit, row, state=ReportState.WAITING, obstacle="", errors="", due=now_ms())


async def withdraw(unit: Unit, request: ReportRequest) -> dict[str, str]:
    """Register it no more, and deprecate what is registered of it."""
    row = await _found(unit, request.report_id)
    if row.state not in imaging_reports.OPEN:
        raise Conflict("the report is registered no more")
    return await _decided(unit, row, state=ReportState.WITHDRAWN, errors="", due=now_ms())


async def _decided(unit: Unit, row: ReportRow, **values: Any) -> dict[str, str]:
    async def work(transaction: Transaction) -> None:
        await imaging_reports.change(transaction, row.report_id, now_ms(), **values)

    await unit.parts.database.write(work)
    return {"report_id": row.report_id}


async def _waiting(unit: Unit, report_id: str) -> ReportRow:
    row = await _found(unit, report_id)
    if row.state not in imaging_reports.UNREGISTERED:
        raise Conflict(f"the report waits for nothing: it is {row.state}")
    return row


async def _found(unit: Unit, report_id: str) -> ReportRow:
    row = await imaging_reports.find(unit.parts.database, report_id)
    if row is None:
        raise NotFound("there is no report of this id; xdsi reports lists them")
    return row


def explanation(row: ReportRow) -> str:
    """Why a report is not registered, and what would help, in a sentence; empty where nothing is to do."""
    errors = "; ".join(f"{one.code}: {one.context}" for one in decode_errors(row.errors))
    if row.state is ReportState.REFUSED:
        return f"it was refused ({errors}); correct that, then xdsi reports --retry {row.report_id}"
    if row.state is ReportState.WITHDRAWN and row.entry_uuid:
        return f"it is about to be withdrawn{f' ({errors})' if errors else ''}"
    if row.state is not ReportState.WAITING:
        return ""
    if row.obstacle is not None:
        return row.obstacle.explanation
    return f"it is tried again by itself ({errors})" if errors else "it is about to be sent"


def shown(row: ReportRow) -> dict[str, Any]:
    """A report as JSON shows it: of whom it is and what it says is not told."""
    return {
        "report_id": row.report_id,
        "study_instance_uid": row.beside or row.accepted_for or row.study_instance_uid,
        "document_unique_id": row.unique_id,
        "kind": str(row.description.kind),
        "status": str(row.status),
        "state": str(row.state),
        "needs_person": row.needs_person,
        "received": _moment(row.created),
        "changed": _moment(row.changed),
        "errors": json.loads(row.errors or "[]"),
        "explanation": explanation(row),
    }


def _moment(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds")


SERVED: tuple[ServedRest[Any, Any], ...] = (
    ServedRest(
        name="Reports",
        routes=("POST /api/reports",),
        right=Right.PUBLISH,
        decode=JsonBody(ReportsRequest),
        handle=listed,
        encode=json_response,
    ),
    ServedRest(
        name="Accept report",
        routes=("POST /api/reports/accept",),
        right=Right.PUBLISH,
        decode=JsonBody(AcceptReportRequest),
        handle=accept,
        encode=json_accepted,
    ),
    ServedRest(
        name="Retry report",
        routes=("POST /api/reports/retry",),
        right=Right.PUBLISH,
        decode=JsonBody(ReportRequest),
        handle=retry,
        encode=json_accepted,
    ),
    ServedRest(
        name="Withdraw report",
        routes=("POST /api/reports/withdraw",),
        right=Right.PUBLISH,
        decode=JsonBody(ReportRequest),
        handle=withdraw,
        encode=json_accepted,
    ),
)
