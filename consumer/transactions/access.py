"""The consumer's record of a retrieval of images, the same for RAD-69 and RAD-107 (RAD TF-3 5.1)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence

from consumer.domain.study import Wanted
from shared.audit.events import (
    HOME_OF_DOCUMENT,
    INSTANCES_ACCESSED,
    REPOSITORY_UNIQUE_ID,
    AuditEvent,
    Coded,
    Outcome,
    ParticipantObject,
    patient_object,
    pull_participants,
    purposes,
    study_object,
)
from shared.security.caller import Caller


def accessed(
    caller: Caller, transaction: Coded, wanted: Sequence[Wanted], delivered: Collection[str]
) -> Iterator[AuditEvent]:
    """One event for what was delivered and one for what was not, where there is any."""
    for outcome, having in ((Outcome.SUCCESS, True), (Outcome.SERIOUS_FAILURE, False)):
        of_outcome = [one for one in wanted if (one.sop_instance_uid in delivered) is having]
        if of_outcome:
            yield _event(caller, transaction, of_outcome, outcome)


def _event(caller: Caller, transaction: Coded, wanted: Sequence[Wanted], outcome: Outcome) -> AuditEvent:
    patients = sorted({one.patient_id for one in wanted} - {""})
    return AuditEvent(
        event_id=INSTANCES_ACCESSED,
        action="R",
        outcome=outcome,
        event_types=(transaction,),
        participants=pull_participants(caller, server=False),
        objects=(*map(patient_object, patients[:1]), *_studies(wanted)),
        purposes=purposes(caller.user),
    )


def _studies(wanted: Sequence[Wanted]) -> Iterator[ParticipantObject]:
    for study in dict.fromkeys(one.study_instance_uid for one in wanted):
        of_study = [one for one in wanted if one.study_instance_uid == study]
        locations = dict.fromkeys(one.retrieve_location_uid for one in of_study if one.retrieve_location_uid)
        homes = dict.fromkeys(one.home_community_id for one in of_study if one.home_community_id)
        yield study_object(
            study,
            sop_classes=sorted(Counter(one.sop_class_uid for one in of_study).items()),
            details=(
                *((REPOSITORY_UNIQUE_ID, location.encode()) for location in locations),
                *((HOME_OF_DOCUMENT, home.encode()) for home in homes),
            ),
        )
