"""Policies about authors, single documents and studies: decided by the metadata as they are now, told to
whoever decides by a copy, previewed and explained."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import httpx2
import pytest

from registry.domain import stored_queries as queries
from registry.transactions import SERVED_REST
from registry.unit import Unit
from shared.consent.decision import Action, Resource
from shared.consent.directory import ConsentDecisions
from shared.consent.policy import PatientPolicies, decode_patient_policies
from shared.ebrim.model import Author
from shared.settings import Default
from tests.support.metadata import PATIENT, a_document_entry, a_submission
from tests.support.registry import APPROVED, CLINICIAN, Registry
from tests.support.rest import rest_app
from tests.support.updates import a_version, update

FIND = {"$XDSDocumentEntryPatientId": PATIENT, "$XDSDocumentEntryStatus": [APPROVED]}
NORTH, SOUTH = "2.999.7", "2.999.8"


def by(institution: str, **changes: Any):
    author = Author(institutions=(f"Hospital^^^^^^^^^{institution}",))
    return a_document_entry(**{"authors": (author,), "reference_ids": (), **changes})


@pytest.fixture
async def http(registry):
    permitting = registry.parts.settings.model_copy(
        update={"consent": registry.parts.settings.consent.model_copy(update={"default": Default.PERMIT})}
    )
    parts = replace(registry.parts, settings=permitting)
    app = rest_app(SERVED_REST, unit=partial(Unit, parts), recorder=parts.recorder, settings=parts.settings)
    transport = httpx2.ASGITransport(app, client=("127.0.0.1", 1))
    async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:8010") as http:
        yield http


async def ask(http, action: str, **content: Any) -> Any:
    response = await http.post(f"/consent/{action}", json={"patient_id": PATIENT, **content})
    assert response.status_code == 200, response.text
    return response.json()


async def found(registry: Registry) -> set[str]:
    return {one.unique_id for one in (await registry.query(queries.FIND_DOCUMENTS, FIND)).document_entries}


async def opened(http, *unique_ids: str) -> set[str]:
    """Which documents a service that decides by a copy gives, of which it knows the ids alone."""

    async def fetch(patient_id: str) -> PatientPolicies:
        response = await http.post("/consent/policies", json={"patient_id": patient_id})
        return decode_patient_policies(response.content)

    consent = ConsentDecisions(fetch, Default.PERMIT, 0)
    resources = tuple(Resource(patient_id=PATIENT, document_unique_id=one) for one in unique_ids)
    decisions = await consent.decide(CLINICIAN, Action.RETRIEVE, resources)
    await consent.close()
    return {one for one, decision in zip(unique_ids, decisions, strict=True) if decision.permitted}


async def test_documents_of_an_author_are_denied_at_the_registry_and_by_a_copy(registry: Registry, http):
    north, south = by(NORTH), by(SOUTH)
    await registry.register(a_submission(north, south))
    both = {north.unique_id, south.unique_id}
    assert await found(registry) == await opened(http, *both) == both

    await ask(http, "set", effect="deny", authors=[f"institution|urn:oid:{NORTH}"])

    assert await found(registry) == await opened(http, *both) == {south.unique_id}
    assert await opened(http, "2.25.404") == set(), "whose author is not known here"


async def test_a_permission_for_one_document_closes_the_list(registry: Registry, http):
    one, other = by(NORTH), by(NORTH)
    await registry.register(a_submission(one, other))
    await ask(http, "set", effect="permit", documents=[f"urn:oid:{one.unique_id}"])

    assert await found(registry) == {one.unique_id}
    assert await opened(http, one.unique_id, other.unique_id, "2.25.404") == {one.unique_id}


async def test_an_author_that_was_corrected_counts_at_once(registry: Registry, http):
    entry = by(NORTH)
    await registry.register(a_submission(entry))
    await ask(http, "set", effect="deny", authors=[SOUTH])
    assert await found(registry) == await opened(http, entry.unique_id) == {entry.unique_id}

    corrected = by(SOUTH, unique_id=entry.unique_id, logical_id=entry.entry_uuid)
    await update(registry, a_version(corrected))

    assert await found(registry) == await opened(http, entry.unique_id) == set()


async def test_single_documents_are_previewed_and_explained(registry: Registry, http):
    one, other = by(NORTH), by(SOUTH)
    await registry.register(a_submission(one, other))

    preview = await ask(http, "preview", effect="deny", documents=[one.unique_id])
    assert preview["persons"][0]["find"] == {"now": 2, "then": 1}
    assert preview["persons"][0]["open"] == {"now": 2, "then": 1}
    [told] = preview["sentences"]
    assert one.unique_id in told

    await ask(http, "set", effect="deny", documents=[one.unique_id])
    refused = await ask(http, "why", documents=[one.unique_id])
    assert (refused["permitted"], refused["sentence"]) == (False, f"Refused, because of this policy: {told}")
    assert (await ask(http, "why", documents=[other.unique_id]))["permitted"]
