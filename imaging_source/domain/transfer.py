"""What came in one association or request, and the audit events that tell of it (RAD-18, RAD-108).

The receiver writes one DICOM Instances Transferred (PS3.15 A.5.3.7) for each study and outcome: action C for
what it did not have, R for what it had already, and a failure for what it refused.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from itertools import groupby
from operator import attrgetter
from typing import Any

from shared.audit import patterns
from shared.audit.events import AuditEvent, Coded, Outcome, Participant
from shared.imaging.instance import Issuer


class Fate(StrEnum):
    """What became of an instance that came.

    `REPAIRED` was there already, and what was stored of it was lost or damaged: it is whole again. Of two
    data sets under one SOP Instance UID `REPLACED` took the place of the first, and `KEPT_BESIDE` did not;
    `CHANGED` is what an archive has changed that keeps it. What was `COERCED` is kept as it came, too.
    """

    CREATED = "C"
    IDENTICAL = "R"
    REPAIRED = "U"
    REPLACED = "V"
    KEPT_BESIDE = "B"
    CHANGED = "A"
    COERCED = "O"
    REFUSED = "F"

    @property
    def action(self) -> str:
        """The action of its audit event."""
        return _ACTIONS.get(self, self.value)


_ACTIONS = {
    Fate.REPLACED: "U",
    Fate.CHANGED: "U",
    Fate.KEPT_BESIDE: "C",
    Fate.COERCED: "C",
    Fate.REFUSED: "C",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sender:
    """Who sent, as its audit events say it: the transaction, all participants, the purposes of use."""

    transaction: Coded
    participants: tuple[Participant, ...]
    purposes: tuple[Coded, ...] = ()

    def to_json(self) -> bytes:
        """The sender as the index keeps it until its events are durable."""
        return json.dumps(asdict(self), ensure_ascii=False).encode()

    @classmethod
    def from_json(cls, octets: bytes) -> Sender:
        """What `to_json` wrote."""
        value = json.loads(octets)
        return cls(
            transaction=Coded(**value["transaction"]),
            participants=tuple(map(_participant, value["participants"])),
            purposes=tuple(Coded(**purpose) for purpose in value["purposes"]),
        )


def _participant(value: dict[str, Any]) -> Participant:
    return Participant(**{**value, "roles": tuple(Coded(**role) for role in value["roles"])})


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """Instances of one SOP class and study with one fate; `patient_id` is a CX, `last_at` when the last came.

    Of what cannot be read nothing but its fate is known.
    """

    study_instance_uid: str
    patient_id: str
    sop_class_uid: str
    fate: Fate
    number: int
    last_at: datetime


def events(sender: Sender, received: Iterable[Received]) -> Iterator[AuditEvent]:
    """Describe what came: one event for each patient, study and fate."""
    key = attrgetter("patient_id", "study_instance_uid", "fate")
    for (patient_id, study_instance_uid, fate), group in groupby(sorted(received, key=key), key=key):
        instances = list(group)
        number_of: Counter[str] = Counter()
        for content in instances:
            number_of[content.sop_class_uid] += content.number
        yield patterns.instances_received(
            sender.transaction,
            sender.participants,
            Outcome.SERIOUS_FAILURE if fate is Fate.REFUSED else Outcome.SUCCESS,
            number_of,
            action=fate.action,
            study_instance_uid=study_instance_uid,
            patient_id=patient_id,
            description=_described(fate, instances),
            purposes_of_use=sender.purposes,
            time=max(content.last_at for content in instances),
        )


def _described(fate: Fate, instances: list[Received]) -> str:
    number = sum(content.number for content in instances)
    match fate:
        case Fate.REFUSED:
            return f"{number} instances were refused"
        case Fate.REPAIRED:
            return f"{number} instances were stored anew: their files were lost or damaged"
        case Fate.REPLACED:
            return f"{number} instances took the place of others under their UIDs, which are kept"
        case Fate.COERCED:
            return f"{number} instances were given the identifiers of their patient here; what came is kept"
        case Fate.CHANGED:
            return f"{number} instances have changed in the archive that keeps them"
        case Fate.KEPT_BESIDE:
            return f"{number} instances are kept beside others under their UIDs, which are given as before"
        case _:
            return ""


def cx(patient_id: str, issuer: Issuer) -> str:
    """A patient id of a department as CX (ITI TF-2 2.2 Z): with what is known of its issuer."""
    if not patient_id:
        return ""
    authority = "&".join(map(_escaped, (issuer.local, issuer.universal_id, issuer.universal_id_type)))
    return f"{_escaped(patient_id)}^^^{authority}".rstrip("&").removesuffix("^^^")


def _escaped(value: str) -> str:
    for character, escape in (
        ("\\", "\\E\\"),
        ("^", "\\S\\"),
        ("&", "\\T\\"),
        ("~", "\\R\\"),
        ("|", "\\F\\"),
    ):
        value = value.replace(character, escape)
    return value
