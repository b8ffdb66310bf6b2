"""Records of what few may do: policies, holds, persons, tests, emergencies (DICOM PS3.15 A.5.3.11)."""

from __future__ import annotations

from collections.abc import Iterable

from shared.audit.events import (
    ALERT_DESCRIPTION,
    AUDIT_LOG_NAME,
    SECURITY_ALERT,
    SECURITY_CONFIGURATION,
    URI,
    USE_OF_RESTRICTED_FUNCTION,
    USER_ATTRIBUTES_CHANGED,
    USER_IDENTIFIER,
    AuditEvent,
    Coded,
    Outcome,
    ParticipantObject,
    http_push_participants,
    purposes,
)
from shared.audit.patterns.record import Side, patient_objects
from shared.security.caller import Caller


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
        objects=(*patient_objects(patient_id), _subject(object_id, description)),
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
