"""What one use of the trail works with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from audit_repository.domain.record import Record
from audit_repository.domain.sources import Sources
from audit_repository.peers.consents import ConsentRegistry
from audit_repository.settings import AuditRepositorySettings
from audit_repository.store.events import Trail
from audit_repository.store.retention import Retention
from shared.audit.events import AuditEvent
from shared.pages.handles import Handles
from shared.perform import UnitOfWork


@dataclass(frozen=True, slots=True)
class Parts:
    """The trail, how records of others and events of our own come into it, what seals where a search of
    somebody goes on, what gives up old records, and the registry that keeps the consents."""

    settings: AuditRepositorySettings
    trail: Trail
    sources: Sources
    keep: Callable[[Sequence[Record]], Awaitable[int]]
    record: Callable[[AuditEvent], Awaitable[None]]
    handles: Handles
    retention: Retention
    registry: ConsentRegistry


@dataclass(slots=True)
class Unit(UnitOfWork[Parts]):
    """One use of the trail."""

    async def used(self, event: AuditEvent) -> None:
        """Record the use of the trail before anything is found, so that what is found holds it."""
        await self.parts.record(event)
        self.audited = True
