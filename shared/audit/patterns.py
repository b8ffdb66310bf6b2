"""What transactions record, one function for each kind (ITI TF-2 3.20; RAD TF-3 5.1; DICOM PS3.15 A.5.3), for
both sides of the wire: which event, who took part, and what it was about.

A transaction says what became of a request, and puts no event together itself: a record is known here and
nowhere else. `transaction` is the EventTypeCode (`SoapTransaction.event_type`); one event is about one
patient and one outcome; an empty `patient_id` is of nobody, or of nobody known.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import Enum, auto
from itertools import groupby
from operator import attrgetter
from typing import Protocol

from shared.audit.events import (
    ALERT_DESCRIPTION,
    AUDIT_LOG_NAME,
    AUDIT_LOG_USED,
    BEGIN_TRANSFERRING,
    DOCUMENT_UNIQUE_ID,
    EXPORT,
    HOME_OF_DOCUMENT,
    HOME_OF_QUERY,
    IMPORT,
    INSTANCES_ACCESSED,
    INSTANCES_TRANSFERRED,
    OBJECT_REFERENCE,
    PATIENT_RECORD,
    PROCEDURE_RECORD,
    QUERY,
    REPOSITORY_UNIQUE_ID,
    SECURITY_ALERT,
    SECURITY_CONFIGURATION,
    SERIES_INSTANCE_UID,
    STUDY_DELETED,
    URI,
    USE_OF_RESTRICTED_FUNCTION,
    USER_ATTRIBUTES_CHANGED,
    USER_IDENTIFIER,
    AuditEvent,
    Coded,
    Outcome,
    Participant,
    ParticipantObject,
    document_object,
    http_pull_participants,
    http_push_participants,
    media_participants,
    patient_object,
    pull_participants,
    purposes,
    push_participants,
    query_object,
    sop_class_object,
    study_object,
    submission_set_object,
)
from shared.audit.limits import MAX_NAMED
from shared.ebrim.model import Submission, SubmissionSet
from shared.security.caller import Caller

# Permanent erasure, of the object life cycles of DICOM PS3.15 A.5.
_ERASED = 15
# Of the cross-gateway transactions this one alone spells the community as queries do (RAD TF-3 4.75.5).
_SPELLS_HOME_AS_QUERIES = "RAD-75"
# What was looked for in the trail.
SEARCH = "Search"
# A record may be about thousands of instances.
_STUDY_OF, _CLASS_OF, _PLACE_OF, _HOME_OF = map(
    attrgetter, ("study_instance_uid", "sop_class_uid", "repository_unique_id", "home_community_id")
)
# An id is never absent from a record, whatever the request left out.
_UNKNOWN = "unknown"


class Side(Enum):
    """Who writes the record: the client, which sent the request, or the server, which answered it."""

    CLIENT = auto()
    SERVER = auto()


class DocumentReference(Protocol):
    """A document by its ids (`shared.messages.documents.DocumentRequest`)."""

    @property
    def repository_unique_id(self) -> str:
        """Who has it."""
        ...

    @property
    def document_unique_id(self) -> str:
        """Its uniqueId."""
        ...

    @property
    def home_community_id(self) -> str:
        """Its community; empty within one."""
        ...


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


# --- queries -----------------------------------------------------------------------------------------


def query(
    transaction: Coded,
    side: Side,
    caller: Caller,
    outcome: Outcome,
    *,
    query_id: str,
    octets: bytes,
    home: str = "",
    patient_id: str = "",
    description: str = "",
) -> AuditEvent:
    """A stored query with its parameters, `octets` as they came or went (ITI-18, 38, 51; ITI TF-2 3.18.5)."""
    details = [("QueryEncoding", b"UTF-8")]
    if home:
        details.append((HOME_OF_QUERY, home.encode()))
    return AuditEvent(
        event_id=QUERY,
        action="E",
        outcome=outcome,
        event_types=(transaction,),
        participants=push_participants(caller, server=side is Side.SERVER),
        objects=(
            *_patient(patient_id),
            query_object(query_id, transaction, octets, details=tuple(details)),
        ),
        outcome_description=description,
        purposes=purposes(caller.user),
    )


def search(
    transaction: Coded,
    side: Side,
    caller: Caller,
    outcome: Outcome,
    *,
    patient_id: str = "",
    query_id: str = "",
    octets: bytes = b"",
    description: str = "",
) -> AuditEvent:
    """A question over plain HTTP; its parameters are named where it has an id."""
    query = (query_object(query_id, transaction, octets),) if query_id else ()
    return AuditEvent(
        event_id=QUERY,
        action="E",
        outcome=outcome,
        event_types=(transaction,),
        participants=http_push_participants(caller, server=side is Side.SERVER),
        objects=(*_patient(patient_id), *query),
        outcome_description=description,
        purposes=purposes(caller.user),
    )


def log_used(
    transaction: Coded,
    caller: Caller,
    uri: str,
    outcome: Outcome = Outcome.SUCCESS,
    *,
    search: bytes = b"",
    description: str = "",
) -> AuditEvent:
    """The trail itself was read (DICOM PS3.15 A.5.3.2): at `uri`, by the parameters `search`."""
    log = ParticipantObject(
        object_id=uri,
        id_type=URI,
        type_code=2,
        role=13,
        name=AUDIT_LOG_NAME,
        details=((SEARCH, search),) if search else (),
    )
    return AuditEvent(
        event_id=AUDIT_LOG_USED,
        action="R",
        outcome=outcome,
        event_types=(transaction,),
        participants=http_push_participants(caller, server=True),
        objects=(log,),
        outcome_description=description,
        purposes=purposes(caller.user),
    )


def query_by_dimse(
    transaction: Coded,
    participants: tuple[Participant, ...],
    outcome: Outcome,
    *,
    sop_class_uid: str,
    identifier: bytes,
    transfer_syntax_uid: str,
    patient_id: str = "",
    description: str = "",
) -> AuditEvent:
    """A C-FIND with its identifier as it came (RAD-14; DICOM PS3.15 A.5.3.10)."""
    return AuditEvent(
        event_id=QUERY,
        action="E",
        outcome=outcome,
        event_types=(transaction,),
        participants=participants,
        objects=(*_patient(patient_id), sop_class_object(sop_class_uid, identifier, transfer_syntax_uid)),
        outcome_description=description,
    )


# --- submissions -------------------------------------------------------------------------------------


def submission(
    transaction: Coded,
    side: Side,
    caller: Caller,
    outcome: Outcome,
    submitted: Submission | None,
    *,
    update: bool = False,
    home: str = "",
    also: Coded | None = None,
    study_instance_uid: str = "",
    description: str = "",
) -> AuditEvent:
    """Metadata that were sent to be registered, or to `update` what is (ITI-41, 42, 57, 61, 92, RAD-68).

    Parameters
    ----------
    submitted
        None where nothing legible came.
    home
        The community that the submission set names, where the record says it (ITI-92).
    also
        A transaction that is the same on the wire: RAD-68 beside ITI-41.
    study_instance_uid
        The study that is published, where that is known.
    """
    event_id, action = (IMPORT, "C") if side is Side.SERVER else (EXPORT, "R")
    return AuditEvent(
        event_id=event_id,
        action="U" if update else action,
        outcome=outcome,
        event_types=(transaction,) if also is None else (transaction, also),
        participants=push_participants(caller, server=side is Side.SERVER),
        objects=(
            *(() if submitted is None else _submitted(submitted.submission_set, home)),
            *((study_object(study_instance_uid),) if study_instance_uid else ()),
        ),
        outcome_description=description,
        purposes=purposes(caller.user),
    )


def _submitted(submission_set: SubmissionSet, home: str) -> Iterator[ParticipantObject]:
    yield patient_object(submission_set.patient_id)
    set_object = submission_set_object(submission_set.unique_id)
    yield replace(set_object, details=((HOME_OF_QUERY, home.encode()),)) if home else set_object


# --- documents ---------------------------------------------------------------------------------------


def documents(
    transaction: Coded,
    side: Side,
    caller: Caller,
    outcome: Outcome,
    documents_of_request: Iterable[DocumentReference],
    *,
    patient_id: str = "",
    description: str = "",
) -> AuditEvent:
    """Documents that were asked for (ITI-39, 43; ITI TF-2 3.43.5)."""
    event_id, action = (EXPORT, "R") if side is Side.SERVER else (IMPORT, "C")
    objects = (
        document_object(
            one.document_unique_id,
            repository_unique_id=one.repository_unique_id,
            home_community_id=one.home_community_id,
        )
        for one in documents_of_request
    )
    return AuditEvent(
        event_id=event_id,
        action=action,
        outcome=outcome,
        event_types=(transaction,),
        participants=pull_participants(caller, server=side is Side.SERVER),
        objects=(*_patient(patient_id), *objects),
        outcome_description=description,
        purposes=purposes(caller.user),
    )


def manifest(
    transaction: Coded,
    side: Side,
    caller: Caller,
    outcome: Outcome,
    *,
    study_instance_uid: str,
    patient_id: str,
) -> AuditEvent:
    """The manifest of a study that was given away over plain HTTP, to be handed out as a document."""
    event_id, action = (EXPORT, "R") if side is Side.SERVER else (IMPORT, "C")
    return AuditEvent(
        event_id=event_id,
        action=action,
        outcome=outcome,
        event_types=(transaction,),
        participants=http_pull_participants(caller, server=side is Side.SERVER),
        objects=(*_patient(patient_id), study_object(study_instance_uid)),
        purposes=purposes(caller.user),
    )


# --- removals ----------------------------------------------------------------------------------------


def removal_of_objects(
    transaction: Coded,
    side: Side,
    caller: Caller,
    outcome: Outcome,
    entry_uuids: Iterable[str],
    *,
    patient_id: str = "",
) -> AuditEvent:
    """Metadata that were to be removed (ITI-62)."""
    gone = (
        ParticipantObject(
            object_id=entry_uuid, id_type=OBJECT_REFERENCE, type_code=2, role=3, life_cycle=_ERASED
        )
        for entry_uuid in entry_uuids
    )
    return _removal(transaction, side, caller, outcome, gone, patient_id)


def removal_of_documents(
    transaction: Coded,
    side: Side,
    caller: Caller,
    outcome: Outcome,
    references: Iterable[DocumentReference],
    *,
    patient_id: str = "",
) -> AuditEvent:
    """Documents that were to be removed (ITI-86)."""
    gone = (
        document_object(
            one.document_unique_id, repository_unique_id=one.repository_unique_id, life_cycle=_ERASED
        )
        for one in references
    )
    return _removal(transaction, side, caller, outcome, gone, patient_id)


def _removal(
    transaction: Coded,
    side: Side,
    caller: Caller,
    outcome: Outcome,
    gone: Iterable[ParticipantObject],
    patient_id: str,
) -> AuditEvent:
    return AuditEvent(
        event_id=PATIENT_RECORD,
        action="D",
        outcome=outcome,
        event_types=(transaction,),
        participants=push_participants(caller, server=side is Side.SERVER),
        objects=(*_patient(patient_id), *gone),
        purposes=purposes(caller.user),
    )


# --- instances ---------------------------------------------------------------------------------------


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
        objects=(*_patient(patient_id), *_studies(transaction, outcome, instances_of_request)),
        outcome_description=description,
        purposes=purposes(caller.user),
    )


def _studies(
    transaction: Coded, outcome: Outcome, instances: Sequence[InstanceTold]
) -> Iterator[ParticipantObject]:
    home_type = HOME_OF_QUERY if transaction.code == _SPELLS_HOME_AS_QUERIES else HOME_OF_DOCUMENT
    left = 0 if outcome is Outcome.SUCCESS else MAX_NAMED
    by_study: dict[str, list[InstanceTold]] = {}
    for study_instance_uid, alike in groupby(instances, _STUDY_OF):
        by_study.setdefault(study_instance_uid, []).extend(alike)
    for study_instance_uid, of_study in by_study.items():
        to_name = of_study[:left]
        left -= len(to_name)
        places = dict.fromkeys(map(_PLACE_OF, of_study))
        homes = dict.fromkeys(map(_HOME_OF, of_study))
        yield study_object(
            study_instance_uid or _UNKNOWN,
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
        objects=(*study, *_patient(patient_id)),
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
        objects=(study, *_patient(patient_id)),
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
        objects=(*_patient(patient_id), *_studies(transaction, outcome, instances_of_request)),
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
        objects=(*_patient(patient_id), *_studies(transaction, outcome, instances_of_request)),
        purposes=purposes(caller.user),
    )


def _counts(number_of: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted((sop_class_uid, number) for sop_class_uid, number in number_of.items() if sop_class_uid)


# --- patients ----------------------------------------------------------------------------------------


def patient_feed(
    transaction: Coded,
    participants: tuple[Participant, ...],
    outcome: Outcome,
    changes: Iterable[tuple[str, str]],
    *,
    message: tuple[str, str],
    description: str = "",
    purposes_of_use: tuple[Coded, ...] = (),
) -> tuple[AuditEvent, ...]:
    """A message of an identity feed (ITI-8, 44; ITI TF-2 3.8.5, 3.44.5): each action with its patient, all at
    the same moment.

    `message` is the field that holds the message's id, and the id.
    """
    field, message_id = message
    now = datetime.now(UTC)
    return tuple(
        AuditEvent(
            event_id=PATIENT_RECORD,
            action=action,
            outcome=outcome,
            event_types=(transaction,),
            participants=participants,
            objects=(patient_object(patient_id, details=((field, message_id.encode()),)),)
            if patient_id
            else (),
            outcome_description=description,
            purposes=purposes_of_use,
            time=now,
        )
        for action, patient_id in changes
    )


def procedure_record(
    transaction: Coded,
    participants: tuple[Participant, ...],
    outcome: Outcome,
    patient_id: str,
    studies: Mapping[str, str],
    *,
    message: tuple[str, str],
    description: str = "",
) -> AuditEvent:
    """A message about procedures (RAD-4, 13, 128; RAD TF-2 4.13): `studies` are accession numbers by Study
    Instance UID, which is empty where the message names none.

    `message` is the field that holds the message's id, and the id.
    """
    field, message_id = message
    return AuditEvent(
        event_id=PROCEDURE_RECORD,
        action="U",
        outcome=outcome,
        event_types=(transaction,),
        participants=participants,
        objects=(
            patient_object(patient_id, details=((field, message_id.encode()),)),
            *(
                study_object(
                    study_instance_uid or _UNKNOWN,
                    details=(("AccessionNumber", accession_number.encode()),) if accession_number else (),
                )
                for study_instance_uid, accession_number in studies.items()
            ),
        ),
        outcome_description=description,
    )


def consent_changed(
    side: Side, caller: Caller, outcome: Outcome, *, policy_id: str, patient_id: str, change: str
) -> AuditEvent:
    """A change of who may see what of a patient (DICOM PS3.15 A.5.3.11); of one that was not made, what was
    never read is empty."""
    return _alert(
        side,
        caller,
        outcome,
        SECURITY_CONFIGURATION,
        patient_id,
        object_id=policy_id or "consent",
        description=f"consent policy {change}",
    )


def hold_changed(
    caller: Caller, outcome: Outcome, *, hold_id: str, patient_id: str, change: str
) -> AuditEvent:
    """A legal hold of the trail was placed or released (DICOM PS3.15 A.5.3.11); an empty id: it was not."""
    return _alert(
        Side.SERVER,
        caller,
        outcome,
        SECURITY_CONFIGURATION,
        patient_id,
        object_id=hold_id or AUDIT_LOG_NAME,
        description=change,
    )


def user_changed(caller: Caller, outcome: Outcome, *, name: str, change: str) -> AuditEvent:
    """A change of who a person is to the community (DICOM PS3.15 A.5.3.11)."""
    person = ParticipantObject(
        object_id=name,
        id_type=USER_IDENTIFIER,
        type_code=1,
        role=11,
        details=((ALERT_DESCRIPTION, f"person {change}".encode()),),
    )
    return AuditEvent(
        event_id=SECURITY_ALERT,
        action="E",
        outcome=outcome,
        event_types=(USER_ATTRIBUTES_CHANGED,),
        participants=http_push_participants(caller, server=True),
        objects=(person,),
    )


def system_tested(
    caller: Caller, outcome: Outcome, *, addresses: Iterable[str], description: str
) -> AuditEvent:
    """Somebody had a system tested, or was not let: this service connects to its `addresses`, which few may
    have it do (DICOM PS3.15 A.5.3.11)."""
    return AuditEvent(
        event_id=SECURITY_ALERT,
        action="E",
        outcome=outcome,
        event_types=(USE_OF_RESTRICTED_FUNCTION,),
        participants=http_push_participants(caller, server=True),
        objects=tuple(_subject(address, description) for address in addresses),
        purposes=purposes(caller.user),
    )


def service_operated(
    caller: Caller, outcome: Outcome, *, object_id: str, patient_id: str, change: str
) -> AuditEvent:
    """An operator had this service do to an object what few may, or was not let (DICOM PS3.15 A.5.3.11)."""
    return _alert(
        Side.SERVER,
        caller,
        outcome,
        USE_OF_RESTRICTED_FUNCTION,
        patient_id,
        object_id=object_id,
        description=change,
    )


def break_glass(
    side: Side,
    caller: Caller,
    outcome: Outcome,
    *,
    kind: Coded,
    policy_id: str,
    patient_id: str,
    reason: str,
) -> AuditEvent:
    """Policies of a patient were overridden in an emergency, or that was looked at (DICOM PS3.15 A.5.3.11).

    `kind` is EMERGENCY_OVERRIDE_STARTED or EMERGENCY_OVERRIDE_STOPPED; `policy_id` is empty for what
    was refused.
    """
    return _alert(
        side, caller, outcome, kind, patient_id, object_id=policy_id or kind.text, description=reason
    )


def _alert(
    side: Side,
    caller: Caller,
    outcome: Outcome,
    kind: Coded,
    patient_id: str,
    *,
    object_id: str,
    description: str,
) -> AuditEvent:
    return AuditEvent(
        event_id=SECURITY_ALERT,
        action="E",
        outcome=outcome,
        event_types=(kind,),
        participants=http_push_participants(caller, server=side is Side.SERVER),
        objects=(*_patient(patient_id), _subject(object_id, description)),
        purposes=purposes(caller.user),
    )


def _subject(object_id: str, description: str) -> ParticipantObject:
    return ParticipantObject(
        object_id=object_id,
        id_type=URI,
        type_code=2,
        role=13,
        details=((ALERT_DESCRIPTION, description.encode()),),
    )


def _patient(patient_id: str) -> tuple[ParticipantObject, ...]:
    return (patient_object(patient_id),) if patient_id else ()
