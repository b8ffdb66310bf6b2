import json
from datetime import UTC, datetime
from functools import partial
from uuid import uuid4

import httpx2
import pytest

from registry.store.tables import consent
from registry.transactions import SERVED_REST
from registry.transactions.iti8 import FeedReceiver
from registry.unit import Unit
from shared.consent.directory import registry_policies
from shared.consent.policy import MAX_POLICIES
from shared.security.caller import Node
from shared.security.rights import Rights
from tests.support.metadata import DOMAIN, OTHER_PATIENT, PATIENT
from tests.support.rest import rest_app
from xdsi.patient import message as adt

URL = "http://127.0.0.1:8010"
SURGEON = {"roles": ["SURGEON^^2.999.40.1"]}


def client(registry, address="127.0.0.1"):
    parts = registry.parts
    app = rest_app(SERVED_REST, unit=partial(Unit, parts), recorder=parts.recorder, settings=parts.settings)
    return httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app, client=(address, 1)), base_url=URL, trust_env=False
    )


@pytest.fixture
async def http(registry):
    async with client(registry) as http:
        yield http


async def ask(http, action, status=200, /, **content):
    response = await http.post(f"/consent/{action}", json=content)
    assert response.status_code == status, response.text
    return response.json()


async def test_a_policy_that_was_set_is_handed_to_those_who_decide(registry, http):
    policy = await ask(http, "set", patient_id=PATIENT, effect="deny", **SURGEON)

    found = await registry_policies(http, f"{URL}/xds/registry")(PATIENT)
    assert found.patient_id == PATIENT
    assert [each.policy_id for each in found.policies] == [policy["policy_id"]]
    assert policy["author"] == "127.0.0.1"


async def test_who_wrote_a_policy_and_when_is_what_the_registry_saw(registry, http):
    claimed = {"author": "somebody else", "created": "2001-01-01T00:00:00+00:00"}
    begun = datetime.now(UTC)
    written = await ask(http, "set", patient_id=PATIENT, effect="deny", **claimed)
    again = await ask(
        http, "set", patient_id=PATIENT, effect="permit", policy_id=written["policy_id"], **claimed
    )

    (kept,) = (await ask(http, "policies", patient_id=PATIENT))["policies"]
    assert kept == again
    for policy in (written, again):
        assert policy["author"] == "127.0.0.1"
        assert begun <= datetime.fromisoformat(policy["created"]) <= datetime.now(UTC)


@pytest.mark.parametrize("actions", [["submit"], ["query", "submit"], ["retrieve", "query", "submit"]])
async def test_a_policy_that_nobody_would_enforce_is_refused(registry, http, actions):
    answer = await ask(http, "set", 400, patient_id=PATIENT, effect="deny", actions=actions)

    assert "query and retrieve alone" in answer["detail"]
    assert (await ask(http, "policies", patient_id=PATIENT))["policies"] == []
    await ask(http, "why", 400, patient_id=PATIENT, action="submit")


async def test_a_policy_is_replaced_by_its_id_and_removed(registry, http):
    first = await ask(http, "set", patient_id=PATIENT, effect="deny")
    await ask(http, "set", patient_id=PATIENT, effect="permit", policy_id=first["policy_id"])
    (kept,) = (await ask(http, "policies", patient_id=PATIENT))["policies"]
    assert kept["effect"] == "permit"

    await ask(http, "remove", patient_id=PATIENT, policy_id=first["policy_id"])
    assert (await ask(http, "policies", patient_id=PATIENT))["policies"] == []
    await ask(http, "remove", 404, patient_id=PATIENT, policy_id=first["policy_id"])


async def test_more_policies_than_services_read_are_refused_when_they_are_given(registry, http):
    policy = await ask(http, "set", patient_id=PATIENT, effect="deny")
    others = [json.dumps({**policy, "policy_id": uuid4().urn}) for _ in range(MAX_POLICIES - 1)]
    await registry.parts.database.write(partial(_kept, policies=others))

    answer = await ask(http, "set", 422, patient_id=PATIENT, effect="permit")

    assert f"at most {MAX_POLICIES}" in answer["detail"]
    found = await registry_policies(http, f"{URL}/xds/registry")(PATIENT)
    assert len(found.policies) == MAX_POLICIES
    await ask(http, "set", patient_id=PATIENT, effect="permit", policy_id=policy["policy_id"])
    await ask(http, "set", patient_id=OTHER_PATIENT, effect="permit")


async def _kept(transaction, *, policies):
    rows = [
        {"policy_id": json.loads(policy)["policy_id"], "patient_id": PATIENT, "policy": policy}
        for policy in policies
    ]
    await transaction.insert(consent, rows)


async def test_a_policy_of_another_patient_cannot_be_taken_over(registry, http):
    first = await ask(http, "set", patient_id=PATIENT, effect="deny")
    await ask(http, "set", 409, patient_id=OTHER_PATIENT, effect="permit", policy_id=first["policy_id"])
    await ask(http, "remove", 404, patient_id=OTHER_PATIENT, policy_id=first["policy_id"])
    assert len((await ask(http, "policies", patient_id=PATIENT))["policies"]) == 1


async def test_the_reason_of_a_decision_is_told_with_what_else_was_considered(registry, http):
    policy = await ask(http, "set", patient_id=PATIENT, effect="deny", **SURGEON)

    refused = await ask(http, "why", patient_id=PATIENT, **SURGEON)
    assert not refused["permitted"]
    assert policy["policy_id"] in refused["reason"]
    permitted = await ask(http, "why", patient_id=PATIENT, roles=["RAD-PHYS^^2.999.40.1"])
    assert permitted["permitted"]
    assert permitted["considered"][0]["unmet"] == ["roles"]


async def test_a_merged_id_leads_to_the_policies_of_its_survivor(registry, http):
    await ask(http, "set", patient_id=OTHER_PATIENT, effect="deny")
    feed = FeedReceiver(registry.parts, "registry", Rights(registry.parts.settings))
    await feed.acknowledge(adt("A40", patient=PATIENT, prior=OTHER_PATIENT), Node(address="127.0.0.1"))

    answer = await ask(http, "policies", patient_id=OTHER_PATIENT)
    assert answer["patient_id"] == PATIENT
    assert [policy["patient_id"] for policy in answer["policies"]] == [OTHER_PATIENT]
    await ask(http, "set", patient_id=OTHER_PATIENT, effect="deny", **SURGEON)
    assert len((await ask(http, "policies", patient_id=PATIENT))["policies"]) == 2


async def test_changes_are_recorded_with_the_change(registry, http):
    policy = await ask(http, "set", patient_id=PATIENT, effect="deny")
    await ask(http, "remove", patient_id=PATIENT, policy_id=policy["policy_id"])
    await ask(http, "remove", 404, patient_id=PATIENT, policy_id=policy["policy_id"])

    events = await registry.outbox()
    assert len(events) == 2
    assert all(b'csd-code="110129"' in event for event in events)
    assert all(policy["policy_id"].encode() in event for event in events)


async def test_nodes_of_others_are_refused(registry):
    async with client(registry, "192.0.2.9") as http:
        for action in ("policies", "set", "remove", "why"):
            answer = await ask(http, action, 403, patient_id=PATIENT, effect="permit")
            assert "community" in answer["detail"]


@pytest.mark.parametrize(
    ("action", "content"),
    [
        ("policies", {}),
        ("policies", {"patient_id": 7}),
        ("policies", {"patient_id": "P^^^&1.2.3&ISO"}),
        ("set", {"patient_id": PATIENT}),
        ("set", {"patient_id": PATIENT, "effect": "perhaps"}),
        ("set", {"patient_id": PATIENT, "effect": "deny", "unknown": 1}),
        ("set", {"patient_id": PATIENT, "effect": "deny", "policy_id": "x"}),
        ("remove", {"patient_id": PATIENT}),
        ("why", {"patient_id": PATIENT, "action": "eat"}),
        ("why", {"patient_id": PATIENT, "roles": "RAD"}),
        ("why", {"patient_id": PATIENT, "roles": [1]}),
    ],
)
async def test_requests_that_cannot_be_read_say_why(registry, http, action, content):
    assert (await ask(http, action, 400, **content))["detail"]
    assert await registry.outbox() == []


async def test_an_unknown_patient_gets_no_policy_but_has_none(registry, http):
    unknown = f"NOBODY^^^&{DOMAIN}&ISO"
    await ask(http, "set", 404, patient_id=unknown, effect="deny")
    nothing = {"patient_id": unknown, "identities": [], "policies": [], "updated": {}}
    assert (await ask(http, "policies", patient_id=unknown)) == nothing


async def test_a_form_of_a_web_page_is_not_taken(registry, http):
    response = await http.post(
        "/consent/set",
        content=b'{"patient_id": "x", "effect": "permit"}',
        headers={"content-type": "text/plain"},
    )
    assert response.status_code == 415


@pytest.mark.parametrize(("octets", "status"), [(b"[" * 60_000, 400), (b"[1]", 400), (b" " * 70_000, 413)])
async def test_bodies_that_are_no_objects_or_too_long_are_refused(registry, http, octets, status):
    response = await http.post("/consent/set", content=octets, headers={"content-type": "application/json"})
    assert response.status_code == status
