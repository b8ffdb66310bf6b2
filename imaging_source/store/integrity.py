"""Damaged and lost files of instances: never served, told of in the trail, counted for operators."""

from __future__ import annotations

import time
from collections.abc import Sequence

from shared.audit.events import AuditEvent, Outcome
from shared.audit.node_events import object_damaged
from shared.audit.recorder import AuditRecorder
from shared.imaging.instance import Instance
from shared.telemetry.log import logger

_log = logger("imaging_source.integrity")

# The same damage is told of once in so many seconds, however often the instance is asked for.
_AGAIN_SECONDS = 3600.0
_MAX_TOLD = 10_000


class Damages:
    """What is known to be damaged, for one process."""

    def __init__(self) -> None:
        self._told: dict[str, float] = {}

    def __len__(self) -> int:
        """How many files were found damaged since the start and not repaired."""
        return len(self._told)

    def forget(self, sha256: str) -> None:
        """A file is whole again."""
        self._told.pop(sha256, None)

    async def tell(self, damaged: Sequence[Instance], recorder: AuditRecorder) -> None:
        """Record that instances cannot be served; raises `AuditUnavailable`."""
        now = time.monotonic()
        untold = [
            one for one in damaged if now - self._told.get(one.sha256, -_AGAIN_SECONDS) >= _AGAIN_SECONDS
        ]
        for instance in untold:
            _log.error("the file of an instance is lost or damaged", sha256=instance.sha256)
            while len(self._told) >= _MAX_TOLD:
                self._told.pop(next(iter(self._told)))
            self._told[instance.sha256] = now
        await recorder.record(tuple(damage_event(one.sop_instance_uid) for one in untold))


def damage_event(sop_instance_uid: str) -> AuditEvent:
    """Describe that the kept bytes of an instance are not those that were acknowledged."""
    return object_damaged(
        f"urn:oid:{sop_instance_uid}",
        Outcome.SERIOUS_FAILURE,
        "the file of a stored instance is lost or damaged; it is not served, send the instance again",
    )
