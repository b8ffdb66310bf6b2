"""Records of instances: asked for, received, sent, copied, deleted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from operator import attrgetter
from typing import Protocol

from shared.alike import alike
from shared.audit.events import (
    BEGIN_TRANSFERRING,
    DOCUMENT_UNIQUE_ID,
    EXPORT,
    HOME_OF_DOCUMENT,
    HOME_OF_QUERY,
    IMPORT,
    INSTANCES_ACCESSED,
    INSTANCES_TRANSFERRED,
    REPOSITORY_UNIQUE_ID,
    SERIES_INSTANCE_UID,
    STUDY_DELETED,
    AuditEvent,
    Coded,
    Outcome,
    Participant,
    ParticipantObject,
    http_pull_participants,
    http_push_participants,
    media_participants,
    pull_participants,
    purposes,
    study_object,
)
from shared.audit.limits import MAX_NAMED
from shared.audit.patterns.record import UNKNOWN, Side, patient_objects
from shared.security.caller import Caller

# Permanent erasure, of the object life cycles of DICOM PS3.15 A.5.
_ERASED = 15
# Of the cross-gateway transactions this one alone spells the community as queries do (RAD TF-3 4.75.5).
_SPELLS_HOME_AS_QUERIES = "RAD-75"
# A record may be about thousands of instances.
_CLASS_OF, _PLACE_OF, _HOME_OF = map(
    attrgetter, ("sop_class_uid", "repository_unique_id", "home_community_id")
)


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceReference:
    """An instance that was asked for, as far as it is known and told; what is empty is not in the record."""

    study_instance_uid: str
    series_instance_uid: str = ""
    sop_instance_uid: str = ""
    sop_class_uid: str = ""
    repository_unique_id: str = ""
    home_community_id: str = ""


class InstanceTold(Protocol):
    """An instance that was asked for, as `InstanceReference` tells of it."""

    @property
    def study_instance_uid(self) -> str:
        """Its study."""
        ...

    @property
    def series_instance_uid(self) -> str:
        """Its series."""
        ...

    @property
    def sop_instance_uid(self) -> str:
        """Its own UID."""
        ...

    @property
    def sop_class_uid(self) -> str:
        """What it is."""
        ...

    @property
    def repository_unique_id(self) -> str:
        """Who has it."""
        ...

    @property
    def home_community_id(self) -> str:
        """Its community; empty within one."""
        ...


def instances(
    transaction: Coded,
    side: Side,
    caller: Caller,
    outcome: Outcome,
    instances_of_request: Sequence[InstanceTold],
    *,
    patient_id: str = "",
    description: str = "",
    over_http: bool = False,
) -> AuditEvent:
    """Instances that were asked for (RAD-69, 75, 107; PS3.15 A.5.3.6 and A.5.3.7), study by study.

    They are counted by SOP class; of those that did not come the first `MAX_NAMED` are named.
    """
    took_part = http_pull_participants if over_http else pull_participants
    return AuditEvent(
        event_id=INSTANCES_TRANSFERRED if side is Side.SERVER else INSTANCES_ACCESSED,
        action="R",
        outcome=outcome,
        event_types=(transaction,),
        participants=took_part(caller, server=side is Side.SERVER),
        objects=(*patient_objects(patient_id), *_studies(transaction, outcome, instances_of_request)),
        outcome_description=description,
        purposes=purposes(caller.user),
    )


def _studies(
    transaction: Coded, outcome: Outcome, instances: Sequence[InstanceTold]
) -> Iterator[ParticipantObject]:
    home_type = HOME_OF_QUERY if transaction.code == _SPELLS_HOME_AS_QUERIES else HOME_OF_DOCUMENT
    left = 0 if outcome is Outcome.SUCCESS else MAX_NAMED
    for of_study in alike(instances, "study_instance_uid"):
        to_name = of_study[:left]
        left -= len(to_name)
        places = dict.fromkeys(map(_PLACE_OF, of_study))
        homes = dict.fromkeys(map(_HOME_OF, of_study))
        yield study_object(
            of_study[0].study_instance_uid or UNKNOWN,
            sop_classes=_counts(Counter(map(_CLASS_OF, of_study))),
            details=(
                *((REPOSITORY_UNIQUE_ID, place.encode()) for place in places if place),
                *((home_type, home.encode()) for home in homes if home),
                *dict.fromkeys(_names(to_name)),
            ),
        )


def _names(instances: Iterable[InstanceTold]) -> Iterator[tuple[str, bytes]]:
    for one in instances:
        if one.series_instance_uid:
            yield SERIES_INSTANCE_UID, one.series_instance_uid.encode()
        if one.sop_instance_uid:
            yield DOCUMENT_UNIQUE_ID, one.sop_instance_uid.encode()


def instances_received(
    transaction: Coded,
    participants: tuple[Participant, ...],
    outcome: Outcome,
    number_of: Mapping[str, int],
    *,
    action: str,
    study_instance_uid: str,
    patient_id: str,
    description: str,
    purposes_of_use: tuple[Coded, ...],
    time: datetime,
) -> AuditEvent:
    """Instances of one study that were sent (RAD-18, RAD-108; PS3.15 A.5.3.7), as their receiver records it.

    `number_of` counts them by SOP class, `participants` are those of the association or request, and
    `time` is when the last came.
    """
    study = (study_object(study_instance_uid, sop_classes=_counts(number_of)),) if study_instance_uid else ()
    return AuditEvent(
        event_id=INSTANCES_TRANSFERRED,
        action=action,
        outcome=outcome,
        event_types=(transaction,),
        participants=participants,
        objects=(*study, *patient_objects(patient_id)),
        outcome_description=description,
        purposes=purposes_of_use,
        time=time,
    )


def instances_deleted(
    transaction: Coded,
    caller: Caller,
    outcome: Outcome,
    number_of: Mapping[str, int],
    *,
    study_instance_uid: str,
    patient_id: str,
    description: str,
) -> AuditEvent:
    """Instances of one study that are erased (PS3.15 A.5.3.8); `number_of` counts them by SOP class."""
    study = replace(study_object(study_instance_uid, sop_classes=_counts(number_of)), life_cycle=_ERASED)
    return AuditEvent(
        event_id=STUDY_DELETED,
        action="D",
        outcome=outcome,
        event_types=(transaction,),
        participants=http_push_participants(caller, server=True),
        objects=(study, *patient_objects(patient_id)),
        outcome_description=description,
        purposes=purposes(caller.user),
    )


def instances_sent(
    transaction: Coded,
    participants: tuple[Participant, ...],
    outcome: Outcome,
    instances_of_request: Sequence[InstanceTold],
    *,
    begin: bool = False,
    patient_id: str = "",
    description: str = "",
) -> AuditEvent:
    """Instances that are sent by DIMSE, as their sender records it: at the `begin` (PS3.15 A.5.3.3), or when
    it is known what became of them (RAD-16; A.5.3.7)."""
    return AuditEvent(
        event_id=BEGIN_TRANSFERRING if begin else INSTANCES_TRANSFERRED,
        action="E" if begin else "R",
        outcome=outcome,
        event_types=(transaction,),
        participants=participants,
        objects=(*patient_objects(patient_id), *_studies(transaction, outcome, instances_of_request)),
        outcome_description=description,
    )


def instances_copied(
    transaction: Coded,
    caller: Caller,
    outcome: Outcome,
    instances_of_request: Sequence[InstanceTold],
    *,
    imported: bool,
    begin: bool = False,
    patient_id: str,
) -> AuditEvent:
    """Instances of others that are `imported` into the archive of the hospital at `caller.endpoint`, or else
    written to media (PS3.15 A.5.3.4 and A.5.3.5): at the `begin` (A.5.3.3), and when it is known what became
    of them."""
    copied = IMPORT if imported else EXPORT
    participants = http_push_participants(caller, server=False) if imported else media_participants(caller)
    return AuditEvent(
        event_id=BEGIN_TRANSFERRING if begin else copied,
        action="E" if begin else "C" if imported else "R",
        outcome=outcome,
        event_types=(transaction,),
        participants=participants,
        objects=(*patient_objects(patient_id), *_studies(transaction, outcome, instances_of_request)),
        purposes=purposes(caller.user),
    )


def _counts(number_of: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted((sop_class_uid, number) for sop_class_uid, number in number_of.items() if sop_class_uid)
