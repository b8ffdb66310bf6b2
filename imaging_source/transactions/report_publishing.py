"""Reports are registered beside the manifest of their study, and stay so as long as that is: Provide and
Register Imaging Document Set [RAD-68], of documents that messages brought.

What is registered follows what is true: the last version of each document, for the patient of the manifest,
appended to the manifest that is registered now. Whatever changes one of these lets the report be looked at.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from imaging_source.domain import manifest, report_entries
from imaging_source.domain.coding import NotPublishable
from imaging_source.domain.imaging_reports import ReportObstacle, ReportState
from imaging_source.domain.orders import OrderedStudy, OrderState
from imaging_source.domain.publishing import Names
from imaging_source.domain.reconciliation import CANNOT_REPLACE, UNKNOWN_PATIENT
from imaging_source.domain.report_entries import Links
from imaging_source.peers.registrations import RegistryAway
from imaging_source.store import imaging_reports, orders
from imaging_source.store.imaging_reports import ReportRow
from imaging_source.store.outbox import pause_seconds
from imaging_source.store.publications import (
    PublicationError,
    PublicationState,
    PublicationStatus,
    encode_errors,
    find_publications,
    now_ms,
)
from imaging_source.transactions import iti41, iti57, rad68
from imaging_source.unit import Parts
from shared.audit.events import Outcome
from shared.audit.outbox import insert_events
from shared.ebrim.codec import encode_submission
from shared.ebrim.identifiers import new_uuid
from shared.ebrim.model import AssociationType, Submission
from shared.messages.registrations import RegisteredDocument, Registrations
from shared.store.engine import Transaction
from shared.telemetry.log import logger

_log = logger(__name__)

# What a look at the registry may mend; so often it is tried.
_DRIFTED: Final = CANNOT_REPLACE | {UNKNOWN_PATIENT, "XDSPatientIdDoesNotMatch"}
_MOST_ATTEMPTS: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportPlace:
    """Where a report belongs: its study, the patient for whom that is registered, and the entry to which it
    is appended; empty where to none."""

    study_instance_uid: str
    patient_id: str
    appended_to: str


async def look(parts: Parts, row: ReportRow) -> None:
    """Do what is to be done about a report now; what cannot be done now is done later."""
    try:
        await _looked(parts, row)
    except RegistryAway as error:
        await later(parts, row, errors=(PublicationError("unreachable", str(error)),))


async def _looked(parts: Parts, row: ReportRow) -> None:
    if row.message_id:
        _, encoded = await imaging_reports.find_bytes(parts.database, row.report_id)
        submission = await asyncio.to_thread(iti41.frozen, encoded)
        await _sent(parts, row, submission, row.message_id, in_doubt=True)
        return
    place = await find_place(parts, row) if row.state is not ReportState.WITHDRAWN else None
    if place is not None and _is_undecided(row, place):
        await _changed(parts, row, due=None)
        return
    if isinstance(place, ReportPlace):
        await _placed(parts, row, place)
    elif not row.entry_uuid or await _unregistered(parts, row):
        await _ended(parts, row, place)


def _is_undecided(row: ReportRow, place: ReportPlace | ReportObstacle) -> bool:
    """Whether a person has to say first what is right, as others did something to its entry."""
    if row.obstacle is ReportObstacle.GIVEN_AWAY:
        return isinstance(place, ReportObstacle) or place.patient_id != row.registered_for
    return row.obstacle is ReportObstacle.ENDED_BY_OTHERS


async def find_place(parts: Parts, row: ReportRow) -> ReportPlace | ReportObstacle:
    """Where a report belongs, or why it is nowhere yet."""
    studies = await _studies(parts, row)
    if not studies:
        return ReportObstacle.NO_STUDY
    own = [one.study_instance_uid for one in studies if row.accepted_for or one.is_of(row.patients)]
    if not own:
        return ReportObstacle.OTHER_PATIENT
    for study in own:
        if (published := await _manifest_of(parts, study)) is not None:
            break
    else:
        return ReportObstacle.NO_MANIFEST
    appended_to = published.entry_uuid if parts.settings.publishing.reports.append else ""
    if row.parent:
        parent = await _parent(parts, row)
        if isinstance(parent, ReportObstacle):
            return parent
        appended_to = parent or appended_to
    return ReportPlace(
        study_instance_uid=published.study_instance_uid,
        patient_id=published.patient_id,
        appended_to=appended_to,
    )


async def _studies(parts: Parts, row: ReportRow) -> list[orders.StudyHere]:
    """The studies here that it may be of, in a settled order."""
    ordered_study = OrderedStudy(
        state=OrderState.REPORTED,
        study_instance_uid=row.accepted_for or row.study_instance_uid,
        accession_number=row.accession_number,
    )
    return sorted(
        await orders.find_studies(parts.database, ordered_study), key=lambda one: one.study_instance_uid
    )


async def _manifest_of(parts: Parts, study_instance_uid: str) -> PublicationStatus | None:
    published = await find_publications(
        parts.database,
        study_instance_uid=study_instance_uid,
        states=(PublicationState.PUBLISHED,),
        limit=1,
    )
    return published[0] if published else None


async def _parent(parts: Parts, row: ReportRow) -> str | ReportObstacle:
    """The entry of the report that one is an addendum to; empty where that is not here any more, or never
    was."""
    key = await imaging_reports.key_of(parts.database, row.parent)
    versions = await imaging_reports.of_key(parts.database, key) if key else []
    registered = [one for one in versions if one.state is ReportState.PUBLISHED and one.entry_uuid]
    if registered:
        return registered[0].entry_uuid
    is_awaited = any(one.state is ReportState.WAITING for one in versions)
    return ReportObstacle.NO_PARENT if is_awaited else ""


# --- registered -------------------------------------------------------------------------------------


async def _placed(parts: Parts, row: ReportRow, place: ReportPlace) -> None:
    here = (row.beside, row.registered_for, row.appended_to)
    if row.entry_uuid and here == (place.study_instance_uid, place.patient_id, place.appended_to):
        await _changed(parts, row, obstacle="", errors="", due=None)
        return
    versions = [
        one for one in await imaging_reports.of_key(parts.database, row.report_key) if one.part == row.part
    ]
    if any(one.message_id for one in versions):
        await later(parts, row)
        return
    registrations = await parts.registry.find(
        place.patient_id, list(dict.fromkeys(one.unique_id for one in versions))
    )
    if registrations.survivor != place.patient_id or registrations.known is False:
        # The manifest moves first.
        await later(parts, row, obstacle=ReportObstacle.NO_MANIFEST)
        return
    own, others, foreign = _sorted(row, place, registrations)
    surplus = [*foreign, *own[:-1], *(others if own else others[:-1])]
    if not await _deprecated(parts, row, place.study_instance_uid, surplus):
        return
    if own:
        await _adopted(parts, row, place, own[-1])
        return
    replaces = _replaced(row, others, versions, registrations)
    try:
        submission = await _submission(parts, row, place, replaces)
    except (NotPublishable, rad68.UnknownStudy):
        await later(parts, row, obstacle=ReportObstacle.NO_STUDY)
        return
    message_id = new_uuid()
    encoded = await asyncio.to_thread(encode_submission, submission)
    if await _frozen(parts, row, place, message_id, encoded):
        await _sent(parts, row, submission, message_id, in_doubt=False)


async def _frozen(
    parts: Parts, row: ReportRow, place: ReportPlace, message_id: str, submission: bytes
) -> bool:
    """Keep the message that is sent now; not where somebody decided otherwise meanwhile."""

    async def work(transaction: Transaction) -> bool:
        fresh = await imaging_reports.find(transaction, row.report_id)
        if fresh is None or fresh.state is not row.state:
            return False
        await imaging_reports.change(
            transaction,
            row.report_id,
            now_ms(),
            message_id=message_id,
            submission=submission,
            beside=place.study_instance_uid,
            attempts=row.attempts + 1,
        )
        return True

    return await parts.database.write(work)


def _sorted(
    row: ReportRow, place: ReportPlace, registrations: Registrations
) -> tuple[list[RegisteredDocument], list[RegisteredDocument], list[RegisteredDocument]]:
    """What is registered of a document: this version, others, and what is another patient's."""
    approved = [one for one in registrations.documents if one.approved]
    ours = [one for one in approved if one.patient_id == place.patient_id]
    own = [one for one in ours if one.unique_id == row.unique_id]
    return own, [one for one in ours if one not in own], [one for one in approved if one not in ours]


def _replaced(
    row: ReportRow,
    others: Sequence[RegisteredDocument],
    versions: Sequence[ReportRow],
    registrations: Registrations,
) -> tuple[str, ...]:
    """The entry whose place it takes: as the registry tells it, or as is remembered where it may hide it."""
    if others or registrations.complete or any(code in row.errors for code in CANNOT_REPLACE):
        return tuple(one.entry_uuid for one in others[-1:])
    remembered = [one.entry_uuid for one in versions if one.entry_uuid and one.report_id != row.report_id]
    return tuple(remembered[:1])


async def _submission(
    parts: Parts, row: ReportRow, place: ReportPlace, replaces: tuple[str, ...]
) -> Submission:
    settings = parts.settings
    publishing = settings.publishing
    document, _ = await imaging_reports.find_bytes(parts.database, row.report_id)
    instances = await rad68.shareable_instances(parts, place.study_instance_uid)
    names = Names(
        document_unique_id=row.unique_id,
        submission_set_unique_id=manifest.new_uid(publishing.organization_root),
        source_id=settings.source_id,
    )
    return report_entries.submission(
        row.description,
        await parts.instances.header(instances),
        names=names,
        document=document,
        patient_id=place.patient_id,
        now=datetime.now(UTC),
        coding=publishing.coding,
        report_coding=publishing.reports.coding,
        issuers=publishing.issuers(settings.affinity_domain),
        zone=publishing.zone,
        links=Links(appended_to=place.appended_to, replaces=replaces),
    )


async def _sent(
    parts: Parts, row: ReportRow, submission: Submission, message_id: str, *, in_doubt: bool
) -> None:
    """Send the message that is under way, and keep its outcome with its record."""
    document, _ = await imaging_reports.find_bytes(parts.database, row.report_id)
    attempt = await iti41.send(parts, submission, [document], message_id=message_id, in_doubt=in_doubt)
    is_registered = attempt.state is PublicationState.PUBLISHED
    outcome = Outcome.SUCCESS if is_registered else Outcome.SERIOUS_FAILURE
    [study] = _studies_of(submission) or [row.beside]
    events = (
        (iti41.audit(submission, study, parts.as_client(), outcome, attempt.errors),) if attempt.sent else ()
    )

    async def work(transaction: Transaction) -> None:
        now = now_ms()
        # It may have been cancelled, or overtaken, meanwhile.
        is_wanted = (
            fresh := await imaging_reports.find(transaction, row.report_id)
        ) is None or fresh.state is not ReportState.WITHDRAWN
        values = _outcome(row, submission, attempt, in_doubt, is_wanted, now)
        await imaging_reports.change(transaction, row.report_id, now, **values)
        if is_registered:
            await _taken_over(transaction, row, now)
        await insert_events(transaction, events, parts.recorder)

    await parts.database.write(work)
    _log.info("report", report=row.report_id, state=attempt.state, attempts=row.attempts)


def _studies_of(submission: Submission) -> list[str]:
    """The study that the entry names."""
    suffix = "^urn:ihe:iti:xds:2016:studyInstanceUID"
    references = submission.document_entries[0].reference_ids
    return [one.partition("^")[0] for one in references if one.endswith(suffix)][:1]


def _outcome(
    row: ReportRow,
    submission: Submission,
    attempt: iti41.Attempt,
    in_doubt: bool,
    is_wanted: bool,
    now: int,
) -> dict[str, Any]:
    """The columns of a row after an attempt."""
    errors = encode_errors(attempt.errors) if attempt.errors else ""
    ended = {"message_id": "", "submission": b"", "errors": errors, "obstacle": ""}
    later = now + int(pause_seconds(now - row.created) * 1000)
    if attempt.state is PublicationState.PUBLISHED:
        entry = submission.document_entries[0]
        return ended | {
            "state": ReportState.PUBLISHED if is_wanted else ReportState.WITHDRAWN,
            "errors": "",
            "entry_uuid": entry.entry_uuid,
            "registered_for": entry.patient_id,
            "appended_to": _appended_to(submission),
            "attempts": 0,
            # What changed meanwhile is seen by one more look.
            "due": now,
        }
    if attempt.state is PublicationState.WAITING and (in_doubt or attempt.in_doubt):
        return {"errors": errors, "due": later}
    codes = {error.code for error in attempt.errors}
    passes = attempt.state is PublicationState.WAITING or (
        not codes.isdisjoint(_DRIFTED) and row.attempts < _MOST_ATTEMPTS
    )
    if passes or not is_wanted:
        return ended | {"due": later}
    return ended | {"state": ReportState.REFUSED, "due": None}


def _appended_to(submission: Submission) -> str:
    appended = [
        one.target_object for one in submission.associations if one.association_type is AssociationType.APND
    ]
    return appended[0] if appended else ""


async def _adopted(parts: Parts, row: ReportRow, place: ReportPlace, document: RegisteredDocument) -> None:
    """It is registered: note where."""

    async def work(transaction: Transaction) -> None:
        now = now_ms()
        await imaging_reports.change(
            transaction,
            row.report_id,
            now,
            state=ReportState.PUBLISHED,
            obstacle="",
            errors="",
            beside=place.study_instance_uid,
            registered_for=place.patient_id,
            entry_uuid=document.entry_uuid,
            appended_to=place.appended_to,
            due=now,
        )
        await _taken_over(transaction, row, now)

    await parts.database.write(work)


async def _taken_over(transaction: Transaction, row: ReportRow, now: int) -> None:
    """Let earlier versions be registered no more, and addenda follow."""
    for one in await imaging_reports.of_key(transaction, row.report_key):
        if one.part == row.part and one.serial < row.serial and one.state is not ReportState.REPLACED:
            await imaging_reports.change(
                transaction, one.report_id, now, state=ReportState.REPLACED, entry_uuid="", due=None
            )
    await imaging_reports.look_at_addenda(transaction, row.report_key, now)


# --- registered no more -----------------------------------------------------------------------------


async def withdraw_of_study(parts: Parts, study_instance_uid: str) -> None:
    """Deprecate every report that is registered beside a study.

    Raises
    ------
    RegistryAway, NotWithdrawn
        One stays registered.
    """
    for row in await imaging_reports.find_reports(
        parts.database, study_instance_uid=study_instance_uid, limit=1000
    ):
        if row.message_id or (row.entry_uuid and not await _unregistered(parts, row)):
            raise rad68.NotWithdrawn(
                "a report beside the study stays registered, or nobody knows whether it is; xdsi reports "
                "tells why"
            )


async def _unregistered(parts: Parts, row: ReportRow) -> bool:
    """Deprecate what is registered of a row; whether nothing is any more."""
    registrations = await parts.registry.find(row.registered_for, [row.unique_id])
    documents = [one for one in registrations.documents if one.approved]
    if not registrations.documents and not registrations.complete:
        documents = [
            RegisteredDocument(
                unique_id=row.unique_id,
                entry_uuid=row.entry_uuid,
                patient_id=row.registered_for,
                approved=True,
            )
        ]
    if not await _deprecated(parts, row, row.beside, documents):
        return False
    await _changed(parts, row, entry_uuid="", appended_to="", registered_for="", obstacle="")
    return True


async def _deprecated(
    parts: Parts, row: ReportRow, study_instance_uid: str, documents: Sequence[RegisteredDocument]
) -> bool:
    for document in documents:
        if failure := await iti57.deprecate(parts, study_instance_uid, document):
            await later(parts, row, errors=(failure,))
            return False
    return True


async def _ended(parts: Parts, row: ReportRow, obstacle: ReportObstacle | None) -> None:
    """Nothing is registered: wait, or be withdrawn."""
    if obstacle is None:
        await _changed(parts, row, errors="", obstacle="", due=None)
    else:
        await later(parts, row, obstacle=obstacle, state=ReportState.WAITING)


async def later(
    parts: Parts, row: ReportRow, *, errors: Sequence[PublicationError] = (), **values: Any
) -> None:
    """Look at it again after a pause, with what was wrong now."""
    due = now_ms() + int(pause_seconds(now_ms() - row.created) * 1000)
    encoded = encode_errors(errors) if errors else ""
    await _changed(parts, row, **({"obstacle": "", "errors": encoded, "due": due} | values))


async def _changed(parts: Parts, row: ReportRow, **values: Any) -> None:
    """Let a row be so; what somebody else decided meanwhile stays, and is looked at then."""

    async def work(transaction: Transaction) -> None:
        fresh = await imaging_reports.find(transaction, row.report_id)
        if fresh is not None and fresh.state is not row.state:
            values.pop("state", None)
        if fresh is not None and (fresh.state, fresh.due) != (row.state, row.due):
            values.pop("due", None)
        if values:
            await imaging_reports.change(transaction, row.report_id, now_ms(), **values)

    await parts.database.write(work)
