"""What a gateway records: what it was asked, and for each place what it asked there itself (ITI TF-2 3.38.5,
3.39.5; RAD TF-3 5.1)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from shared.audit.events import (
    EXPORT,
    HOME_OF_DOCUMENT,
    HOME_OF_QUERY,
    IMPORT,
    INSTANCES_ACCESSED,
    INSTANCES_TRANSFERRED,
    QUERY,
    REPOSITORY_UNIQUE_ID,
    AuditEvent,
    Outcome,
    ParticipantObject,
    document_object,
    ihe,
    patient_object,
    pull_participants,
    purposes,
    push_participants,
    query_object,
    study_object,
)
from shared.ebrim.identifiers import is_cx
from shared.messages.documents import DocumentRequest
from shared.messages.rad69 import RAD69
from shared.messages.rad75 import RAD75
from shared.security.caller import Caller
from shared.soap.transaction import SoapTransaction

_DOCUMENT_UNIQUE_ID = "ihe:DocumentUniqueId"
_IMAGING = frozenset({RAD69.number, RAD75.number})
_MAX_NAMED = 200


def query_event(
    transaction: SoapTransaction[Any, Any],
    caller: Caller,
    outcome: Outcome,
    *,
    server: bool,
    query_id: str,
    octets: bytes,
    home: str = "",
    patient_id: str = "",
    description: str = "",
) -> AuditEvent:
    """A stored query that was answered (`server`) or asked."""
    named = ihe(transaction.number, transaction.name)
    details = [("QueryEncoding", b"UTF-8")]
    if home:
        details.append((HOME_OF_QUERY, home.encode()))
    return AuditEvent(
        event_id=QUERY,
        action="E",
        outcome=outcome,
        outcome_description=description,
        event_types=(named,),
        participants=push_participants(caller, server=server),
        objects=(
            *((patient_object(patient_id),) if patient_id else ()),
            query_object(query_id, named, octets, details=tuple(details)),
        ),
        purposes=purposes(caller.user),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """A document or an instance as it was asked for; study and series are empty for a document."""

    document: DocumentRequest
    study_instance_uid: str = ""
    series_instance_uid: str = ""


def retrieval_event(
    transaction: SoapTransaction[Any, Any],
    caller: Caller,
    outcome: Outcome,
    named: Sequence[Named],
    *,
    server: bool,
    description: str = "",
) -> AuditEvent:
    """A retrieval that was answered (`server`) or asked, for what had this outcome.

    The patient is the one that the assertion names: a gateway does not look into documents.
    """
    if transaction.number in _IMAGING:
        event_id, action = (INSTANCES_TRANSFERRED if server else INSTANCES_ACCESSED), "R"
        objects = tuple(_studies(transaction, outcome, named))
    else:
        event_id, action = (EXPORT, "R") if server else (IMPORT, "C")
        objects = tuple(_document(one.document) for one in named)
    return AuditEvent(
        event_id=event_id,
        action=action,
        outcome=outcome,
        outcome_description=description,
        event_types=(ihe(transaction.number, transaction.name),),
        participants=pull_participants(caller, server=server),
        objects=(*_patient(caller), *objects),
        purposes=purposes(caller.user),
    )


def _patient(caller: Caller) -> Iterator[ParticipantObject]:
    if caller.user is not None:
        known = [one for one in caller.user.resource_ids if is_cx(one)]
        if len(known) == 1:
            yield patient_object(known[0])


def _document(request: DocumentRequest) -> ParticipantObject:
    return document_object(
        request.document_unique_id,
        repository_unique_id=request.repository_unique_id,
        home_community_id=request.home_community_id,
    )


def _studies(
    transaction: SoapTransaction[Any, Any], outcome: Outcome, named: Sequence[Named]
) -> Iterator[ParticipantObject]:
    home_type = HOME_OF_QUERY if transaction.number == RAD75.number else HOME_OF_DOCUMENT
    # A record must stay below what its receivers accept.
    left = _MAX_NAMED if outcome is not Outcome.SUCCESS else 0
    for study in dict.fromkeys(one.study_instance_uid for one in named):
        documents = [one.document for one in named if one.study_instance_uid == study]
        places = dict.fromkeys(one.repository_unique_id for one in documents if one.repository_unique_id)
        homes = dict.fromkeys(one.home_community_id for one in documents if one.home_community_id)
        failed = documents[:left]
        left -= len(failed)
        yield study_object(
            # An id is never absent from the record, whatever the request left out.
            study or "unknown",
            details=(
                *((REPOSITORY_UNIQUE_ID, place.encode()) for place in places),
                *((home_type, home.encode()) for home in homes),
                *((_DOCUMENT_UNIQUE_ID, one.document_unique_id.encode()) for one in failed),
            ),
        )
