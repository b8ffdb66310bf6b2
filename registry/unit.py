"""What one request works with: the database, the decisions on consent, the settings, the clock."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, TypeVar

from sqlalchemy.sql.elements import ClauseElement

from registry.domain.patients import MergeUnderWay
from registry.domain.value_sets import ANYTHING, ValueSets
from registry.settings import RegistrySettings
from registry.store import merges
from registry.store.consents import Given
from registry.store.fragments import find_particulars
from shared.audit.events import AuditEvent
from shared.audit.outbox import event_batch, insert_events
from shared.audit.recorder import AuditRecorder
from shared.consent.decision import Action, Decision, Resource
from shared.consent.documents.bppc import Meanings
from shared.consent.evaluation import PolicyDecisions
from shared.errors import Busy
from shared.perform import UnitOfWork, answer_to
from shared.store.engine import Batch, Database, Reader, Row, Transaction, Work
from shared.store.failures import DatabaseError, OutcomeUnknown
from shared.store.settling import write_settled

Result = TypeVar("Result")

#: Objects that are worked on without giving way on the event loop; a few milliseconds.
AT_ONCE = 1_000

NOTHING_GIVEN = Given()

#: Merges that one request waits for.
MOST_MERGES = 10


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
    meanings: Meanings = field(default_factory=dict)
    now: Callable[[], datetime] = _now


@dataclass(slots=True)
class Unit(UnitOfWork[Parts]):
    """The work of one request; `doubted` tells that a change may have been made that was not answered."""

    doubted: bool = field(default=False, init=False)

    async def fetch(self, statement: ClauseElement, /, **parameters: Any) -> list[Row]:
        """The rows of one statement."""
        with _answered():
            return await self.parts.database.fetch(statement, **parameters)

    async def read(self, work: Work[Result]) -> Result:
        """Run `work`, which only reads, on one snapshot."""
        with _answered():
            return await self.parts.database.read(work)

    async def write(
        self, work: Work[Result], *, events: Sequence[AuditEvent], done: Work[Result | None]
    ) -> Result:
        """Run `work` in one transaction with the events that describe it.

        `done` finds the record that `work` leaves, by which it is found out whether a commit that was not
        answered came through.

        Raises
        ------
        Busy
            Contention did not end or the database cannot be reached; nothing was done.
        OutcomeNotKnown
            The database did not come back in time to say whether the commit came through.
        OutOfResources
            The disk is full; nothing was done.
        """

        async def work_and_events(transaction: Transaction) -> Result:
            result = await work(transaction)
            await insert_events(transaction, events, self.parts.recorder)
            return result

        with _answered():
            result = await write_settled(
                self.parts.database, work_and_events, done=done, doubted=self.doubted
            )
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
        they were inserted. When that is not known it is False as well, and `write` finds out. Raises as
        `write`.
        """
        together = (*batches, event_batch(events, self.parts.recorder))
        with _answered():
            try:
                inserted = await self.parts.database.insert(together, when=when, **parameters)
            except OutcomeUnknown:
                self.doubted, inserted = True, False
        self.audited = self.audited or inserted
        return inserted

    async def finish_merges(self, patient_id: str) -> None:
        """Help with the merges of a patient until they are finished; raises as `write`."""
        with _answered():
            await merges.finish(self.parts.database, patient_id)

    async def decide(self, resources: Sequence[Resource], given: Mapping[str, Given]) -> Sequence[Decision]:
        """Whether consent lets the caller find each of `resources`, by what was given for each patient."""
        decisions: list[Decision] = []
        for start in range(0, len(resources), AT_ONCE):
            if start:
                await asyncio.sleep(0)  # whoever waits for the loop comes first
            decisions += await self._decide(resources[start : start + AT_ONCE], given)
        return decisions

    async def _decide(self, resources: Sequence[Resource], consents: Mapping[str, Given]) -> list[Decision]:
        decisions_by_place: dict[int, Decision] = {}
        places: dict[str, list[int]] = {}
        for at, resource in enumerate(resources):
            places.setdefault(resource.patient_id, []).append(at)
        for patient_id, of_patient in places.items():
            policies, identities = consents.get(patient_id, NOTHING_GIVEN)
            of_this = [resources[at] for at in of_patient]
            if self.parts.decisions.look_at_particulars(policies, identities):
                of_this = await with_particulars(self.parts.database, patient_id, of_this)
            decisions = await self.parts.decisions.decide(
                policies, self.caller, Action.QUERY, of_this, identities=identities
            )
            decisions_by_place.update(zip(of_patient, decisions, strict=True))
        return [decisions_by_place[at] for at in range(len(resources))]

    async def computed(self, number: int, work: Callable[[], Result]) -> Result:
        """What `work` makes of a number of objects: in a thread when there are many, so that it keeps nobody
        waiting.
        """
        return await asyncio.to_thread(work) if number > AT_ONCE else work()


async def with_particulars(
    database: Reader, patient_id: str, resources: Sequence[Resource]
) -> list[Resource]:
    """Documents of a patient with what policies about single ones ask."""
    ids = [each.entry_uuid for each in resources if each.entry_uuid]
    particulars = await find_particulars(database, patient_id, ids) if ids else {}
    return [
        replace(each, **particulars[each.entry_uuid]._asdict()) if each.entry_uuid in particulars else each
        for each in resources
    ]


async def after_merges(unit: Unit, work: Callable[[], Awaitable[Result]]) -> Result:
    """What `work` gives; it begins again when it meets a merge, after that merge was finished.

    Raises
    ------
    Busy
        One merge followed the other.
    """
    for _ in range(MOST_MERGES):
        try:
            return await work()
        except MergeUnderWay as merge:
            await unit.finish_merges(merge.patient_id)
    raise Busy("the patient is being merged; nothing was done, send the message again")


@contextmanager
def _answered() -> Iterator[None]:
    try:
        yield
    except DatabaseError as error:
        answer = answer_to(error)
        if answer is None:
            raise
        raise answer from error
