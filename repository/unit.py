"""What one request of the repository works with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import httpx2

from repository.peers.provider import Provider
from repository.settings import RepositorySettings
from repository.store.blobs import Blobs
from repository.store.integrity import Integrity
from shared.audit.events import AuditEvent
from shared.audit.outbox import insert_events
from shared.audit.recorder import AuditRecorder
from shared.consent.decision import Action, Consent, Decision, Resource
from shared.http.client import ourselves
from shared.perform import UnitOfWork
from shared.security.caller import Caller, Node
from shared.soap.client import SoapClient
from shared.store.engine import Database, Transaction, Work
from shared.store.settling import nothing_of_it, write_settled

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What the service is made of; one for the life of the process.

    `node` is ourselves, and `http` what the registry is called by, which knows where that sees us.
    """

    settings: RepositorySettings
    database: Database
    blobs: Blobs
    integrity: Integrity
    consent: Consent
    registry: SoapClient
    provider: Provider
    recorder: AuditRecorder
    node: Node
    http: httpx2.AsyncClient | None = None

    @property
    def ourselves(self) -> Caller:
        """Who works beside the requests."""
        return Caller(node=self.node, endpoint="")


@dataclass(slots=True)
class Unit(UnitOfWork[Parts]):
    """The work of one request, or of one turn beside them."""

    async def decide(self, resources: Sequence[Resource]) -> Sequence[Decision]:
        """Whether consent lets the caller retrieve each of `resources`."""
        return await self.parts.consent.decide(self.caller, Action.RETRIEVE, tuple(resources))

    def as_client(self, transaction: str) -> Caller:
        """Ourselves, as the registry sees us in a transaction."""
        url = self.parts.settings.registry_endpoint(transaction)
        return Caller(node=ourselves(self.parts.node, self.parts.http, url), endpoint=url)

    async def write(self, work: Work[Result], *, done: Work[Result | None] = nothing_of_it) -> Result:
        """Run `work` in one transaction, and find out whether it was done when its commit broke.

        `done` finds the record that `work` leaves; work that may be done twice has none.

        Raises
        ------
        DatabaseError
            As `shared.store.settling.write_settled`.
        """
        return await write_settled(self.parts.database, work, done=done)

    async def insert_events(self, transaction: Transaction, events: Sequence[AuditEvent]) -> None:
        """Put events into the change's own transaction."""
        await insert_events(transaction, events, self.parts.recorder)
