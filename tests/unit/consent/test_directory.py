"""Copies of policies: fetched once, kept for seconds, never trusted longer, and no answer is no."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import httpx2
import pytest

from shared.consent import directory
from shared.consent.decision import Action, Consent, Resource
from shared.consent.directory import UNFETCHED, ConsentDecisions, registry_policies
from shared.consent.policy import (
    Entry,
    PatientPolicies,
    Policy,
    PolicyError,
    encode_patient_policies,
    new_policy,
)
from shared.security import own_registry
from shared.security.own_registry import NoAnswer
from shared.settings import Default
from tests.support.consent import (
    OTHER_PATIENT,
    PATIENT,
    VERY_RESTRICTED,
    a_caller,
    a_document,
    deny,
    permit,
)


class Registry:
    """A source of policies that counts, waits and fails as it is told; time is its own."""

    def __init__(self, *policies: Policy) -> None:
        self.policies = {PATIENT: policies}
        self.updated: dict[str, tuple[Entry, ...]] = {}
        self.asked: list[str] = []
        self.now = 100.0
        self.failure: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()

    async def fetch(self, patient_id: str) -> PatientPolicies:
        self.asked.append(patient_id)
        found = PatientPolicies(patient_id, self.policies.get(patient_id, ()), updated=self.updated)
        await self.gate.wait()
        if self.failure:
            raise self.failure
        return found

    def decisions(self, *, max_age_seconds: float = 10, **changes) -> ConsentDecisions:
        return ConsentDecisions(self.fetch, Default.DENY, max_age_seconds, clock=lambda: self.now, **changes)


async def permitted(consent: Consent, *roles: str, action: Action = Action.QUERY) -> bool:
    (decision,) = await consent.decide(a_caller(*roles), action, (a_document(),))
    return decision.permitted


async def test_a_copy_serves_until_it_is_too_old():
    registry = Registry(permit(roles=["RAD"]))
    consent = registry.decisions()
    assert await permitted(consent, "RAD")
    registry.policies[PATIENT] = (deny(),)

    registry.now += 10
    assert await permitted(consent, "RAD")
    registry.now += 0.1
    assert not await permitted(consent, "RAD")

    assert registry.asked == [PATIENT, PATIENT]


async def test_age_counts_from_when_the_question_was_sent():
    registry = Registry(permit(roles=["RAD"]))
    consent = registry.decisions()
    registry.gate.clear()
    waiting = asyncio.create_task(permitted(consent, "RAD"))
    await asyncio.sleep(0)
    registry.now += 8
    registry.gate.set()
    assert await waiting

    registry.now += 3
    await permitted(consent, "RAD")

    assert len(registry.asked) == 2


async def test_requests_at_once_wait_for_one_fetch():
    registry = Registry(permit(roles=["RAD"]))
    consent = registry.decisions()
    registry.gate.clear()
    waiting = [asyncio.create_task(permitted(consent, "RAD")) for _ in range(20)]
    await asyncio.sleep(0)
    registry.gate.set()

    assert all(await asyncio.gather(*waiting))
    assert registry.asked == [PATIENT]


async def test_a_request_that_is_given_up_does_not_take_the_fetch_from_the_others():
    registry = Registry(permit(roles=["RAD"]))
    consent = registry.decisions()
    registry.gate.clear()
    first, second = (asyncio.create_task(permitted(consent, "RAD")) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    registry.gate.set()

    assert await second
    assert first.cancelled()
    assert registry.asked == [PATIENT]


@pytest.mark.parametrize(
    "failure", [OSError("refused"), PolicyError("not JSON"), TimeoutError(), KeyError("x")]
)
async def test_when_policies_cannot_be_fetched_the_answer_is_no(failure):
    registry = Registry(permit())
    registry.failure = failure
    consent = registry.decisions()

    decisions = await consent.decide(a_caller("RAD"), Action.RETRIEVE, (a_document(), a_document()))

    assert decisions == (UNFETCHED, UNFETCHED)


async def test_an_old_copy_is_no_answer_when_the_registry_is_gone():
    registry = Registry(permit(roles=["RAD"]))
    consent = registry.decisions()
    assert await permitted(consent, "RAD")

    registry.failure = OSError("gone")
    registry.now += 11

    assert not await permitted(consent, "RAD")


async def test_a_failure_is_not_remembered():
    registry = Registry(permit(roles=["RAD"]))
    registry.failure = OSError("gone")
    consent = registry.decisions()
    assert not await permitted(consent, "RAD")

    registry.failure = None

    assert await permitted(consent, "RAD")


async def test_a_registry_that_does_not_answer_is_given_up():
    registry = Registry(permit())
    registry.gate.clear()
    consent = registry.decisions(fetch_seconds=0.01)

    assert not await permitted(consent, "RAD")
    await consent.close()


async def test_resources_of_several_patients_are_decided_in_their_order():
    registry = Registry(permit(roles=["RAD"]))
    registry.policies[OTHER_PATIENT] = (deny(),)
    consent = registry.decisions()

    decisions = await consent.decide(
        a_caller("RAD"),
        Action.QUERY,
        (
            a_document(patient_id=OTHER_PATIENT),
            a_document(),
            a_document(patient_id=OTHER_PATIENT),
            a_document(VERY_RESTRICTED),
        ),
    )

    assert [decision.permitted for decision in decisions] == [False, True, False, True]
    assert sorted(registry.asked) == sorted([PATIENT, OTHER_PATIENT])


async def test_one_patient_who_cannot_be_fetched_does_not_decide_for_another():
    registry = Registry(permit(roles=["RAD"]))
    fetch = registry.fetch

    async def sometimes(patient_id: str) -> PatientPolicies:
        if patient_id == OTHER_PATIENT:
            raise OSError("gone")
        return await fetch(patient_id)

    consent = ConsentDecisions(sometimes, Default.PERMIT, 10)

    decisions = await consent.decide(
        a_caller("RAD"), Action.QUERY, (a_document(patient_id=OTHER_PATIENT), a_document())
    )

    assert decisions[0] == UNFETCHED
    assert decisions[1].permitted


async def test_no_resources_need_no_fetch():
    registry = Registry()
    consent = registry.decisions()

    assert await consent.decide(a_caller("RAD"), Action.QUERY, ()) == ()
    assert registry.asked == []


async def test_copies_are_bounded(monkeypatch):
    monkeypatch.setattr(directory, "MAX_PATIENTS", 3)
    registry = Registry()
    consent = registry.decisions()

    for number in range(9):
        patient = f"P{number}^^^&1.2.3&ISO"
        await consent.decide(a_caller(), Action.QUERY, (a_document(patient_id=patient),))

    assert len(consent._copies) == 3


async def test_closing_gives_up_what_is_being_fetched():
    registry = Registry(permit())
    registry.gate.clear()
    consent = registry.decisions()
    waiting = asyncio.create_task(permitted(consent, "RAD"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    await consent.close()

    with pytest.raises(asyncio.CancelledError):
        await waiting


# --- over HTTP ----------------------------------------------------------------------------------------


def a_registry(status: int, *chunks: bytes, seen: list | None = None):
    """An ASGI application that answers every request so."""

    async def app(scope, receive, send):
        body = (await receive())["body"]
        if seen is not None:
            seen.append((scope["method"], scope["path"], json.loads(body)))
        await send({"type": "http.response.start", "status": status, "headers": []})
        for chunk in chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app))


@pytest.mark.parametrize("url", ["http://registry", "http://registry/", "http://registry/xds/registry"])
async def test_the_registry_is_asked_by_the_patients_id_in_the_body(url):
    seen: list = []
    policies = PatientPolicies(PATIENT, (permit(),))

    async with a_registry(200, encode_patient_policies(policies), seen=seen) as http:
        assert await registry_policies(http, url)(PATIENT) == policies

    assert seen == [("POST", "/consent/policies", {"patient_id": PATIENT})]


@pytest.mark.parametrize("status", [201, 204, 302, 403, 404, 500])
async def test_any_other_status_is_no_answer(status):
    body = encode_patient_policies(PatientPolicies(PATIENT))
    async with a_registry(status, body) as http:
        with pytest.raises(NoAnswer, match=str(status)):
            await registry_policies(http, "http://registry")(PATIENT)


async def test_an_endless_answer_is_cut(monkeypatch):
    monkeypatch.setattr(own_registry, "MAX_BYTES", 1_000)

    async with a_registry(200, *[b"x" * 600] * 4) as http:
        with pytest.raises(NoAnswer, match="larger"):
            await registry_policies(http, "http://registry")(PATIENT)


# --- what became of a document since it was registered ---------------------------------------------------


def a_copy(unique_id: str = "2.25.1", *confidentiality: str) -> Resource:
    return replace(a_document(*confidentiality), document_unique_id=unique_id)


def an_entry(*confidentiality: str, patient_id: str = PATIENT) -> Entry:
    return Entry(patient_id, a_document(*confidentiality).confidentiality)


async def reasons(registry: Registry, *resources: Resource) -> list[str]:
    decisions = await registry.decisions().decide(a_caller("RAD"), Action.RETRIEVE, resources)
    return ["permitted" if each.permitted else each.reason for each in decisions]


async def test_a_document_is_decided_by_the_codes_that_it_has_now():
    policy = deny(confidentiality=[VERY_RESTRICTED])
    registry = Registry(policy, permit(roles=["RAD"]))
    assert await reasons(registry, a_copy(), a_copy("2.25.2")) == ["permitted", "permitted"]

    registry.updated = {"2.25.1": (an_entry(VERY_RESTRICTED),)}
    refused, permitted = await reasons(registry, a_copy(), a_copy("2.25.2"))

    assert policy.policy_id in refused
    assert permitted == "permitted"


async def test_a_code_that_was_lowered_is_lowered_everywhere():
    registry = Registry(deny(confidentiality=[VERY_RESTRICTED]), permit(roles=["RAD"]))
    restricted = a_copy("2.25.1", VERY_RESTRICTED)
    assert await reasons(registry, restricted) != ["permitted"]

    registry.updated = {"2.25.1": (an_entry(),)}
    assert await reasons(registry, restricted) == ["permitted"]


async def test_a_document_may_be_fetched_when_one_of_its_entries_may_be_found():
    registry = Registry(deny(confidentiality=[VERY_RESTRICTED]), permit(roles=["RAD"]))
    registry.updated = {"2.25.1": (an_entry(VERY_RESTRICTED), an_entry())}

    assert await reasons(registry, a_copy()) == ["permitted"]


async def test_a_document_that_was_given_to_another_patient_is_decided_by_that_patients_policies():
    registry = Registry(permit(roles=["RAD"]))
    opted_out = new_policy(patient_id=OTHER_PATIENT, effect="deny")
    registry.policies[OTHER_PATIENT] = (opted_out,)
    registry.updated = {"2.25.1": (an_entry(patient_id=OTHER_PATIENT),)}

    refused, permitted = await reasons(registry, a_copy(), a_copy("2.25.2"))

    assert opted_out.policy_id in refused
    assert permitted == "permitted"
    assert registry.asked == [PATIENT, OTHER_PATIENT]


async def test_without_the_other_patients_policies_the_answer_is_no():
    registry = Registry(permit(roles=["RAD"]))
    registry.updated = {"2.25.1": (an_entry(patient_id=OTHER_PATIENT),)}
    consent = registry.decisions()
    await consent.decide(a_caller("RAD"), Action.RETRIEVE, (a_document(),))
    registry.failure = OSError("gone")

    assert await consent.decide(a_caller("RAD"), Action.RETRIEVE, (a_copy(),)) == (UNFETCHED,)
