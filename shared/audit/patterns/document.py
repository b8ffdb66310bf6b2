"""Records of documents: submitted, asked for, removed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Protocol

from shared.audit.events import (
    EXPORT,
    HOME_OF_QUERY,
    IMPORT,
    OBJECT_REFERENCE,
    PATIENT_RECORD,
    AuditEvent,
    Coded,
    Outcome,
    ParticipantObject,
    document_object,
    http_pull_participants,
    patient_object,
    pull_participants,
    purposes,
    push_participants,
    study_object,
    submission_set_object,
)
from shared.audit.patterns.instance import _ERASED
from shared.audit.patterns.record import Side, patient_objects
from shared.ebrim.model import Submission, SubmissionSet
from shared.security.caller import Caller


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
        objects=(*patient_objects(patient_id), *objects),
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
        objects=(*patient_objects(patient_id), study_object(study_instance_uid)),
        purposes=purposes(caller.user),
    )


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
        objects=(*patient_objects(patient_id), *gone),
        purposes=purposes(caller.user),
    )
