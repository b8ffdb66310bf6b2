"""What one request works with: the database, the decisions on consent, the settings, the clock."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar

from sqlalchemy.sql.elements import ClauseElement

from registry.domain.value_sets import ANYTHING, ValueSets
from registry.settings import RegistrySettings
from registry.store.consents import Given
from shared.audit.events import AuditEvent
from shared.audit.outbox import event_batch, insert_events
from shared.audit.recorder import AuditRecorder
from shared.consent.decision import Action, Decision, Resource
from shared.consent.evaluation import PolicyDecisions
from shared.errors import Busy, OutOfResources
from shared.security.caller import Caller
from shared.store.engine import Batch, Database, Row, Transaction, Work
from shared.store.failures import DatabaseBusy, DatabaseFull, DatabaseUnavailable, OutcomeUnknown

Result = TypeVar("Result")

NOTHING_GIVEN = Given()


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What the service is made of; one for the life of the process."""

    settings: RegistrySettings
    database: Database
    decisions: PolicyDecisions
    recorder: AuditRecorder
    value_sets: ValueSets = ANYTHING
    now: Callable[[], datetime] = _now

    @asynccontextmanager
    async def unit(self, caller: Caller) -> AsyncIterator[Unit]:
        """The unit of one request; every statement takes its own connection, so nothing is given back."""
        yield Unit(self)


@dataclass(slots=True)
class Unit:
    """The work of one request.

    `audited` tells that its events were committed with its change; `withheld` holds the reasons for which
    consent left something out.
    """

    parts: Parts
    audited: bool = field(default=False, init=False)
    withheld: set[str] = field(default_factory=set, init=False)

    async def fetch(self, statement: ClauseElement, /, **parameters: Any) -> list[Row]:
        """The rows of one statement."""
        with _answered():
            return await self.parts.database.fetch(statement, **parameters)

    async def read(self, work: Work[Result]) -> Result:
        """Run `work`, which only reads, on one snapshot."""
        with _answered():
            return await self.parts.database.read(work)

    async def write(self, work: Work[Result], *, events: Sequence[AuditEvent]) -> Result:
        """Run `work` in one transaction with the events that describe it.

        Raises
        ------
        Busy
            Contention did not end, the database cannot be reached, or it is not known whether the commit came
            through; the same message with the same MessageID finds out.
        OutOfResources
            The disk is full.
        """

        async def work_and_events(transaction: Transaction) -> Result:
            result = await work(transaction)
            await insert_events(transaction, events, self.parts.recorder)
            return result

        with _answered():
            result = await self.parts.database.write(work_and_events)
        self.audited = True
        return result

    async def insert(
        self,
        batches: Sequence[Batch],
        *,
        when: ClauseElement,
        events: Sequence[AuditEvent],
        **parameters: Any,
    ) -> bool:
        """Insert rows with the events that describe it, if `when` finds something and all are new; whether
        they were inserted. Raises as `write`.
        """
        together = (*batches, event_batch(events, self.parts.recorder))
        with _answered():
            inserted = await self.parts.database.insert(together, when=when, **parameters)
        self.audited = self.audited or inserted
        return inserted

    async def permits(
        self,
        caller: Caller,
        resources: Sequence[Resource],
        given: Mapping[str, Given],
    ) -> list[bool]:
        """Whether consent lets `caller` find each of `resources`; what it refuses is `withheld`."""
        decisions = await self.decided(caller, resources, given)
        self.withhold(decisions)
        return [decision.permitted for decision in decisions]

    def withhold(self, decisions: Iterable[Decision]) -> None:
        """Note the reasons of those that refuse."""
        self.withheld.update(decision.reason for decision in decisions if not decision.permitted)

    async def decided(
        self,
        caller: Caller,
        resources: Sequence[Resource],
        given: Mapping[str, Given],
    ) -> list[Decision]:
        """Whether consent lets `caller` find each of `resources`, by what was given for each patient."""
        found: dict[int, Decision] = {}
        places: dict[str, list[int]] = {}
        for at, resource in enumerate(resources):
            places.setdefault(resource.patient_id, []).append(at)
        for patient_id, of_patient in places.items():
            policies, identities = given.get(patient_id, NOTHING_GIVEN)
            decisions = await self.parts.decisions.decide(
                policies,
                caller,
                Action.QUERY,
                [resources[at] for at in of_patient],
                identities=identities,
            )
            found.update(zip(of_patient, decisions, strict=True))
        return [found[at] for at in range(len(resources))]


@contextmanager
def _answered() -> Iterator[None]:
    try:
        yield
    except DatabaseBusy:
        raise Busy("the registry is busy; send the message again after a moment") from None
    except DatabaseUnavailable as error:
        raise Busy("the registry cannot reach its database; send the message again later") from error
    except DatabaseFull as error:
        raise OutOfResources("the registry's disk is full; nothing was stored") from error
    except OutcomeUnknown as error:
        raise Busy("the outcome is not known; send the message again with its MessageID") from error
