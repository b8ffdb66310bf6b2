"""What one use of the trail works with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from audit_repository.store.events import Trail
from shared.audit.events import AuditEvent


@dataclass(slots=True)
class Unit:
    """The trail, for one request; `audited` tells that its use is recorded, as `record` keeps events."""

    trail: Trail
    record: Callable[[AuditEvent], Awaitable[None]]
    audited: bool = field(default=False, init=False)

    async def used(self, event: AuditEvent) -> None:
        """Record the use of the trail before anything is found, so that what is found holds it."""
        await self.record(event)
        self.audited = True
