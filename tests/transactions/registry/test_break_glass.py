"""Breaking the glass, from the assertion to the sign-off, at the registry's own door."""

from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial

import httpx2
import pytest

from registry.domain import stored_queries as queries
from registry.transactions import SERVED_REST
from registry.unit import Unit
from shared.consent.directory import registry_policies
from shared.ebrim.model import Code
from shared.security.authenticator import Authenticator
from shared.settings import AssertionSettings, XuaMode
from tests.support.certificates import AUDIENCE, assertion_for, bearer, communities
from tests.support.metadata import PATIENT, a_document_entry, a_submission
from tests.support.registry import APPROVED, Registry, a_clinician
from tests.support.rest import rest_app

URL = "http://127.0.0.1:8010"
BTG = Code("BTG", "2.16.840.1.113883.5.8", "break the glass")
DOCTOR = Code("DOCTOR", "2.999.40.1", "Doctor")


@asynccontextmanager
async def at_the_door(registry):
    """The registry, where doctors may break the glass."""
    settings = registry.parts.settings
    app = rest_app(
        SERVED_REST,
        unit=partial(Unit, registry.parts),
        recorder=registry.parts.recorder,
        settings=settings,
        authenticator=Authenticator(settings),
    )
    transport = httpx2.ASGITransport(app, client=("127.0.0.1", 1))
    async with httpx2.AsyncClient(transport=transport, base_url=URL, trust_env=False) as client:
        yield client


@pytest.fixture
async def ours(registry):
    north = communities()[0]
    changes = {
        "xua": XuaMode.REQUIRED,
        "assertion": AssertionSettings(issuers={north.issuer: north.provider.certificate}, audience=AUDIENCE),
        "break_glass_roles": ("DOCTOR^^urn:oid:2.999.40.1",),
    }
    return Registry(replace(registry.parts, settings=registry.parts.settings.model_copy(update=changes)))


@pytest.fixture
async def http(ours):
    async with at_the_door(ours) as client:
        yield client


def signed(name_id="dr.a", *, roles=(DOCTOR,), purposes=(BTG,)):
    token = bearer(assertion_for(name_id, roles=roles, purposes=purposes))
    return {"authorization": f"Bearer {token}"}


async def post(http, action, content, status=200, headers=None):
    answer = await http.post(f"/consent/{action}", json=content, headers=headers or {})
    assert answer.status_code == status, answer.text
    return answer.json()


async def declare(http, status=200, *, headers=None, **content):
    asked = {"patient_id": PATIENT, "reason": "unconscious, allergies?", **content}
    return await post(http, "break", asked, status, headers or signed())


async def found(registry, name_id, purpose=BTG):
    caller = a_clinician("DOCTOR")
    user = replace(caller.user, name_id=name_id, issuer=communities()[0].issuer, purposes=(purpose,))
    parameters = {"$XDSDocumentEntryPatientId": PATIENT, "$XDSDocumentEntryStatus": (APPROVED,)}
    objects = await registry.query(queries.FIND_DOCUMENTS, parameters, caller=replace(caller, user=user))
    return len(objects.document_entries)


async def test_what_a_denial_hides_is_found_by_who_declared_why_and_by_nobody_else(ours, http):
    await ours.register(a_submission(a_document_entry()))
    await post(http, "set", {"patient_id": PATIENT, "effect": "deny"})
    assert await found(ours, "dr.a") == 0

    declared = await declare(http)

    assert await found(ours, "dr.a") == 1
    assert await found(ours, "dr.a", replace(BTG, value="TREAT")) == 0
    assert await found(ours, "dr.b") == 0
    handed = await registry_policies(http, f"{URL}/xds/registry")(PATIENT)
    assert declared["policy_id"] in [policy.policy_id for policy in handed.policies]

    await post(http, "set", {"patient_id": PATIENT, "effect": "deny", "absolute": True})
    assert await found(ours, "dr.a") == 0


async def test_the_trail_of_the_patient_has_the_person_the_purpose_and_the_reason(ours, http):
    await declare(http)

    (event,) = await ours.outbox()
    assert b'csd-code="110127"' in event
    assert b"dr.a@" in event
    assert b'csd-code="BTG"' in event
    assert PATIENT.replace("&", "&amp;").encode() in event
    assert b"Alert Description" in event


@pytest.mark.parametrize(
    "headers",
    [
        {"purposes": (replace(BTG, value="TREAT"),)},
        {"roles": (replace(DOCTOR, value="CLERK"),)},
        {"roles": (replace(DOCTOR, scheme="2.999.40.2"),)},
        {"roles": ()},
    ],
)
async def test_who_may_not_is_refused_and_recorded_with_the_reason_that_was_given(ours, http, headers):
    refused = await declare(http, 403, headers=signed(**headers))

    assert "XDSI_BREAK_GLASS_ROLES" in refused["detail"]
    assert (await post(http, "breaks", {}))["breaks"] == []


async def test_nobody_breaks_the_glass_without_an_assertion_a_reason_or_a_patient(ours, http):
    await post(http, "break", {"patient_id": PATIENT, "reason": "x"}, 401)
    await declare(http, 400, reason=" ")
    await declare(http, 400, reason="")
    await declare(http, 404, patient_id=PATIENT.replace("^^^", "9^^^", 1))


async def test_a_break_waits_for_its_review_beyond_its_time_and_leaves_with_the_sign_off(ours, http):
    declared = await declare(http)
    await declare(http, 409)
    which = {"policy_id": declared["policy_id"]}

    async with at_the_door(ours.at_later(ours.parts.settings.break_glass_seconds + 1)) as later:
        assert [one["policy_id"] for one in (await post(later, "breaks", {}))["breaks"]] == [*which.values()]
        assert (await post(later, "policies", {"patient_id": PATIENT}))["policies"] == []
        await post(later, "sign-off", {**which, "note": " "}, 400)
        await post(later, "sign-off", {**which, "note": "mine"}, 409, signed("dr.a"))
        await post(later, "sign-off", {**which, "note": "on call, seen"})
        await post(later, "sign-off", {**which, "note": "again"}, 404)
        assert (await post(later, "breaks", {}))["breaks"] == []

    signed_off = next(event for event in await ours.outbox() if b'csd-code="110138"' in event)
    assert PATIENT.replace("&", "&amp;").encode() in signed_off


async def test_a_break_is_neither_set_nor_replaced_nor_removed_like_a_policy(ours, http):
    declared = await declare(http)
    which = {"patient_id": PATIENT, "policy_id": declared["policy_id"]}

    await post(http, "set", {**declared, "policy_id": ""}, 400)
    await post(http, "set", {**which, "effect": "deny"}, 409)
    await post(http, "remove", which, 409)
    assert len((await post(http, "breaks", {}))["breaks"]) == 1
