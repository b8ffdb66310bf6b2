"""Uses of break-glass as the trail tells them, and who looked at them (DICOM PS3.15 A.5.3.11)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from audit_repository.domain.record import is_patient
from shared.audit.events import (
    ALERT_DESCRIPTION,
    EMERGENCY_OVERRIDE_STARTED,
    EMERGENCY_OVERRIDE_STOPPED,
    AuditEvent,
    Outcome,
)

_RESOURCE = 13


@dataclass(frozen=True, slots=True, kw_only=True)
class Emergency:
    """One use: who overrode what denied the data of a patient, when and why.

    `break_id` is the policy that it is at a registry, or the record where there is none. `reviewer` is who
    signed it off at `reviewed`, with a `note`; empty while it waits.
    """

    break_id: str
    sequence: int
    time: datetime
    who: str
    patient: str
    reason: str
    reviewer: str = ""
    reviewed: datetime | None = None
    note: str = ""


def emergencies(records: Iterable[tuple[int, AuditEvent]]) -> list[Emergency]:
    """The uses that records tell of, the latest first; both sides of one are one."""
    begun: dict[str, Emergency] = {}
    ended: dict[str, tuple[str, datetime, str]] = {}
    for sequence, event in sorted(records, key=lambda one: (one[1].time, one[0])):
        kinds = {kind.code for kind in event.event_types}
        if event.outcome is not Outcome.SUCCESS:
            continue
        if EMERGENCY_OVERRIDE_STARTED.code in kinds:
            one = _begun(sequence, event)
            begun.setdefault(one.break_id, one)
        elif EMERGENCY_OVERRIDE_STOPPED.code in kinds:
            break_id, description = _resource(sequence, event)
            ended.setdefault(break_id, (_who(event), event.time, description))
    return [_with_review(one, ended.get(one.break_id)) for one in reversed(begun.values())]


def _with_review(one: Emergency, review: tuple[str, datetime, str] | None) -> Emergency:
    if review is None:
        return one
    reviewer, reviewed, note = review
    return replace(one, reviewer=reviewer, reviewed=reviewed, note=note)


def _begun(sequence: int, event: AuditEvent) -> Emergency:
    break_id, reason = _resource(sequence, event)
    patient = next((one.object_id for one in event.objects if is_patient(one)), "")
    return Emergency(
        break_id=break_id,
        sequence=sequence,
        time=event.time,
        who=_who(event),
        patient=patient,
        reason=reason or event.outcome_description,
    )


def _resource(sequence: int, event: AuditEvent) -> tuple[str, str]:
    """The id of a break and why it was; records of others may name neither."""
    for one in event.objects:
        if one.role == _RESOURCE and one.object_id:
            reason = dict(one.details).get(ALERT_DESCRIPTION, b"").decode("utf-8", "replace")
            return one.object_id, reason
    return f"record:{sequence}", ""


def _who(event: AuditEvent) -> str:
    """The person; of a record without one, the system that asked."""
    people = [one for one in event.participants if one.user_name] or [
        one for one in event.participants if one.requestor
    ]
    return (people[0].user_name or people[0].user_id) if people else ""
