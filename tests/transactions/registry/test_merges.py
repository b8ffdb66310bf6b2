"""A merge moves its objects in portions: nobody sees half of one, and everybody else works between two."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from registry.background.janitor import Janitor
from registry.domain import stored_queries as queries
from registry.store import merges
from registry.store.patients import find_patient
from registry.store.tables import identifier, object_value, registry_object, shared_identifier
from registry.transactions import iti18, iti42, iti44, iti51, iti57, iti62, patient_feed, waiting
from shared.ebrim.codec import DecodedSubmission
from shared.ebrim.model import AssociationType
from shared.errors import Rejected
from shared.messages.iti18 import ReturnType
from shared.messages.iti42 import RegisterRequest
from shared.messages.iti44 import AcknowledgementCode, Interaction
from shared.messages.iti57 import UpdateRequest
from shared.messages.iti62 import RemoveMetadataRequest
from shared.messages.registry import Status
from shared.store.failures import DatabaseUnavailable
from tests.support.metadata import OTHER_PATIENT, PATIENT, a_document_entry, a_submission, an_association
from tests.support.registry import APPROVED, DEPRECATED, codes, is_success
from tests.support.updates import a_status, an_update
from tests.transactions.registry.test_iti44 import a_message, ours
from tests.transactions.registry.test_visibility_law import LAW, a_world, asked, chances

TABLES = (registry_object, object_value, identifier, shared_identifier)
DOCUMENTS = 12


@pytest.fixture(autouse=True)
def small_portions(monkeypatch):
    monkeypatch.setattr(merges, "PORTION", 5)


async def decided(registry, subsumed, survivor, portions=0):
    """A merge that was decided, and left alone after so many further portions: as a crash leaves it."""
    database = registry.parts.database
    await database.write(lambda work: patient_feed.merge(work, subsumed, survivor))
    for _ in range(portions):
        await database.write(lambda work: merges._go_on(work, subsumed=subsumed, survivor=survivor))
    return (await find_patient(database, survivor)).merging


async def with_documents(registry, patient=OTHER_PATIENT, number=DOCUMENTS):
    entries = [a_document_entry(patient_id=patient) for _ in range(number)]
    for entry in entries:
        await registry.register(a_submission(entry))
    return entries


async def found_of(registry, patient):
    found = await registry.query(
        queries.FIND_DOCUMENTS,
        {"$XDSDocumentEntryPatientId": patient, "$XDSDocumentEntryStatus": [APPROVED]},
        served=waiting(iti18.SERVED),
    )
    return {entry.entry_uuid: entry.patient_id for entry in found.document_entries}


async def left_under(registry, patient):
    """The tables in which something stands under the id of a patient."""

    async def has(table):
        columns = select(table.c.patient_id).where(table.c.patient_id == patient)
        return bool(await registry.parts.database.fetch(columns))

    return [table.name for table in TABLES if await has(table)]


# --- whole or not at all ---------------------------------------------------------------------------------


@LAW
@given(chances, st.integers(0, 4))
async def test_every_query_answers_as_before_the_merge_or_as_after_it_however_far_it_is(
    registry, chance, portions
):
    """One merge for each query, because the first that meets it finishes it.

    As before is answered who finds nothing of the survivor yet.
    """
    for at in range(15):
        world = a_world(chance)
        await world.store(registry)
        survivor, subsumed = sorted(world.given)
        await registry.add_patient(survivor, subsumed)
        query, parameters = list(asked(world, chance))[3 * at]
        served = waiting(iti51.SERVED if "Multiple" in query.name else iti18.SERVED)

        async def answer(query=query, parameters=parameters, served=served):
            kind = ReturnType.OBJECT_REF
            found = await registry.query(query, parameters, return_type=kind, served=served)
            return set(found.object_refs)

        before = await answer()
        await decided(registry, subsumed, survivor, portions)
        while_under_way = await answer()
        await merges.finish(registry.parts.database)
        assert while_under_way in (before, await answer()), query.name
        assert await left_under(registry, subsumed) == []


@pytest.mark.parametrize("portions", range(8))
async def test_all_documents_are_the_survivors_as_soon_as_any_is(registry, portions):
    entries = await with_documents(registry)
    await decided(registry, OTHER_PATIENT, PATIENT, portions)

    whole = {entry.entry_uuid: PATIENT for entry in entries}
    assert await found_of(registry, PATIENT) in ({}, whole)
    assert await found_of(registry, OTHER_PATIENT) == {}
    await merges.finish(registry.parts.database)
    assert await found_of(registry, PATIENT) == whole
    assert await found_of(registry, OTHER_PATIENT) == {}
    assert await left_under(registry, OTHER_PATIENT) == []


async def test_those_who_look_while_it_happens_see_all_or_nothing(registry):
    entries = await with_documents(registry)
    whole = {entry.entry_uuid for entry in entries}
    seen, over = [], asyncio.Event()

    async def look(patient):
        while not over.is_set():
            seen.append((patient, frozenset(await found_of(registry, patient))))
            await asyncio.sleep(0)

    async def by_ids():
        while not over.is_set():
            found = await registry.query(
                queries.GET_DOCUMENTS,
                {"$XDSDocumentEntryEntryUUID": sorted(whole)},
                return_type=ReturnType.OBJECT_REF,
                served=waiting(iti18.SERVED),
            )
            assert set(found.object_refs) == whole
            await asyncio.sleep(0)

    async def merged():
        served = dict(zip(Interaction, iti44.SERVED, strict=True))[Interaction.MERGE]
        message = a_message(Interaction.MERGE, ours(PATIENT), prior=[ours(OTHER_PATIENT)])
        answer = await registry.perform(waiting(served), message)
        over.set()
        return answer

    *_, answer = await asyncio.gather(look(PATIENT), look(PATIENT), look(OTHER_PATIENT), by_ids(), merged())
    assert answer.code is AcknowledgementCode.ACCEPT
    assert {ids for _, ids in seen} <= {frozenset(), frozenset(whole)}
    assert await found_of(registry, PATIENT) == dict.fromkeys(whole, PATIENT)


# --- everybody else works --------------------------------------------------------------------------------


async def test_others_are_let_in_between_two_portions(registry, monkeypatch):
    await with_documents(registry, number=30)
    third = "THIRD^^^" + PATIENT.partition("^^^")[2]
    await registry.add_patient(third)
    monkeypatch.setattr(merges, "PORTION", 1)
    assert await decided(registry, OTHER_PATIENT, PATIENT)

    finishing = asyncio.create_task(merges.finish(registry.parts.database))
    await asyncio.sleep(0)
    assert is_success(await registry.register(a_submission(a_document_entry(patient_id=third))))
    assert not finishing.done()
    await finishing


async def test_no_transaction_moves_more_than_a_portion(registry, monkeypatch):
    await with_documents(registry)
    moved = []
    move = merges._move_portion

    async def counted(transaction, subsumed, survivor):
        number = select(registry_object.c.entry_uuid).where(registry_object.c.patient_id == subsumed)
        before = len(await transaction.fetch(number))
        more = await move(transaction, subsumed, survivor)
        moved.append(before - len(await transaction.fetch(number)))
        return more

    monkeypatch.setattr(merges, "_move_portion", counted)
    assert await decided(registry, OTHER_PATIENT, PATIENT)
    await merges.finish(registry.parts.database)
    assert max(moved) == merges.PORTION
    assert sum(moved) == 3 * DOCUMENTS  # with sets and memberships


async def test_the_survivor_takes_new_documents_meanwhile(registry):
    await with_documents(registry)
    await decided(registry, OTHER_PATIENT, PATIENT)
    entry = a_document_entry(patient_id=PATIENT)
    assert is_success(await registry.register(a_submission(entry)))
    assert entry.entry_uuid in await found_of(registry, PATIENT)


async def test_the_prior_takes_none_any_more(registry):
    await with_documents(registry)
    await decided(registry, OTHER_PATIENT, PATIENT)
    request = RegisterRequest(
        decoded=DecodedSubmission(submission=a_submission(a_document_entry(patient_id=OTHER_PATIENT)))
    )
    with pytest.raises(Rejected) as refused:
        await registry.perform(waiting(iti42.SERVED), request)
    assert codes(refused.value) == ["XDSUnknownPatientId"]


async def test_what_changes_a_moved_document_waits_for_the_end(registry):
    old, going, other = (await with_documents(registry))[:3]
    await decided(registry, OTHER_PATIENT, PATIENT, portions=1)
    entry = a_document_entry(patient_id=PATIENT)
    replacing = an_association(entry.entry_uuid, old.entry_uuid, AssociationType.RPLC)
    request = RegisterRequest(
        decoded=DecodedSubmission(submission=a_submission(entry, associations=[replacing]))
    )
    assert is_success(await registry.perform(waiting(iti42.SERVED), request))
    found = await found_of(registry, PATIENT)
    assert entry.entry_uuid in found
    assert old.entry_uuid not in found
    assert {going.entry_uuid, other.entry_uuid} <= found.keys()


async def test_a_document_is_removed_when_it_has_arrived(registry):
    entries = [a_document_entry(patient_id=OTHER_PATIENT) for _ in range(DOCUMENTS)]
    submissions = [a_submission(entry) for entry in entries]
    for submission in submissions:
        await registry.register(submission)
    await decided(registry, OTHER_PATIENT, PATIENT, portions=1)
    gone = submissions[0]
    ids = (
        gone.submission_set.entry_uuid,
        entries[0].entry_uuid,
        *(item.entry_uuid for item in gone.associations),
    )
    response = await registry.perform(waiting(iti62.SERVED), RemoveMetadataRequest(ids=ids))
    assert response.status is Status.SUCCESS
    assert await found_of(registry, PATIENT) == {entry.entry_uuid: PATIENT for entry in entries[1:]}
    assert await left_under(registry, OTHER_PATIENT) == []


async def test_an_update_waits_for_the_end(registry):
    old, *_ = await with_documents(registry)
    await decided(registry, OTHER_PATIENT, PATIENT, portions=1)
    message = an_update(a_status(old.entry_uuid, APPROVED, DEPRECATED), patient_id=PATIENT)
    request = UpdateRequest(decoded=DecodedSubmission(submission=message))
    assert is_success(await registry.perform(waiting(iti57.SERVED), request))
    assert old.entry_uuid not in await found_of(registry, PATIENT)


async def test_a_further_merge_waits_for_the_end_of_the_first(registry):
    entries = await with_documents(registry)
    last = "LAST^^^" + PATIENT.partition("^^^")[2]
    await registry.add_patient(last)
    await decided(registry, OTHER_PATIENT, PATIENT)
    served = dict(zip(Interaction, iti44.SERVED, strict=True))[Interaction.MERGE]
    message = a_message(Interaction.MERGE, ours(last), prior=[ours(PATIENT)])
    assert (await registry.perform(waiting(served), message)).code is AcknowledgementCode.ACCEPT
    assert await found_of(registry, last) == {entry.entry_uuid: last for entry in entries}
    assert (await find_patient(registry.parts.database, OTHER_PATIENT)).survivor == last


async def test_who_comes_late_to_help_leaves_the_next_merge_of_the_survivor_its_mark(registry):
    await with_documents(registry)
    third = "THIRD^^^" + PATIENT.partition("^^^")[2]
    await registry.add_patient(third)
    entries = await with_documents(registry, third)
    database = registry.parts.database
    await decided(registry, OTHER_PATIENT, PATIENT)
    await merges.finish(database)
    await decided(registry, third, PATIENT)

    await database.write(lambda work: merges._go_on(work, subsumed=OTHER_PATIENT, survivor=PATIENT))
    assert (await find_patient(database, PATIENT)).merging
    assert {entry.entry_uuid for entry in entries} <= (await found_of(registry, PATIENT)).keys()


# --- what is left alone ----------------------------------------------------------------------------------


async def test_a_registry_that_starts_finishes_what_was_left_alone(registry):
    entries = await with_documents(registry)
    await decided(registry, OTHER_PATIENT, PATIENT)
    janitor = Janitor(registry.parts)
    await janitor.start()
    try:
        for _ in range(2_000):
            if not (await find_patient(registry.parts.database, PATIENT)).merging:
                break
            await asyncio.sleep(0.01)
    finally:
        await janitor.stop()
    assert await left_under(registry, OTHER_PATIENT) == []
    assert set(await found_of(registry, PATIENT)) == {entry.entry_uuid for entry in entries}


async def test_a_merge_that_cannot_be_finished_now_says_so_and_the_same_message_learns_of_its_end(
    registry, monkeypatch
):
    entries = await with_documents(registry)
    served = waiting(dict(zip(Interaction, iti44.SERVED, strict=True))[Interaction.MERGE])
    message = a_message(Interaction.MERGE, ours(PATIENT), prior=[ours(OTHER_PATIENT)])

    async def away(*_):
        raise DatabaseUnavailable("gone")

    with monkeypatch.context() as broken:
        broken.setattr(merges, "finish", away)
        refused = await registry.perform(served, message)
    assert refused.code is AcknowledgementCode.ERROR
    assert "decided and not finished" in refused.errors[0].context
    assert await left_under(registry, OTHER_PATIENT)

    assert (await registry.perform(served, message)).code is AcknowledgementCode.ACCEPT
    assert await left_under(registry, OTHER_PATIENT) == []
    assert len(await found_of(registry, PATIENT)) == len(entries)
