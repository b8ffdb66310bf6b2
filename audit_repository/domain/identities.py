"""Whose records a patient's are: what identity feeds say of ids (ITI TF-2 3.8.5, 3.44.5).

A merge is two records of one message: the subsumed id is deleted, the surviving one updated. Neither names
the other; the message's id, its sender and the time join them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256

from audit_repository.domain.sources import Standing
from shared.audit.dicom_xml import ParsedAuditMessage
from shared.audit.events import PATIENT_RECORD, SOURCE_ROLE, Outcome

#: Transactions that merge patients.
FEEDS = ("ITI-8", "ITI-30", "ITI-44")
DELETED, UPDATED = "D", "U"
#: Records of one message have one time; those of writers that look twice are this near, in microseconds.
SAME_MESSAGE = 5_000_000

# Of an older trail no source is known, but it is closed: nobody adds to it.
_BELIEVED = frozenset({Standing.PROVED, Standing.UNKNOWN})
_MESSAGE_IDS = ("MSH-10", "II")


@dataclass(frozen=True, slots=True)
class FedIdentity:
    """What one record says of an id: `action` D or U, by which message, `at` in microseconds since 1970."""

    patient: str
    action: str
    message: str
    at: int


@dataclass(frozen=True, slots=True)
class Pairing:
    """An id that the record `sequence` deletes, and one that a record of the same message updates."""

    sequence: int
    deleted: str
    updated: str
    apart: int


def is_believed(standing: Standing) -> bool:
    """Whether a record may say who is whom: none whose source is claimed, or another node's."""
    return standing in _BELIEVED


def fed_identities(message: ParsedAuditMessage, patients: Iterable[str]) -> tuple[FedIdentity, ...]:
    """What a record of a feed says of its `patients`; nothing, where nothing was changed or no id given."""
    event = message.event
    feed = next((code.code for code in event.event_types if code.code in FEEDS), "")
    message_ids = [
        (name, value) for item in event.objects for name, value in item.details if name in _MESSAGE_IDS
    ]
    if not (
        feed
        and message_ids
        and event.event_id.code == PATIENT_RECORD.code
        and event.outcome is Outcome.SUCCESS
        and event.action in (DELETED, UPDATED)
    ):
        return ()
    # A control id is one sender's own.
    senders = [
        one.user_id for one in event.participants if SOURCE_ROLE.code in {role.code for role in one.roles}
    ]
    name, value = message_ids[0]
    identity = "\0".join((message.source.source_id, feed, *senders, name, value.hex()))
    return tuple(
        FedIdentity(
            patient=patient,
            action=event.action,
            message=sha256(identity.encode("utf-8", "replace")).hexdigest(),
            at=round(event.time.timestamp() * 1_000_000),
        )
        for patient in dict.fromkeys(patients)
        if patient
    )


def subsumed(survivor: str, pairings: Iterable[Pairing]) -> list[str]:
    """The ids that were merged into `survivor`, which are those whose nearest update is that of it alone.

    Senders begin anew to count their messages, or never count; what such a message leaves open is no merge.
    """
    by_deletion: dict[tuple[int, str], list[Pairing]] = defaultdict(list)
    for pairing in pairings:
        by_deletion[pairing.sequence, pairing.deleted].append(pairing)
    identities = set()
    for (_, deleted), near in by_deletion.items():
        nearest = min(pairing.apart for pairing in near)
        if {pairing.updated for pairing in near if pairing.apart == nearest} == {survivor}:
            identities.add(deleted)
    return sorted(identities - {survivor})
