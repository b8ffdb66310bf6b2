"""Retrieve Document Set [ITI-43] as the repository performs it (ITI TF-2 3.43; dossier rows E39-E41)."""

from __future__ import annotations

from repository.transactions import iti41, iti43
from shared.audit.events import Outcome
from shared.errors import Actor
from shared.messages.documents import DocumentRequest
from shared.messages.iti43 import RetrieveDocumentSetRequest
from shared.messages.registry import Status
from tests.support.metadata import OTHER_PATIENT, PATIENT, a_document_entry, a_submission
from tests.transactions.repository.conftest import PROVIDER, House


async def kept(house: House, octets: bytes = b"the bytes", **changes) -> str:
    entry = a_document_entry(hash="", size=None, repository_unique_id="", **changes)
    await iti41.handle(house.unit(), house.request(a_submission(entry), a=octets))
    return entry.unique_id


def asking(house: House, *unique_ids: str, repository: str = "") -> RetrieveDocumentSetRequest:
    ours = repository or house.parts.settings.repository_unique_id
    return RetrieveDocumentSetRequest(
        documents=tuple(
            DocumentRequest(repository_unique_id=ours, document_unique_id=unique_id)
            for unique_id in unique_ids
        )
    )


def codes(response) -> list[tuple[str, str]]:
    return [(error.code_for(Actor.REPOSITORY), error.location) for error in response.errors]


async def test_a_document_comes_back_as_it_was_provided(house: House):
    unique_id = await kept(house, b"line\r\n\x00\xff", mime_type="application/dicom")

    response = await iti43.handle(house.unit(), asking(house, unique_id))

    [document] = response.documents
    content = document.content
    assert content.path.read_bytes()[: content.length] == b"line\r\n\x00\xff"
    assert document.mime_type == "application/dicom"
    assert response.status is Status.SUCCESS


async def test_what_is_missing_is_named_and_the_rest_is_delivered(house: House):
    unique_id = await kept(house)

    response = await iti43.handle(house.unit(), asking(house, unique_id, "1.2.3"))

    assert response.status is Status.PARTIAL_SUCCESS
    assert codes(response) == [("XDSDocumentUniqueIdError", "1.2.3")]


async def test_another_repository_id_is_not_served(house: House):
    unique_id = await kept(house)

    response = await iti43.handle(house.unit(), asking(house, unique_id, repository="1.9"))

    assert response.status is Status.FAILURE
    assert codes(response) == [("XDSUnknownRepositoryId", unique_id)]


async def test_what_is_asked_for_twice_comes_once(house: House):
    unique_id = await kept(house)

    response = await iti43.handle(house.unit(), asking(house, unique_id, unique_id))

    assert len(response.documents) == 1


async def test_a_refused_document_looks_like_one_that_does_not_exist(house: House):
    unique_id = await kept(house)
    house.consent.refused = frozenset({PATIENT})

    refused = await iti43.handle(house.unit(), asking(house, unique_id))
    unknown = await iti43.handle(house.unit(), asking(house, "1.2.3"))

    assert refused.status is unknown.status is Status.FAILURE
    assert [error.context.replace(unique_id, "X") for error in refused.errors] == [
        error.context.replace("1.2.3", "X") for error in unknown.errors
    ]
    assert codes(refused) == [("XDSDocumentUniqueIdError", unique_id)]


async def test_the_trail_says_which_policy_refused_whom(house: House):
    unique_id = await kept(house)
    house.consent.refused = frozenset({PATIENT})
    request = asking(house, unique_id)
    response = await iti43.handle(house.unit(), request)

    [event] = iti43.audit(request, response, PROVIDER, Outcome.SERIOUS_FAILURE)

    assert event.outcome is Outcome.SERIOUS_FAILURE
    assert event.outcome_description == "refused by consent: policy urn:uuid:9: deny"
    assert [one.object_id for one in event.objects] == [PATIENT, unique_id]


async def test_one_event_for_each_patient_and_each_outcome(house: House):
    first, second = await kept(house, b"1"), await kept(house, b"2", patient_id=OTHER_PATIENT)
    request = asking(house, first, second, "1.2.3")
    response = await iti43.handle(house.unit(), request)

    events = iti43.audit(request, response, PROVIDER, Outcome.SERIOUS_FAILURE)

    assert [(event.outcome, [one.object_id for one in event.objects]) for event in events] == [
        (Outcome.SUCCESS, [PATIENT, first]),
        (Outcome.SUCCESS, [OTHER_PATIENT, second]),
        (Outcome.SERIOUS_FAILURE, ["1.2.3"]),
    ]


async def test_a_damaged_document_is_never_delivered(house: House):
    unique_id = await kept(house, b"the bytes")
    [blob] = [path for path in (house.parts.settings.folder / "blobs").rglob("*") if path.is_file()]
    blob.write_bytes(b"The bytes")

    response = await iti43.handle(house.unit(), asking(house, unique_id))

    assert codes(response) == [("XDSRepositoryError", unique_id)]
    assert response.documents == ()
