"""Which studies are published by themselves, and what they wait for: by modality, by who sent them, and not
those of patients who do not want it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from imaging_source.domain.coding import NotPublishable
from imaging_source.domain.instance import StudyHeader
from imaging_source.domain.orders import OrderState

#: A patient, as id and issuer; an empty issuer is any.
PatientKey = tuple[str, str]


class Trigger(StrEnum):
    """What a study waits for, once it has stopped growing: for nothing more, until storage commitment of its
    instances was answered with success, or until a message said that its order is completed, or its report
    came."""

    QUIET = "quiet"
    COMMITMENT = "commitment"
    ORDER = "order"
    REPORT = "report"


def enough(trigger: Trigger) -> frozenset[OrderState]:
    """The states of an order in which its study is published at once."""
    reported = frozenset({OrderState.REPORTED})
    return reported if trigger is Trigger.REPORT else reported | {OrderState.COMPLETED}


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishingRules:
    """`modalities` are those of which a study has one, any without; `senders` those of whom one sent it,
    anyone without; `withheld` are patients whose studies are published by hand alone."""

    modalities: frozenset[str] = frozenset()
    senders: frozenset[str] = frozenset()
    withheld: frozenset[PatientKey] = frozenset()

    def objection(self, header: StudyHeader, senders: frozenset[str]) -> str:
        """Why a study that `senders` sent is not published by itself; empty where it is. It names no
        patient."""
        if self.senders and self.senders.isdisjoint(senders):
            own = ", ".join(sorted(senders)) or "nobody who is known by name"
            return f"who sent it ({own}) is none of those whose studies are published by themselves"
        if self.modalities and self.modalities.isdisjoint(header.modalities):
            own = ", ".join(header.modalities) or "none"
            return f"its modalities ({own}) are none of those that are published by themselves"
        if not self.withheld.isdisjoint(_keys(header)):
            return "its patient does not want that studies are published by themselves"
        return ""


def _keys(header: StudyHeader) -> Iterator[PatientKey]:
    issuer = header.issuer_of_patient_id
    for name in ("", issuer.local, issuer.universal_id):
        yield header.patient_id, name


def read_patients(lines: Iterable[str]) -> frozenset[PatientKey]:
    """Patients from lines `id` or `id^^^issuer`; what is empty or begins with # is left out.

    Raises
    ------
    NotPublishable
        A line is none; the text names its number.
    """
    keys = set()
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        identifier, separator, issuer = text.partition("^^^")
        if not identifier or "^" in identifier or (separator and not issuer) or "^" in issuer:
            raise NotPublishable(f"line {number} is no patient: write id, or id^^^issuer")
        keys.add((identifier, issuer))
    return frozenset(keys)
