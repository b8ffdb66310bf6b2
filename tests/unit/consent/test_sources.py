"""Policies of a service's own, in a file; and no consent at all."""

from __future__ import annotations

import json
from pathlib import Path

import httpx2
import pytest

from shared.consent.decision import Action, Resource
from shared.consent.policy import PolicyError
from shared.consent.sources import UNASKED, open_consent, read_policies
from shared.settings import Default, ServiceSettings, SettingsError
from tests.support.consent import NORMAL, OTHER_PATIENT, PATIENT, VERY_RESTRICTED, a_caller, a_document

RAD = {"effect": "permit", "roles": ["RAD"]}
NOT_V = {"effect": "deny", "confidentiality": ["V"]}


def settings(folder: Path, content: object = None, **consent: object) -> ServiceSettings:
    file = folder / "policies.json"
    if content is not None:
        file.write_text(content if isinstance(content, str) else json.dumps(content))
    given = {"source": "policies", "policies": str(file), "max_age_seconds": 0, **consent}
    return ServiceSettings.load(None, {}, data=folder, consent=given)


async def permitted(consent, caller, *resources: Resource) -> list[bool]:
    decisions = await consent.decide(caller, Action.RETRIEVE, resources or (a_document(),))
    return [decision.permitted for decision in decisions]


async def test_policies_for_everyone_and_a_patients_own_are_decided_together(tmp_path):
    content = {"everyone": [RAD], "patients": {PATIENT: [NOT_V], OTHER_PATIENT: [{"effect": "permit"}]}}
    async with httpx2.AsyncClient() as http:
        consent = open_consent(settings(tmp_path, content), http)
        asked = (
            a_document(NORMAL),
            a_document(VERY_RESTRICTED),
            a_document(VERY_RESTRICTED, patient_id=OTHER_PATIENT),
        )
        assert await permitted(consent, a_caller("RAD"), *asked) == [True, False, True]
        assert await permitted(consent, a_caller("NURSE"), *asked) == [False, False, True]
        await consent.close()


async def test_the_default_holds_where_the_file_says_nothing(tmp_path):
    for default in Default:
        consent = open_consent(settings(tmp_path, {}, default=default), httpx2.AsyncClient())
        assert await permitted(consent, a_caller()) == [default is Default.PERMIT]


async def test_the_same_policies_have_the_same_ids_after_each_reading(tmp_path):
    consent = open_consent(settings(tmp_path, {"everyone": [RAD]}), httpx2.AsyncClient())
    reasons = {
        decision.reason
        for _ in range(2)
        for decision in await consent.decide(a_caller("RAD"), Action.QUERY, (a_document(),))
    }
    assert len(reasons) == 1
    assert "urn:uuid:" in reasons.pop()


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        {"somebody": []},
        {"everyone": {}},
        {"everyone": [7]},
        {"everyone": [{"roles": ["RAD"]}]},
        {"everyone": [{"effect": "perhaps"}]},
        {"everyone": [{"effect": "deny", "role": ["RAD"]}]},
        {"everyone": [{"effect": "deny", "actions": ["submit"]}]},
        {"everyone": [{"effect": "deny", "authors": ["institution|2.999.7"]}]},
        {"everyone": [{"effect": "deny", "documents": ["2.25.1"]}]},
        {"patients": []},
        {"patients": {"P1": [RAD]}},
    ],
)
async def test_a_file_that_cannot_be_used_keeps_the_service_from_starting_and_later_permits_nobody(
    tmp_path, content
):
    with pytest.raises(SettingsError, match="XDSI_CONSENT__POLICIES"):
        open_consent(settings(tmp_path, content), httpx2.AsyncClient())

    consent = open_consent(settings(tmp_path, {"everyone": [{"effect": "permit"}]}), httpx2.AsyncClient())
    assert await permitted(consent, a_caller()) == [True]
    settings(tmp_path, content)
    assert await permitted(consent, a_caller()) == [False]


def test_a_file_that_is_not_there_is_told_with_the_other_settings(tmp_path):
    with pytest.raises(SettingsError, match=r"XDSI_CONSENT__POLICIES.*is not a file"):
        settings(tmp_path)
    with pytest.raises(PolicyError, match="cannot be read"):
        read_policies(tmp_path / "none.json")


async def test_no_consent_permits_and_says_so_in_the_reason(tmp_path):
    consent = open_consent(
        settings(tmp_path, source="none", policies=None, default="deny"), httpx2.AsyncClient()
    )
    assert await consent.decide(a_caller(), Action.RETRIEVE, (a_document(),) * 2) == (UNASKED,) * 2
