"""Update Document Set [ITI-57], initiating side: an entry of ours is withdrawn, which deprecates it."""

from __future__ import annotations

from datetime import UTC, datetime

from imaging_source.domain import manifest
from imaging_source.store import reconciliation
from imaging_source.store.publications import PublicationError, PublicationState
from imaging_source.unit import Parts
from shared.audit import patterns
from shared.audit.events import AuditEvent, Outcome
from shared.audit.patterns import Side
from shared.ebrim import schemes
from shared.ebrim.identifiers import new_uuid
from shared.ebrim.model import (
    Association,
    AssociationType,
    AvailabilityStatus,
    Slot,
    Submission,
    SubmissionSet,
    Timestamp,
)
from shared.errors import Actor
from shared.faults import SoapFault
from shared.messages.iti57 import ITI57, UpdateRequest
from shared.messages.registrations import RegisteredDocument
from shared.messages.registry import Status
from shared.soap.client import PeerError
from shared.telemetry.log import logger

_log = logger(__name__)

_TIMEOUT_SECONDS = 30.0


async def withdraw(
    parts: Parts, study_instance_uid: str, document: RegisteredDocument
) -> PublicationError | None:
    """Deprecate the entry of a manifest and note it; returns why it is not, when it is not."""
    failure = await deprecate(parts, study_instance_uid, document)
    if failure is None:
        await reconciliation.note_registered(
            parts.database,
            study_instance_uid,
            moved=(),
            ended={document.entry_uuid: PublicationState.WITHDRAWN},
        )
    return failure


async def deprecate(
    parts: Parts, study_instance_uid: str, document: RegisteredDocument
) -> PublicationError | None:
    """Deprecate an entry of ours; returns why it is not, when it is not.

    An attempt whose answer is lost is made again: a withdrawn entry is withdrawn.
    """
    submission = _submission(parts, document)
    failure = await _sent(parts, submission)
    outcome = Outcome.SERIOUS_FAILURE if failure else Outcome.SUCCESS
    await parts.recorder.record((audit(parts, submission, study_instance_uid, outcome),))
    if failure is None:
        _log.info("a document was withdrawn", document=document.unique_id)
    return failure


async def _sent(parts: Parts, submission: Submission) -> PublicationError | None:
    try:
        response = await parts.repository.call(
            ITI57,
            parts.settings.registry_endpoint(ITI57.number),
            UpdateRequest.of(submission),
            timeout_seconds=_TIMEOUT_SECONDS,
        )
    except PeerError as error:
        return PublicationError("withdrawal-unanswered", error.reason)
    except SoapFault as fault:
        return PublicationError("withdrawal-refused", fault.reason)
    if response.status is Status.SUCCESS:
        return None
    errors = "; ".join(f"{error.code_for(Actor.REGISTRY)}: {error.context}" for error in response.errors)
    return PublicationError("withdrawal-refused", errors)


def _submission(parts: Parts, document: RegisteredDocument) -> Submission:
    settings = parts.settings
    submission_set = SubmissionSet(
        entry_uuid=new_uuid(),
        unique_id=manifest.new_uid(settings.publishing.organization_root),
        patient_id=document.patient_id,
        source_id=settings.source_id,
        submission_time=Timestamp.of(datetime.now(UTC)),
        content_type_code=settings.publishing.coding.content_type_code,
    )
    deprecation = Association(
        entry_uuid=new_uuid(),
        association_type=AssociationType.UPDATE_AVAILABILITY_STATUS,
        source_object=submission_set.entry_uuid,
        target_object=document.entry_uuid,
        extra_slots=(
            Slot(schemes.ORIGINAL_STATUS, (str(AvailabilityStatus.APPROVED),)),
            Slot(schemes.NEW_STATUS, (str(AvailabilityStatus.DEPRECATED),)),
        ),
    )
    return Submission(submission_set=submission_set, associations=(deprecation,))


def audit(parts: Parts, submission: Submission, study_instance_uid: str, outcome: Outcome) -> AuditEvent:
    """Describe the update from the source's side: an export with action U."""
    return patterns.submission(
        ITI57.event_type,
        Side.CLIENT,
        parts.as_client(parts.settings.registry_endpoint(ITI57.number)),
        outcome,
        submission,
        update=True,
        study_instance_uid=study_instance_uid,
    )
