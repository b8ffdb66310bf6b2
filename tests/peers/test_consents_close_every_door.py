"""A consent document that is provided (ITI-41) closes every door to what it denies, until it is replaced."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from shared.consent.documents.appc import FORMAT_CODE as APPC
from shared.ebrim.model import AssociationType, Code, DocumentEntry
from shared.messages.iti41 import ITI41, ProvideAndRegisterRequest, ProvidedDocument
from tests.peers.test_every_transaction_asks_consent import PATIENT, STUDY, Shared, a_shared_study
from tests.support.community import post
from tests.support.consents import a_consent, octets
from tests.support.metadata import DOMAIN, a_document_entry, a_submission, an_association
from tests.unit.consent.test_appc import Rule, Target
from tests.unit.consent.test_appc import a_document as an_appc_document

pytestmark = [pytest.mark.heavy]

SUCCEEDED = b"ResponseStatusType:Success"
OURS = (DOMAIN, PATIENT.partition("^")[0])
CONSENT_CLASS = Code("57016-8", "2.16.840.1.113883.6.1", "Patient consent")


def closed() -> tuple[DocumentEntry, bytes]:
    """An APPC document that denies everybody everything."""
    document = an_appc_document(Rule("Deny", Target(), Target())).decode()
    document = document.replace('root="2.999.1"', f'root="{OURS[0]}"').replace("P0001", OURS[1])
    return an_entry(Code(APPC, "1.3.6.1.4.1.19376.1.2.3"), "text/xml"), document.encode()


def open_again() -> tuple[DocumentEntry, bytes]:
    """A FHIR Consent that permits everybody everything."""
    entry = an_entry(Code("urn:local:consent", "2.999.1"), "application/fhir+json")
    return entry, octets(a_consent(OURS, provision={"type": "permit"}))


def an_entry(format_code: Code, mime_type: str) -> DocumentEntry:
    return a_document_entry(
        patient_id=PATIENT,
        class_code=CONSENT_CLASS,
        format_code=format_code,
        mime_type=mime_type,
        hash="",
        size=None,
        repository_unique_id="",
    )


async def provided(shared: Shared, entry: DocumentEntry, content: bytes, *associations: Any) -> None:
    request = ProvideAndRegisterRequest.of(
        a_submission(entry, associations=associations),
        [ProvidedDocument(id=entry.entry_uuid, content=content)],
    )
    answer = await post(shared.http, ITI41, shared.house.url("repository", "/xds/repository"), request)
    assert SUCCEEDED in answer.content, answer.text


async def doors(shared: Shared) -> set[str]:
    return {name for name, gives in (await shared.given()).items() if gives}


async def test_a_provided_consent_closes_every_door_until_it_is_replaced(tmp_path: Path):
    async with a_shared_study(tmp_path) as shared:
        everywhere = await doors(shared)
        assert len(everywhere) > 15

        entry, content = closed()
        await provided(shared, entry, content)
        assert await doors(shared) == set()

        other, permitting = open_again()
        replacing = an_association(other.entry_uuid, entry.entry_uuid, AssociationType.RPLC)
        await provided(shared, other, permitting, replacing)
        assert await doors(shared) == everywhere


async def test_every_door_decides_by_the_study_that_a_policy_names(tmp_path: Path):
    async with a_shared_study(tmp_path) as shared:
        everywhere = await doors(shared)

        async def with_policy(**policy: Any) -> set[str]:
            url = shared.house.url("registry", "/consent")
            kept = await shared.http.post(f"{url}/set", json={"patient_id": PATIENT, **policy})
            assert kept.status_code == 200, kept.text
            given = await doors(shared)
            policy_id = kept.json()["policy_id"]
            await shared.http.post(f"{url}/remove", json={"patient_id": PATIENT, "policy_id": policy_id})
            return given

        assert await with_policy(effect="deny", documents=[STUDY]) == set()
        assert await with_policy(effect="deny", documents=["2.25.404"]) == everywhere
        assert await with_policy(effect="permit", documents=[STUDY]) == everywhere
