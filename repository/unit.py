"""What one request of the repository works with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from repository.integrity import Integrity
from repository.provider import Provider
from repository.settings import RepositorySettings
from repository.store.blobs import Blobs
from shared.audit.events import AuditEvent
from shared.audit.outbox import insert_events
from shared.audit.recorder import AuditRecorder
from shared.consent.decision import Consent
from shared.security.caller import Caller, Node
from shared.soap.client import SoapClient
from shared.store.engine import Database, Transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What the service is made of; one for the life of the process."""

    settings: RepositorySettings
    database: Database
    blobs: Blobs
    integrity: Integrity
    consent: Consent
    registry: SoapClient
    provider: Provider
    recorder: AuditRecorder
    node: Node


@dataclass(slots=True)
class Unit:
    """The parts, and whether this request's audit event was committed together with its change."""

    parts: Parts
    audited: bool = field(default=False)

    def as_client(self) -> Caller:
        """Ourselves, as the registry sees us."""
        return Caller(node=self.parts.node, endpoint=self.parts.settings.registry_url)

    async def insert_events(self, transaction: Transaction, events: Sequence[AuditEvent]) -> None:
        """Put events into the change's own transaction."""
        await insert_events(transaction, events, self.parts.recorder)
