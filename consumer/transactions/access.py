"""The consumer's record of a retrieval of images, the same for RAD-69 and RAD-107 (RAD TF-3 5.1)."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from consumer.domain.study import RequestedInstance
from shared.audit import patterns
from shared.audit.events import AuditEvent, Coded, Outcome
from shared.audit.patterns import InstanceReference, Side
from shared.security.caller import Caller


def accessed(
    caller: Caller, transaction: Coded, instances: Sequence[RequestedInstance], delivered: Collection[str]
) -> Iterator[AuditEvent]:
    """One event for what was delivered and one for what was not, where there is any."""
    for outcome, having in ((Outcome.SUCCESS, True), (Outcome.SERIOUS_FAILURE, False)):
        of_outcome = [one for one in instances if (one.sop_instance_uid in delivered) is having]
        if of_outcome:
            yield _event(caller, transaction, of_outcome, outcome)


def _event(
    caller: Caller, transaction: Coded, instances: Sequence[RequestedInstance], outcome: Outcome
) -> AuditEvent:
    patients = sorted({one.patient_id for one in instances} - {""})
    return patterns.instances(
        transaction,
        Side.CLIENT,
        caller,
        outcome,
        [_counted(one) for one in instances],
        patient_id=patients[0] if patients else "",
    )


def _counted(one: RequestedInstance) -> InstanceReference:
    """What is told of an instance: where it should be, and of which kind; not its name."""
    return InstanceReference(
        study_instance_uid=one.study_instance_uid,
        sop_class_uid=one.sop_class_uid,
        repository_unique_id=one.retrieve_location_uid,
        home_community_id=one.home_community_id,
    )
