"""Records of queries, and of looks at the trail."""

from __future__ import annotations

from shared.audit.events import (
    AUDIT_LOG_NAME,
    AUDIT_LOG_USED,
    HOME_OF_QUERY,
    QUERY,
    URI,
    AuditEvent,
    Coded,
    Outcome,
    Participant,
    ParticipantObject,
    http_push_participants,
    purposes,
    push_participants,
    query_object,
    sop_class_object,
)
from shared.audit.patterns.record import Side, patient_objects
from shared.security.caller import Caller

# What was looked for in the trail.
SEARCH = "Search"


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
            *patient_objects(patient_id),
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
        objects=(*patient_objects(patient_id), *query),
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
        objects=(
            *patient_objects(patient_id),
            sop_class_object(sop_class_uid, identifier, transfer_syntax_uid),
        ),
        outcome_description=description,
    )
