"""Consent away from the registry: a patient's policies fetched, kept for seconds, and asked.

A copy older than `max_age_seconds` is never used: when the policies cannot be fetched, the answer is no.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from time import monotonic

import httpx2

from shared.attempts import awaited
from shared.consent.decision import Action, Decision, Resource
from shared.consent.evaluation import PolicyDecisions
from shared.consent.policy import PatientPolicies, decode_patient_policies
from shared.security.caller import Caller
from shared.security.own_registry import ask
from shared.settings import Default

UNFETCHED = Decision(False, "policies cannot be fetched")

MAX_PATIENTS = 10_000
FETCH_SECONDS = 5.0
PATH = "/consent/policies"

Fetch = Callable[[str], Awaitable[PatientPolicies]]
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Copy:
    """A fetch and the moment when it began: what it brings is at least that new."""

    begun: float
    task: asyncio.Task[PatientPolicies | None]


class ConsentDecisions:
    """The decisions of one service (`shared.consent.decision.Consent`), for use on one event loop.

    Several requests about one patient wait for one fetch; the fetch goes on when a request that waits is
    given up.
    """

    def __init__(
        self,
        fetch: Fetch,
        default: Default,
        max_age_seconds: float,
        *,
        fetch_seconds: float = FETCH_SECONDS,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._fetch = fetch
        self._default = default
        self._max_age = max_age_seconds
        self._fetch_seconds = fetch_seconds
        self._clock = clock
        self._decisions = PolicyDecisions(default)
        self._copies: OrderedDict[str, _Copy] = OrderedDict()
        self._running: set[asyncio.Task[PatientPolicies | None]] = set()

    async def decide(
        self, caller: Caller, action: Action, resources: tuple[Resource, ...]
    ) -> tuple[Decision, ...]:
        """One decision for each resource, in order. What cannot be decided is refused."""
        patients = list(dict.fromkeys(resource.patient_id for resource in resources))
        if len(patients) == 1:
            return await self._of_patient(patients[0], caller, action, resources)
        places = [
            [at for at, each in enumerate(resources) if each.patient_id == patient] for patient in patients
        ]
        answers = await asyncio.gather(
            *(
                self._of_patient(patient, caller, action, [resources[at] for at in of_patient])
                for patient, of_patient in zip(patients, places, strict=True)
            )
        )
        policies = {
            at: decision
            for of_patient, decisions in zip(places, answers, strict=True)
            for at, decision in zip(of_patient, decisions, strict=True)
        }
        return tuple(policies[at] for at in range(len(resources)))

    async def close(self) -> None:
        """Give up what is being fetched."""
        self._copies.clear()
        running = tuple(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def _of_patient(
        self, patient_id: str, caller: Caller, action: Action, resources: Sequence[Resource]
    ) -> tuple[Decision, ...]:
        policies = await self._policies(patient_id)
        if policies is None:
            return (UNFETCHED,) * len(resources)
        if not policies.updated:
            return await self._by(policies, caller, action, resources)
        current = [_current(resource, policies) for resource in resources]
        decided = iter(
            await self._of_entries(
                policies, caller, action, [each for entries in current for each in entries]
            )
        )
        return tuple(_of_all([next(decided) for _ in entries]) for entries in current)

    async def _of_entries(
        self, policies: PatientPolicies, caller: Caller, action: Action, entries: Sequence[Resource]
    ) -> Sequence[Decision]:
        """Decide current entries, of which some may be of another patient than the policies at hand."""
        ours = [each for each in entries if each.patient_id == policies.patient_id]
        others = tuple(each for each in entries if each.patient_id != policies.patient_id)
        of_ours = iter(await self._by(policies, caller, action, ours))
        of_others = iter(await self.decide(caller, action, others) if others else ())
        return [next(of_ours if each.patient_id == policies.patient_id else of_others) for each in entries]

    async def _by(
        self, policies: PatientPolicies, caller: Caller, action: Action, resources: Sequence[Resource]
    ) -> tuple[Decision, ...]:
        return await self._decisions.decide(
            policies.policies, caller, action, resources, identities=policies.identities
        )

    async def _policies(self, patient_id: str) -> PatientPolicies | None:
        copy = self._copies.get(patient_id)
        if copy is None or self._clock() - copy.begun > self._max_age:
            copy = self._begin(patient_id)
        policies = await asyncio.shield(copy.task)
        if policies is None and self._copies.get(patient_id) is copy:
            del self._copies[patient_id]
        return policies

    def _begin(self, patient_id: str) -> _Copy:
        task = asyncio.create_task(self._fetched(patient_id))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        copy = self._copies[patient_id] = _Copy(self._clock(), task)
        self._copies.move_to_end(patient_id)
        self._forget_oldest()
        return copy

    def _forget_oldest(self) -> None:
        while len(self._copies) > MAX_PATIENTS:
            self._copies.popitem(last=False)

    async def _fetched(self, patient_id: str) -> PatientPolicies | None:
        policies = await awaited(self._fetched_in_time(patient_id))
        if isinstance(policies, Exception):  # whatever keeps us from knowing the policies, the answer is no
            log.warning("consent policies cannot be fetched: %s", type(policies).__name__)
            return None
        return policies

    async def _fetched_in_time(self, patient_id: str) -> PatientPolicies:
        async with asyncio.timeout(self._fetch_seconds):
            return await self._fetch(patient_id)


def _current(resource: Resource, policies: PatientPolicies) -> list[Resource]:
    """The resource as each of its entries describes it now, merges resolved."""
    if resource.document_unique_id not in policies.updated:
        return [replace(resource, patient_id=policies.patient_id, document_unique_id="")]
    return [
        replace(
            resource,
            patient_id=entry.patient_id,
            document_unique_id="",
            confidentiality=entry.confidentiality,
            class_code=entry.class_code or resource.class_code,
            type_code=entry.type_code or resource.type_code,
            authors=entry.authors,
            ids=entry.ids,
        )
        for entry in policies.updated[resource.document_unique_id]
    ]


def _of_all(decisions: Sequence[Decision]) -> Decision:
    """A document may be fetched when one of its entries may be found."""
    return next((each for each in decisions if each.permitted), decisions[0])


def registry_policies(http: httpx2.AsyncClient, registry_url: str) -> Fetch:
    """A fetcher of policies from the registry at `registry_url`, the URL of its SOAP endpoint or its base.

    Raises, when it is awaited
    --------------------------
    PolicyError, NoAnswer
        The answer is not a patient's policies, or there is none.
    """

    async def fetch(patient_id: str) -> PatientPolicies:
        content = {"patient_id": patient_id}
        return decode_patient_policies(await ask(http, registry_url, PATH, content))

    return fetch
