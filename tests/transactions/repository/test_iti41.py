"""Provide and Register [ITI-41] as the repository performs it (ITI TF-2 3.41)."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
from sqlalchemy import select

from repository.background.janitor import Janitor
from repository.domain.provision import ProvisionState, registration_message_id
from repository.store import documents
from repository.store.tables import outbox
from repository.transactions import iti41
from shared.audit.dicom_xml import parse
from shared.audit.events import Outcome
from shared.ebrim.model import Code
from shared.ebrim.schemes import ON_DEMAND
from shared.errors import Actor, Rejected, RelayedError, Severity, XdsError
from shared.messages.registry import RegistryResponse, Status
from shared.soap.client import PeerUnclear, PeerUnreachable
from shared.soap.envelope import RelayedFault
from tests.support.metadata import a_document_entry, a_folder, a_submission
from tests.transactions.repository.conftest import PROVIDER, SUCCESS, House

URL = "http://127.0.0.1:8010/xds/registry"
LOST = PeerUnclear(URL, "no answer")
UNREACHABLE = PeerUnreachable(URL, "refused")
BROKEN = RelayedFault("broken", fault_code="Receiver", subcode=None, http_status=500)
NOT_NOW = RelayedFault("not now", fault_code="Sender", subcode=None, http_status=400)


def refusal(code: str) -> RegistryResponse:
    error = RelayedError(code, "as the registry says", severity=Severity.ERROR, location="x")
    return RegistryResponse(status=Status.FAILURE, errors=(error,))


def codes(response: RegistryResponse) -> list[str]:
    return [error.code_for(Actor.REPOSITORY) for error in response.errors]


def a_provided_entry(**changes):
    return a_document_entry(hash="", size=None, repository_unique_id="", **changes)


async def provide(house: House, submission, *, message_id: str = PROVIDER.message_id, **octets):
    unit = house.unit(replace(PROVIDER, message_id=message_id))
    return await iti41.handle(unit, house.request(submission, **octets))


async def refused(house: House, submission, **octets) -> list[str]:
    with pytest.raises(Rejected) as rejected:
        await provide(house, submission, **octets)
    return [error.code_for(Actor.REPOSITORY) for error in rejected.value.errors]


async def test_bytes_and_row_are_kept_before_the_registry_hears_of_them(house: House):
    entry = a_provided_entry()
    seen = []

    async def look(*arguments, **named):
        found = await documents.find_documents(house.parts.database, [entry.unique_id])
        stored = found[entry.unique_id][0]
        seen.append((await house.parts.blobs.content(stored.sha256, stored.size)).path.read_bytes())
        return SUCCESS

    house.registry.call = look

    assert (await provide(house, a_submission(entry), a=b"the bytes")).status is Status.SUCCESS
    assert seen == [b"the bytes"]
    assert await house.states() == [ProvisionState.REGISTERED]


async def test_the_registry_gets_our_repository_id_and_the_hash_and_size_of_the_bytes(house: House):
    submission = a_submission(a_provided_entry())

    await provide(house, submission, a=b"the bytes")

    [(_, registration)] = house.registry.heard
    [sent] = registration.decoded.submission.document_entries
    assert sent.repository_unique_id == house.parts.settings.repository_unique_id
    assert sent.hash == hashlib.sha1(b"the bytes").hexdigest()
    assert sent.size == 9
    original = submission.document_entries[0]
    assert replace(sent, repository_unique_id="", hash="", size=None) == original


async def test_each_transaction_goes_to_the_address_that_the_registry_has_for_it(house: House):
    elsewhere = {"ITI-42": "https://registry.example/register", "ITI-57": "https://registry.example/update"}
    settings = house.parts.settings.model_copy(update={"registry_urls": elsewhere})
    house.parts = replace(house.parts, settings=settings)
    asked = []

    async def call(transaction, url, *arguments, **named):
        asked.append((transaction.number, url))
        return SUCCESS

    house.registry.call = call
    await provide(house, a_submission(a_provided_entry()), a=b"the bytes")

    assert asked == [("ITI-42", elsewhere["ITI-42"])]
    assert settings.registry_endpoint("ITI-61") == settings.registry_url
    assert set(elsewhere.values()) < set(settings.registry_endpoints)
    [event, _] = await house.parts.database.fetch(select(outbox.c.octets).order_by(outbox.c.id))
    assert b"https://registry.example/register" in bytes(event[0])


async def test_a_submission_of_folders_alone_is_passed_on(house: House):
    submission = replace(a_submission(folders=[a_folder()]), document_entries=())
    submission = replace(submission, associations=submission.associations[1:])

    assert (await provide(house, submission)).status is Status.SUCCESS


async def test_a_document_of_no_bytes_is_a_document(house: House):
    entry = a_provided_entry()
    assert (await provide(house, a_submission(entry), a=b"")).status is Status.SUCCESS
    found = await documents.find_documents(house.parts.database, [entry.unique_id])
    assert found[entry.unique_id][0].size == 0


async def test_an_entry_without_document_is_named(house: House):
    assert await refused(house, a_submission(a_provided_entry())) == ["XDSMissingDocument"]


async def test_a_document_whose_part_is_missing_is_a_missing_document(house: House):
    assert await refused(house, a_submission(a_provided_entry()), a=None) == ["XDSMissingDocument"]


async def test_a_document_without_entry_is_named(house: House):
    submission = a_submission(a_provided_entry(), a_provided_entry())
    request = house.request(submission, a=b"a", b=b"b")
    orphan = replace(
        submission,
        document_entries=submission.document_entries[:1],
        associations=submission.associations[:1],
    )
    request = type(request).of(orphan, request.documents)

    with pytest.raises(Rejected) as rejected:
        await iti41.handle(house.unit(), request)

    assert [error.code_for(Actor.REPOSITORY) for error in rejected.value.errors] == [
        "XDSMissingDocumentMetadata"
    ]


@pytest.mark.parametrize("wrong", [{"hash": "0" * 40}, {"size": 10}, {"hash": "0" * 40, "size": 10}])
async def test_a_hash_or_size_that_is_not_that_of_the_bytes_is_refused(house: House, wrong):
    entry = replace(a_provided_entry(), **wrong)
    assert set(await refused(house, a_submission(entry), a=b"the bytes")) == {"XDSRepositoryMetadataError"}
    assert house.registry.heard == []


async def test_an_upper_case_hash_is_the_same_hash(house: House):
    entry = replace(a_provided_entry(), hash=hashlib.sha1(b"the bytes").hexdigest().upper())
    assert (await provide(house, a_submission(entry), a=b"the bytes")).status is Status.SUCCESS


async def test_one_unique_id_for_two_objects_is_refused(house: House):
    first = a_provided_entry()
    submission = a_submission(first, a_provided_entry(unique_id=first.unique_id))
    assert await refused(house, submission, a=b"a", b=b"b") == ["XDSRepositoryDuplicateUniqueIdInMessage"]


async def test_an_on_demand_entry_is_refused(house: House):
    entry = a_provided_entry(object_type=ON_DEMAND)
    assert "XDSRepositoryMetadataError" in await refused(house, a_submission(entry), a=b"a")


@pytest.mark.parametrize(
    ("second", "code"), [(b"other", "XDSNonIdenticalHash"), (b"longer bytes", "XDSNonIdenticalSize")]
)
async def test_a_stored_unique_id_never_gets_other_bytes(house: House, second: bytes, code: str):
    entry = a_provided_entry()
    await provide(house, a_submission(entry), message_id="urn:uuid:1", a=b"bytes")
    again = a_submission(a_provided_entry(unique_id=entry.unique_id))

    with pytest.raises(Rejected) as rejected:
        await provide(house, again, message_id="urn:uuid:2", a=second)

    assert [error.code_for(Actor.REPOSITORY) for error in rejected.value.errors] == [code]
    assert len(house.registry.heard) == 1


async def test_the_same_bytes_under_the_same_unique_id_are_another_submission(house: House):
    entry = a_provided_entry()
    await provide(house, a_submission(entry), message_id="urn:uuid:1", a=b"bytes")
    again = a_submission(a_provided_entry(unique_id=entry.unique_id))

    assert (await provide(house, again, message_id="urn:uuid:2", a=b"bytes")).status is Status.SUCCESS


async def test_errors_and_warnings_of_the_registry_pass_unchanged(house: House):
    house.registry.answers = [refusal("XDSUnknownPatientId")]

    response = await provide(house, a_submission(a_provided_entry()), a=b"bytes")

    assert response.status is Status.FAILURE
    assert codes(response) == ["XDSUnknownPatientId"]
    assert response.errors[0].context == "as the registry says"


async def test_what_the_registry_refused_is_not_kept(house: House):
    entry = a_provided_entry()
    house.registry.answers = [refusal("XDSUnknownPatientId")]

    await provide(house, a_submission(entry), a=b"bytes")

    assert await documents.find_documents(house.parts.database, [entry.unique_id]) == {}
    assert await house.states() == [ProvisionState.REFUSED]


async def test_a_refusal_does_not_take_the_bytes_of_an_earlier_submission(house: House):
    entry = a_provided_entry()
    await provide(house, a_submission(entry), message_id="urn:uuid:1", a=b"bytes")
    house.registry.answers = [refusal("XDSRegistryMetadataError")]

    await provide(
        house, a_submission(a_provided_entry(unique_id=entry.unique_id)), message_id="urn:uuid:2", a=b"bytes"
    )

    assert (
        len((await documents.find_documents(house.parts.database, [entry.unique_id]))[entry.unique_id]) == 1
    )


async def test_a_registry_that_cannot_be_reached_leaves_nothing_behind(house: House):
    house.registry.answers = [UNREACHABLE]

    response = await provide(house, a_submission(a_provided_entry()), a=b"bytes")

    assert codes(response) == ["XDSRegistryNotAvailable"]
    assert await house.states() == []


@pytest.mark.parametrize("failure", [LOST, BROKEN])
async def test_a_lost_answer_is_asked_for_at_once_with_the_same_message_id(house: House, failure):
    house.registry.answers = [failure, SUCCESS]

    response = await provide(house, a_submission(a_provided_entry()), a=b"bytes")

    assert response.status is Status.SUCCESS
    assert len({message_id for message_id, _ in house.registry.heard}) == 1
    assert len(house.registry.heard) == 2


@pytest.mark.parametrize("then", [LOST, UNREACHABLE, NOT_NOW, refusal("XDSRegistryBusy")])
async def test_nothing_is_deleted_in_doubt(house: House, then):
    entry = a_provided_entry()
    house.registry.answers = [LOST, then]

    response = await provide(house, a_submission(entry), a=b"bytes")

    assert codes(response) == ["XDSRegistryNotAvailable"]
    assert await house.states() == [ProvisionState.IN_DOUBT]
    assert entry.unique_id in await documents.find_documents(house.parts.database, [entry.unique_id])


async def test_the_janitor_learns_the_outcome_from_the_registry(house: House):
    house.registry.answers = [LOST]
    await provide(house, a_submission(a_provided_entry()), a=b"bytes")
    janitor = Janitor(house.parts)
    assert await janitor.resolve(older_than_seconds=-1) == 0
    house.registry.answers = [SUCCESS]

    assert await janitor.resolve(older_than_seconds=-1) == 1

    assert await house.states() == [ProvisionState.REGISTERED]
    assert len({message_id for message_id, _ in house.registry.heard}) == 1


@pytest.mark.parametrize(
    "code",
    ["XDSDuplicateUniqueIdInRegistry", "XDSRegistryMetadataError", "XDSRegistryDeprecatedDocumentError"],
)
async def test_a_registry_without_memory_that_refuses_the_repetition_does_not_cost_the_bytes(
    house: House, code: str
):
    entry = a_provided_entry()
    house.registry.answers = [LOST, refusal(code)]

    response = await provide(house, a_submission(entry), a=b"bytes")

    assert codes(response) == [code]
    assert entry.unique_id in await documents.find_documents(house.parts.database, [entry.unique_id])


async def test_a_retry_of_the_same_message_gets_the_same_answer_and_registers_nothing(house: House):
    submission = a_submission(a_provided_entry())
    first = await provide(house, submission, a=b"bytes")
    second = await provide(house, submission, a=b"bytes")

    assert first.status is second.status is Status.SUCCESS
    assert len(house.registry.heard) == 1


async def test_a_retry_of_a_refused_message_gets_the_same_refusal(house: House):
    house.registry.answers = [refusal("XDSUnknownPatientId")]
    submission = a_submission(a_provided_entry())
    first = await provide(house, submission, a=b"bytes")
    second = await provide(house, submission, a=b"bytes")

    assert codes(first) == codes(second) == ["XDSUnknownPatientId"]
    assert len(house.registry.heard) == 1


async def test_a_busy_registry_is_asked_anew_by_a_retry(house: House):
    house.registry.answers = [refusal("XDSRegistryBusy"), SUCCESS]
    submission = a_submission(a_provided_entry())

    assert codes(await provide(house, submission, a=b"bytes")) == ["XDSRegistryBusy"]
    assert (await provide(house, submission, a=b"bytes")).status is Status.SUCCESS


@pytest.mark.parametrize("code", ["XDSRegistryError", "XDSRegistryNotAvailable"])
async def test_an_answer_that_does_not_deny_that_anything_was_done_is_no_outcome(house: House, code: str):
    house.registry.answers = [refusal(code), SUCCESS]
    entry = a_provided_entry()
    submission = a_submission(entry)

    assert codes(await provide(house, submission, a=b"bytes")) == ["XDSRegistryNotAvailable"]
    assert await house.states() == [ProvisionState.IN_DOUBT]
    assert entry.unique_id in await documents.find_documents(house.parts.database, [entry.unique_id])
    assert (await provide(house, submission, a=b"bytes")).status is Status.SUCCESS
    assert len({message_id for message_id, _ in house.registry.heard}) == 1


async def test_a_message_that_was_forgotten_repeats_itself_at_the_registry(house: House):
    """A registry may be mistaken when it says that it did nothing: the same message finds out."""
    house.registry.answers = [refusal("XDSRegistryBusy"), UNREACHABLE, SUCCESS]
    submission = a_submission(a_provided_entry())

    for _ in range(3):
        response = await provide(house, submission, a=b"bytes")

    assert response.status is Status.SUCCESS
    assert len({message_id for message_id, _ in house.registry.heard}) == 1


async def test_two_repositories_never_send_the_same_message(house: House):
    submission = a_submission(a_provided_entry())
    await provide(house, submission, a=b"bytes")
    [(sent, _)] = house.registry.heard
    names = {registration_message_id(ours, "urn:uuid:1", "d") for ours in ("2.999.1", "2.999.2")}
    assert len(names) == 2
    assert sent != PROVIDER.message_id


async def test_the_message_id_with_other_content_is_another_submission(house: House):
    await provide(house, a_submission(a_provided_entry()), a=b"bytes")
    await provide(house, a_submission(a_provided_entry()), a=b"other bytes")

    assert len(house.registry.heard) == 2


async def test_the_events_of_a_success_are_committed_with_it(house: House):
    submission = a_submission(a_provided_entry())
    unit = house.unit()

    await iti41.handle(unit, house.request(submission, a=b"bytes"))

    rows = await house.parts.database.fetch(select(outbox.c.octets).order_by(outbox.c.id))
    messages = [parse(bytes(octets)[bytes(octets).index(b"<AuditMessage") :]) for (octets,) in rows]
    assert unit.audited
    assert [[code.code for code in message.event.event_types] for message in messages] == [
        ["ITI-42"],
        ["ITI-41", "RAD-68"],
    ]


def test_the_event_names_patient_and_submission_set(house: House):
    submission = a_submission(a_provided_entry(format_code=Code("urn:ihe:rad:PDF", "1.2.3")))

    [event] = iti41.audit(house.request(submission, a=b"x"), None, PROVIDER, Outcome.SERIOUS_FAILURE)

    assert [one.object_id for one in event.objects] == [
        submission.submission_set.patient_id,
        submission.submission_set.unique_id,
    ]
    assert [code.code for code in event.event_types] == ["ITI-41"]
    assert event.outcome is Outcome.SERIOUS_FAILURE


async def test_an_error_of_ours_never_says_what_the_document_is(house: House):
    house.registry.answers = [refusal("XDSUnknownPatientId")]
    submission = a_submission(a_provided_entry())

    response = await provide(house, submission, a=b"bytes")

    assert all(isinstance(error, XdsError) for error in response.errors)
    assert all("Roe" not in error.context for error in response.errors)
