"""A service that, for single requests, asks nobody for consent and records nothing: what trust costs is
measured against it."""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any

from shared.audit.events import AuditEvent
from shared.audit.recorder import AuditRecorder
from shared.consent.decision import Decision

#: Whether the request that is answered now is one of those.
untrusting: ContextVar[bool] = ContextVar("untrusting", default=False)
_PERMITTED = Decision(True, "")


def may_be_untrusting(unit: Any) -> None:
    """Let the units of this kind, and the recorder, look at `untrusting` before they do anything."""
    decide, record = unit.decide, AuditRecorder.record

    async def decided(self: Any, resources: Sequence[Any], *given: Any) -> Sequence[Decision]:
        if untrusting.get():
            return [_PERMITTED] * len(resources)
        answered: Sequence[Decision] = await decide(self, resources, *given)
        return answered

    async def recorded(self: AuditRecorder, events: Sequence[AuditEvent]) -> None:
        if not untrusting.get():
            await record(self, events)

    unit.decide = decided
    vars_of_recorder: Any = AuditRecorder
    vars_of_recorder.record = recorded
