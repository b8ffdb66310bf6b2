"""What one use of the trail works with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from audit_repository.store.events import Trail
from shared.audit.events import AuditEvent
from shared.perform import UnitOfWork


@dataclass(frozen=True, slots=True)
class Parts:
    """The trail, and how an event of our own comes into it."""

    trail: Trail
    record: Callable[[AuditEvent], Awaitable[None]]


@dataclass(slots=True)
class Unit(UnitOfWork[Parts]):
    """One use of the trail."""

    async def used(self, event: AuditEvent) -> None:
        """Record the use of the trail before anything is found, so that what is found holds it."""
        await self.parts.record(event)
        self.audited = True
