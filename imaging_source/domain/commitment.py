"""Storage commitment (PS3.4 annex J): which instances are asked about, and what became of each."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum
from hashlib import sha256
from itertools import repeat
from typing import Any, Final, NamedTuple

SOP_CLASS: Final = "1.2.840.10008.1.20.1"
SOP_INSTANCE: Final = "1.2.840.10008.1.20.1.1"
#: Action Type ID of a request, and Event Type IDs of results.
REQUEST: Final = 1
ALL_COMMITTED: Final = 1
FAILURES_EXIST: Final = 2
#: Most instances of one request.
MAX_INSTANCES: Final = 10_000
#: How long what cannot be reported is tried, and how long a result is known that was.
KEPT: Final = timedelta(days=7)
_MINUTES: Final = (1, 5, 15, 60)


class FailureReason(IntEnum):
    """Failure Reason (0008,1197)."""

    PROCESSING_FAILURE = 0x0110
    NO_SUCH_OBJECT = 0x0112
    CLASS_INSTANCE_CONFLICT = 0x0119
    DUPLICATE_TRANSACTION_UID = 0x0131


class ReferencedInstance(NamedTuple):
    """An instance that is asked about."""

    sop_class_uid: str
    sop_instance_uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitmentResult:
    """What became of a request: instances that are committed, and others with the reason."""

    committed: tuple[ReferencedInstance, ...] = ()
    failed: tuple[tuple[ReferencedInstance, FailureReason], ...] = ()

    @property
    def event_type(self) -> int:
        """Event Type ID of its report."""
        return FAILURES_EXIST if self.failed else ALL_COMMITTED

    def is_refused(self, reason: FailureReason) -> bool:
        """Whether all of it failed for this reason."""
        return not self.committed and {why for _, why in self.failed} == {reason}

    def to_json(self) -> bytes:
        """The result as it is kept until it is reported."""
        return json.dumps([self.committed, [(*one, reason) for one, reason in self.failed]]).encode()

    @classmethod
    def from_json(cls, octets: bytes) -> CommitmentResult:
        """What `to_json` wrote."""
        committed, failed = json.loads(octets)
        return cls(
            committed=tuple(ReferencedInstance(*one) for one in committed),
            failed=tuple((ReferencedInstance(*one), FailureReason(reason)) for *one, reason in failed),
        )

    def attributes(self, transaction_uid: str, ae_title: str) -> dict[str, Any]:
        """The Event Information of its report, as DICOM JSON (PS3.4 table J.3-2)."""
        attributes: dict[str, Any] = {
            "00080054": {"vr": "AE", "Value": [ae_title]},
            "00081195": {"vr": "UI", "Value": [transaction_uid]},
        }
        if self.failed:
            attributes["00081198"] = {
                "vr": "SQ",
                "Value": [_item(one) | {"00081197": _us(reason)} for one, reason in self.failed],
            }
        if self.committed:
            attributes["00081199"] = {"vr": "SQ", "Value": list(map(_item, self.committed))}
        return attributes


def _item(one: ReferencedInstance) -> dict[str, Any]:
    return {
        "00081150": {"vr": "UI", "Value": [one.sop_class_uid]},
        "00081155": {"vr": "UI", "Value": [one.sop_instance_uid]},
    }


def _us(value: int) -> dict[str, Any]:
    return {"vr": "US", "Value": [int(value)]}


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitmentRequest:
    """Who asks about which instances."""

    ae_title: str
    transaction_uid: str
    instances: tuple[ReferencedInstance, ...]

    @property
    def commitment_id(self) -> str:
        """The same for the same question, whatever the order of its instances."""
        parts = (self.ae_title, self.transaction_uid, *map(" ".join, sorted(self.instances)))
        return sha256("\n".join(parts).encode()).hexdigest()


def pause(attempts: int) -> timedelta:
    """Until the next attempt to report, after so many that failed."""
    return timedelta(minutes=_MINUTES[min(attempts, len(_MINUTES)) - 1])


def refused(instances: Iterable[ReferencedInstance], reason: FailureReason) -> CommitmentResult:
    """The result of a request that fails for all of its instances."""
    return CommitmentResult(failed=tuple(zip(instances, repeat(reason))))


def distinct(instances: Sequence[ReferencedInstance]) -> tuple[ReferencedInstance, ...]:
    """Each instance once, though a request names it twice, which it should not."""
    return tuple(dict.fromkeys(instances))
