"""Records of messages about patients and their procedures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from shared.audit.events import (
    PATIENT_RECORD,
    PROCEDURE_RECORD,
    AuditEvent,
    Coded,
    Outcome,
    Participant,
    patient_object,
    study_object,
)
from shared.audit.patterns.record import UNKNOWN


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
                    study_instance_uid or UNKNOWN,
                    details=(("AccessionNumber", accession_number.encode()),) if accession_number else (),
                )
                for study_instance_uid, accession_number in studies.items()
            ),
        ),
        outcome_description=description,
    )
