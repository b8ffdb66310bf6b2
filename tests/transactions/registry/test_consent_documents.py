"""Consents as documents and resources: kept as they came, in force at once, withdrawn whole."""

from __future__ import annotations

import hashlib
import re
from base64 import b64decode, b64encode
from dataclasses import replace
from functools import partial
from typing import Any

import httpx2
import pytest

from registry.domain import stored_queries as queries
from registry.transactions import SERVED_REST
from registry.unit import Unit
from shared.consent.documents.appc import FORMAT_CODE as APPC
from shared.consent.documents.forms import with_content
from shared.ebrim.model import Code
from shared.messages.iti18 import ReturnType
from tests.support.consents import (
    OPT_IN,
    OPT_OUT,
    a_consent,
    an_acknowledgement,
    an_actor,
    an_exclusion,
    octets,
)
from tests.support.metadata import DOMAIN, PATIENT, a_document_entry, a_submission
from tests.support.registry import APPROVED, a_clinician
from tests.support.rest import rest_app
from tests.unit.consent.test_appc import ROOT_TARGET, Rule, Target
from tests.unit.consent.test_appc import a_document as an_appc_document

URL = "http://127.0.0.1:8010"
ID = PATIENT.partition("^")[0]
OURS = (DOMAIN, ID)
FHIR = {"content-type": "application/fhir+json"}
BPPC = "urn:ihe:iti:bppc:2007"
VALUE = re.compile(rb'value="([^"]+)"')
MEANINGS = {OPT_OUT: ({"effect": "deny"},), OPT_IN: ({"effect": "permit", "roles": ["RAD-PHYS"]},)}
RADIOLOGIST, SURGEON = a_clinician("RAD-PHYS"), a_clinician("SURGEON")
FIND = {"$XDSDocumentEntryPatientId": PATIENT, "$XDSDocumentEntryStatus": [APPROVED]}


@pytest.fixture
async def http(registry):
    parts = replace(registry.parts, meanings=MEANINGS)
    app = rest_app(SERVED_REST, unit=partial(Unit, parts), recorder=parts.recorder, settings=parts.settings)
    transport = httpx2.ASGITransport(app, client=("127.0.0.1", 1))
    async with httpx2.AsyncClient(transport=transport, base_url=URL, trust_env=False) as http:
        yield http


async def ask(http, action, status=200, /, **content) -> Any:
    response = await http.post(f"/consent/{action}", json=content)
    assert response.status_code == status, response.text
    return response.json()


def written(document: bytes) -> str:
    return b64encode(document).decode()


async def seen(registry, caller) -> int:
    found = await registry.query(
        queries.FIND_DOCUMENTS, FIND, caller=caller, return_type=ReturnType.OBJECT_REF
    )
    return len(found.object_refs)


async def policies(http) -> list[dict[str, Any]]:
    return (await ask(http, "policies", patient_id=PATIENT))["policies"]


async def test_an_acknowledged_policy_is_in_force_at_once_and_withdrawn_whole(registry, http):
    await registry.register(a_submission(a_document_entry()))
    assert await seen(registry, SURGEON) == 1

    document = an_acknowledgement(OPT_IN, patient=OURS)
    kept = await ask(http, "documents", format_code=BPPC, document=written(document))
    assert kept["sentences"] == [
        "Who has the role RAD-PHYS may find or open the patient's documents from 2020-01-01 00:00 UTC."
    ]
    assert (await seen(registry, SURGEON), await seen(registry, RADIOLOGIST)) == (0, 1)
    assert {policy["source"] for policy in await policies(http)} == {kept["source"]}

    await ask(http, "withdraw", patient_id=PATIENT, source=kept["source"])
    assert await policies(http) == []
    assert await seen(registry, SURGEON) == 1
    await ask(http, "withdraw", 404, patient_id=PATIENT, source=kept["source"])


async def test_a_consent_replaces_the_one_before_in_one_step(registry, http):
    first = await ask(
        http, "documents", format_code=BPPC, document=written(an_acknowledgement(OPT_IN, patient=OURS))
    )
    opt_out = {"format_code": BPPC, "document": written(an_acknowledgement(OPT_OUT, patient=OURS))}
    await ask(http, "documents", 409, **opt_out, replaces="urn:uuid:none")
    assert len(await policies(http)) == 1

    await ask(http, "documents", **opt_out, replaces=first["source"])
    [policy] = await policies(http)
    assert policy["effect"] == "deny"


async def test_an_appc_document_excludes_whom_it_names(registry, http):
    await registry.register(a_submission(a_document_entry()))
    excluded = an_appc_document(Rule("Deny", Target(subjects=[{"role": "A"}]), Target())).decode()
    document = (
        excluded.replace('root="2.999.1"', f'root="{DOMAIN}"')
        .replace("P0001", ID)
        .replace('code="A" codeSystem="2.999.40"', 'code="SURGEON" codeSystem="2.999.40.1"')
    )
    assert ROOT_TARGET in excluded

    await ask(http, "documents", format_code=APPC, document=written(document.encode()))

    assert (await seen(registry, SURGEON), await seen(registry, RADIOLOGIST)) == (0, 1)


async def test_a_fhir_consent_is_kept_as_it_came_and_in_force_at_once(registry, http):
    await registry.register(a_submission(a_document_entry()))
    consent = octets(
        a_consent(OURS, provision={"type": "deny", "provision": [
            {"type": "permit", "actor": [an_actor("Practitioner", "u-778", "https://idp.example")]}
        ]})
    )  # fmt: skip
    made = await http.post("/fhir/Consent", content=consent, headers=FHIR)
    assert made.status_code == 201, made.text

    read = await http.get(made.headers["location"])
    assert read.content == consent
    assert read.headers["content-type"].startswith("application/fhir+json")
    assert await seen(registry, SURGEON) == 1, "u-778 is named"
    assert SURGEON.user is not None
    other = replace(SURGEON, user=replace(SURGEON.user, name_id="u-1"))
    assert await seen(registry, other) == 0


@pytest.mark.parametrize(
    ("format_code", "document"),
    [
        (BPPC, an_acknowledgement("2.999.50.9", patient=OURS)),
        (BPPC, an_acknowledgement(OPT_OUT, patient=("2.999.1", ID))),
        (BPPC, b"rubbish"),
        (APPC, an_acknowledgement(OPT_OUT, patient=OURS)),
        ("urn:x", an_acknowledgement(OPT_OUT, patient=OURS)),
    ],
    ids=["unknown policy", "foreign patient", "rubbish", "another format", "no consent"],
)
async def test_what_is_not_understood_is_refused_with_its_reason_and_changes_nothing(
    registry, http, format_code: str, document: bytes
):
    answer = await ask(http, "documents", 422, format_code=format_code, document=written(document))

    assert len(answer["detail"]) > 10
    assert await policies(http) == []


async def test_a_fhir_consent_that_is_not_understood_is_told_as_an_outcome(registry, http):
    consent = octets(a_consent(OURS, provision={"type": "permit", "code": [{}]}))
    answer = await http.post("/fhir/Consent", content=consent, headers=FHIR)

    assert answer.status_code == 422
    assert "Consent.provision.code" in answer.json()["issue"][0]["diagnostics"]


async def test_a_preview_says_who_would_see_what_and_keeps_nothing(registry, http):
    for code in ("N", "R"):
        entry = a_document_entry(confidentiality_codes=(Code(code, "2.16.840.1.113883.5.25"),))
        await registry.register(a_submission(entry))

    answer = await ask(
        http, "preview", patient_id=PATIENT, effect="deny", roles=["SURGEON"], confidentiality=["R"]
    )

    assert await policies(http) == []
    by_role = {row["person"].get("roles", ""): row for row in answer["persons"]}
    assert by_role[""]["find"] == {"now": 2, "then": 2}
    assert by_role["SURGEON"]["find"] == {"now": 2, "then": 1}
    assert by_role["SURGEON"]["open"] == {"now": 2, "then": 1}
    assert answer["sentences"] == [
        "Who has the role SURGEON may not find or open documents of confidentiality R."
    ]


async def test_a_document_is_previewed_too(registry, http):
    await registry.register(a_submission(a_document_entry()))
    document = {"format_code": BPPC, "document": written(an_acknowledgement(OPT_OUT, patient=OURS))}

    answer = await ask(http, "preview", patient_id=PATIENT, **document)

    [anybody] = answer["persons"]
    assert anybody["open"] == {"now": 1, "then": 0}
    await ask(http, "preview", 400, patient_id=PATIENT, effect="deny", **document)


async def test_why_tells_the_deciding_policy_in_a_sentence(registry, http):
    await ask(http, "set", patient_id=PATIENT, effect="deny", roles=["SURGEON"])
    refused = await ask(http, "why", patient_id=PATIENT, roles=["SURGEON"])
    permitted = await ask(http, "why", patient_id=PATIENT, roles=["RAD-PHYS"])

    assert refused["sentence"] == (
        "Refused, because of this policy: "
        "Who has the role SURGEON may not find or open the patient's documents."
    )
    assert "the default of the domain" in permitted["sentence"]


async def test_why_names_the_document_that_decides(registry, http):
    document = an_exclusion("SURGEON", "2.999.40.1", OURS)
    entry = a_document_entry(
        format_code=Code(APPC, "1.3.6.1.4.1.19376.1.2.3"), hash=hashlib.sha1(document).hexdigest()
    )
    await registry.register(a_submission(with_content(entry, document)))

    refused = await ask(http, "why", patient_id=PATIENT, roles=["SURGEON^^2.999.40.1"])

    assert refused["sentence"].endswith(
        f"It is from the consent {entry.entry_uuid}, consent document {entry.unique_id}."
    )


async def test_what_would_be_seen_without_a_policy_or_a_consent_is_previewed(registry, http):
    await registry.register(a_submission(a_document_entry()))
    policy = await ask(http, "set", patient_id=PATIENT, effect="deny", roles=["SURGEON"])
    document = {"format_code": BPPC, "document": written(an_acknowledgement(OPT_OUT, patient=OURS))}
    source = (await ask(http, "documents", **document))["source"]

    by_policy = await ask(http, "preview", patient_id=PATIENT, without=policy["policy_id"])
    by_source = await ask(http, "preview", patient_id=PATIENT, without=source)

    numbers = [
        {row["person"].get("roles", ""): row["find"] for row in answer["persons"]}
        for answer in (by_policy, by_source)
    ]
    assert numbers == [
        {"": {"now": 0, "then": 0}, "SURGEON": {"now": 0, "then": 0}},
        {"": {"now": 0, "then": 1}, "SURGEON": {"now": 0, "then": 0}},
    ]
    assert len(await policies(http)) == 2
    await ask(http, "preview", 404, patient_id=PATIENT, without="urn:uuid:nobody")
    await ask(http, "preview", 400, patient_id=PATIENT, without=source, **document)


async def test_a_policy_in_the_place_of_another_is_previewed_and_set_as_long_as_that_is_there(registry, http):
    await registry.register(a_submission(a_document_entry()))
    old = await ask(http, "set", patient_id=PATIENT, effect="deny", roles=["SURGEON"])
    new = {"patient_id": PATIENT, "policy_id": old["policy_id"], "effect": "deny", "roles": ["NURSE"]}

    answer = await ask(http, "preview", without=old["policy_id"], **new)
    finds = {row["person"].get("roles", ""): row["find"] for row in answer["persons"]}
    assert finds["SURGEON"] == {"now": 0, "then": 1}
    assert finds["NURSE"] == {"now": 1, "then": 0}

    changed = await ask(http, "set", **new, replaces=old["created"], reason="the wrong role")
    assert await policies(http) == [changed]
    await ask(http, "set", 409, **new, replaces=old["created"], reason="late")
    await ask(http, "remove", patient_id=PATIENT, policy_id=old["policy_id"])
    await ask(http, "set", 409, **new, replaces=changed["created"], reason="too late")
    assert await policies(http) == []


async def test_why_takes_the_codes_of_a_registered_document_from_its_metadata(registry, http):
    secret = a_document_entry(confidentiality_codes=(Code("V", "2.16.840.1.113883.5.25"),))
    plain = a_document_entry()
    for entry in (secret, plain):
        await registry.register(a_submission(entry))
    await ask(http, "set", patient_id=PATIENT, effect="deny", confidentiality=["V"])

    async def permitted(**question: Any) -> bool:
        return (await ask(http, "why", patient_id=PATIENT, roles=["SURGEON"], **question))["permitted"]

    assert not await permitted(documents=[secret.unique_id])
    assert await permitted(documents=[plain.unique_id])
    # Of several the one that is refused answers; what is said wins over metadata.
    assert not await permitted(documents=[plain.unique_id, secret.unique_id])
    assert await permitted(documents=[secret.unique_id], confidentiality=["N"])
    assert await permitted(documents=["2.25.999"])


async def test_an_end_and_a_change_stand_in_the_trail_with_their_reasons(registry, http):
    policy = await ask(http, "set", patient_id=PATIENT, effect="deny")
    changed = {"policy_id": policy["policy_id"], "effect": "deny", "roles": ["NURSE"]}
    why = {"replaces": policy["created"], "reason": "nurses alone"}
    await ask(http, "set", patient_id=PATIENT, **changed, **why)
    document = {"format_code": BPPC, "document": written(an_acknowledgement(OPT_OUT, patient=OURS))}
    source = (await ask(http, "documents", **document))["source"]
    await ask(http, "remove", patient_id=PATIENT, policy_id=policy["policy_id"], reason="changed her mind")
    await ask(http, "withdraw", patient_id=PATIENT, source=source, reason="in writing")

    values = [value for octets in await registry.outbox() for value in VALUE.findall(octets)]
    told = [b64decode(value).decode() for value in values]
    assert "consent policy changed: deny role NURSE: nurses alone" in told
    assert "consent policy removed: changed her mind" in told
    assert "consent policy withdrawn: in writing" in told
