"""Reports beside a manifest and the registry agree again: what others did to their entries is followed, or
left to a person."""

from __future__ import annotations

from typing import Any, Final

from imaging_source.domain.drift import ReportDrift, of_report
from imaging_source.domain.imaging_reports import ReportObstacle, ReportState
from imaging_source.store import imaging_reports
from imaging_source.store.imaging_reports import ReportRow
from imaging_source.store.publications import PublicationState, PublicationStatus, now_ms
from imaging_source.transactions.drift import last_telling
from imaging_source.unit import Parts
from shared.messages.registrations import RegisteredDocument, Registrations
from shared.store.engine import Transaction
from shared.telemetry.log import logger

_log = logger(__name__)

_MOST: Final = 1000
_DRIFTED: Final = (ReportObstacle.ENDED_BY_OTHERS, ReportObstacle.GIVEN_AWAY)


async def examine(parts: Parts, study_instance_uid: str) -> tuple[ReportDrift, ...]:
    """Compare the reports beside a study with the registry; those that are on their way, or whose manifest
    is, are left alone.

    Raises
    ------
    RegistryAway
        The registry cannot be asked now.
    """
    manifest = await last_telling(parts, study_instance_uid)
    if manifest is None or manifest.state is not PublicationState.PUBLISHED:
        return ()
    newest_first = await imaging_reports.find_reports(
        parts.database,
        study_instance_uid=study_instance_uid,
        states=(ReportState.PUBLISHED, ReportState.WAITING),
        limit=_MOST,
    )
    # An addendum came after its report, and follows it.
    drifts = [await _examined(parts, row.report_id, manifest) for row in reversed(newest_first)]
    return tuple(one for one in drifts if one is not None)


async def _examined(parts: Parts, report_id: str, manifest: PublicationStatus) -> ReportDrift | None:
    row = await imaging_reports.find(parts.database, report_id)
    if row is None or not _rests(row, manifest):
        return None
    registrations = await parts.registry.find(manifest.patient_id, [row.unique_id])
    kind = of_report(row.unique_id, row.entry_uuid, manifest.patient_id, registrations)
    if kind is None or (row.obstacle is ReportObstacle.GIVEN_AWAY and kind is ReportDrift.GIVEN_AWAY):
        return None
    if await last_telling(parts, manifest.study_instance_uid) != manifest:
        # With the manifest that was replaced went what was appended to it.
        return None
    if not await _noted(parts, row, _after(row, kind, manifest, registrations)):
        return None
    tell = _log.warning if kind.needs_person else _log.info
    tell("a report drifted", report=row.report_id, drift=kind)
    return kind


def _rests(row: ReportRow, manifest: PublicationStatus) -> bool:
    """Whether nothing is under way of what is registered of it, or was until others ended that."""
    if row.message_id or row.due is not None or row.beside != manifest.study_instance_uid:
        return False
    if row.state is ReportState.PUBLISHED:
        return bool(row.entry_uuid)
    return row.state is ReportState.WAITING and row.obstacle in _DRIFTED


def _after(
    row: ReportRow, kind: ReportDrift, manifest: PublicationStatus, registrations: Registrations
) -> dict[str, Any]:
    """The columns of a row that drifted; what is not for a person is looked at at once."""
    if kind is ReportDrift.ENDED_BY_OTHERS:
        return {
            "state": ReportState.WAITING,
            "obstacle": ReportObstacle.ENDED_BY_OTHERS,
            "entry_uuid": "",
            "appended_to": "",
        }
    approved = [one for one in registrations.documents if one.approved and one.unique_id == row.unique_id]
    ours = [one for one in approved if one.patient_id == manifest.patient_id]
    if kind is ReportDrift.GIVEN_AWAY:
        obstacle = ReportObstacle.GIVEN_AWAY
        return {"state": ReportState.WAITING, "obstacle": obstacle, **_registered(approved[-1])}
    return {"state": ReportState.PUBLISHED, "obstacle": "", "due": now_ms(), **_registered(ours[-1])}


def _registered(document: RegisteredDocument) -> dict[str, str]:
    return {"entry_uuid": document.entry_uuid, "registered_for": document.patient_id}


async def _noted(parts: Parts, row: ReportRow, values: dict[str, Any]) -> bool:
    """Keep it, and let addenda follow; not where the row changed meanwhile."""

    async def work(transaction: Transaction) -> bool:
        if await imaging_reports.find(transaction, row.report_id) != row:
            return False
        now = now_ms()
        await imaging_reports.change(transaction, row.report_id, now, **values)
        await imaging_reports.look_at_addenda(transaction, row.report_key, now)
        return True

    return await parts.database.write(work)
