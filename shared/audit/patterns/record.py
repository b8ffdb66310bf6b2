"""What records of every kind share: who writes them, and whose patient they are about."""

from __future__ import annotations

from enum import Enum, auto

from shared.audit.events import ParticipantObject, patient_object

# An id is never absent from a record, whatever the request left out.
UNKNOWN = "unknown"


class Side(Enum):
    """Who writes the record: the client, which sent the request, or the server, which answered it."""

    CLIENT = auto()
    SERVER = auto()


def patient_objects(patient_id: str) -> tuple[ParticipantObject, ...]:
    """The patient as an object of a record; nothing for an empty CX."""
    return (patient_object(patient_id),) if patient_id else ()
