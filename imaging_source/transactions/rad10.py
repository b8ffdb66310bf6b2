"""Storage Commitment [RAD-10]: expected actions (RAD TF-2 4.10; PS3.4 annex J, push model).

A request is answered when it is durably noted. An instance is committed when its bytes are proved to be those
that were acknowledged, and no rejection note hides it.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from imaging_source.domain.commitment import (
    CommitmentRequest,
    CommitmentResult,
    FailureReason,
    ReferencedInstance,
)
from imaging_source.settings.entities import DimseService
from imaging_source.store import commitments
from imaging_source.store.commitments import Commitment
from imaging_source.transactions.served import ServedDimse
from imaging_source.unit import Parts, Unit
from shared.audit.events import AuditEvent, Outcome, ihe
from shared.imaging.instance import Instance
from shared.security.caller import Caller

EVENT_TYPE: Final = ihe("RAD-10", "Storage Commitment")


async def handle(unit: Unit, request: CommitmentRequest) -> Commitment:
    """Note the request durably."""
    return await commitments.note(unit.parts.database, request, datetime.now(UTC))


def audit(
    request: CommitmentRequest, response: Commitment | None, caller: Caller, outcome: Outcome
) -> tuple[AuditEvent, ...]:
    """There is no record of it: nothing of a patient is asked, told or changed (PS3.15 A.5.3)."""
    return ()


async def decided(parts: Parts, one: Commitment) -> CommitmentResult | None:
    """The result, which is kept before it is told; None while instances may be on their way."""
    if one.result is not None:
        return one.result
    result = await result_of(parts, one, datetime.now(UTC))
    if result is not None:
        await commitments.decide(parts.database, one, result)
    return result


async def result_of(parts: Parts, one: Commitment, now: datetime) -> CommitmentResult | None:
    """What became of the instances; None while some of them may still be on their way."""
    request = one.request
    instances = await parts.instances.find_instances([each.sop_instance_uid for each in request.instances])
    waited = now - one.received_at
    missing = len(instances) < len({each.sop_instance_uid for each in request.instances})
    if missing and waited < timedelta(seconds=parts.settings.commitment_grace_seconds):
        return None
    remarks = await parts.key_objects.of_studies({each.study_instance_uid for each in instances.values()})
    rejections = [note for note in remarks.notes if note.rejects]
    rejected = {uid for uid, each in instances.items() if any(note.speaks_of(each) for note in rejections)}
    damaged = {
        each.sop_instance_uid for each in await parts.instances.files.damaged(list(instances.values()))
    }
    reasons = [
        (each, _reason(each, instances.get(each.sop_instance_uid), rejected, damaged))
        for each in request.instances
    ]
    return CommitmentResult(
        committed=tuple(each for each, why in reasons if why is None),
        failed=tuple((each, why) for each, why in reasons if why is not None),
    )


def _reason(
    each: ReferencedInstance, instance: Instance | None, rejected: set[str], damaged: set[str]
) -> FailureReason | None:
    if instance is None or each.sop_instance_uid in rejected:
        return FailureReason.NO_SUCH_OBJECT
    if instance.sop_class_uid != each.sop_class_uid:
        return FailureReason.CLASS_INSTANCE_CONFLICT
    return FailureReason.PROCESSING_FAILURE if each.sop_instance_uid in damaged else None


SERVED: Final = ServedDimse(
    event_type=EVENT_TYPE, services=(DimseService.COMMIT,), handle=handle, audit=audit
)
