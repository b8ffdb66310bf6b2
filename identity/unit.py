"""What one request of the identity service works with, and what all of them share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from identity.domain.proof_nonce import ProofNonces
from identity.settings import IdentitySettings
from identity.store.keys import SigningKeys
from identity.store.lockout import Lockout
from shared.audit.events import AuditEvent
from shared.audit.outbox import insert_events
from shared.audit.recorder import AuditRecorder
from shared.perform import UnitOfWork, answer_to
from shared.security.issuer import WatchedIssuer
from shared.security.key_sets import KeySets
from shared.store.engine import Database, Result, Transaction, Work
from shared.store.failures import DatabaseError


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What every unit of the service shares; `assertions` is None where no key for them is set up.

    `client_keys` are those by which clients sign their assertions, `lockout` counts who could not sign in,
    and `page_key` seals what pages give to browsers, in every process at the database. `nonces` date proofs
    of possession, where they have to be.
    """

    settings: IdentitySettings
    database: Database
    recorder: AuditRecorder
    providers: KeySets
    client_keys: KeySets
    keys: SigningKeys
    assertions: WatchedIssuer | None
    lockout: Lockout
    page_key: bytes
    nonces: ProofNonces | None = None


class Unit(UnitOfWork[Parts]):
    """What one request works with."""

    async def write(self, work: Work[Result], events: Sequence[AuditEvent]) -> Result:
        """Run `work` in one transaction with the events that describe it; raises `XdsError`."""

        async def work_and_events(transaction: Transaction) -> Result:
            result = await work(transaction)
            await insert_events(transaction, events, self.parts.recorder)
            return result

        try:
            result = await self.parts.database.write(work_and_events)
        except DatabaseError as error:
            answer = answer_to(error)
            if answer is None:
                raise
            raise answer from error
        self.audited = True
        return result
