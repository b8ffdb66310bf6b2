import asyncio
from dataclasses import replace

import pytest
from lxml import etree

from registry.domain import stored_queries as queries
from registry.store import objects
from registry.transactions import iti42, iti61, iti62, patient_feed
from shared.ebrim import schemes
from shared.ebrim.codec import decode_submission
from shared.ebrim.identifiers import is_uuid, new_oid, new_uuid
from shared.ebrim.model import AssociationType, AvailabilityStatus, LocalizedText, Slot, Submission, Timestamp
from shared.errors import Rejected, UnavailableError
from shared.faults import NodeRefused
from shared.messages.iti42 import RegisterRequest
from shared.messages.iti62 import RemoveMetadataRequest
from shared.store.failures import DatabaseBusy, DatabaseFull, DatabaseUnavailable, OutcomeUnknown
from tests.support.metadata import (
    DOMAIN,
    OTHER_PATIENT,
    PATIENT,
    a_document_entry,
    a_folder,
    a_submission,
    a_submission_set,
    an_association,
)
from tests.support.registry import APPROVED, DEPRECATED, REPOSITORY, Registry, codes, is_success

T = AssociationType


def replacement(old, kind=T.RPLC, *, new=None, **changes):
    """A submission whose new entry is related to the registered entry `old`."""
    new = new or a_document_entry(**changes)
    return a_submission(new, associations=[an_association(new.entry_uuid, old.entry_uuid, kind)])


async def entry(registry, entry_uuid):
    found = await registry.query(queries.GET_DOCUMENTS, {"$XDSDocumentEntryEntryUUID": [entry_uuid]})
    return found.document_entries[0]


async def status(registry, entry_uuid):
    return (await entry(registry, entry_uuid)).availability_status


async def everything(registry, patient_id=PATIENT):
    return await registry.query(
        queries.GET_ALL,
        {
            "$patientId": patient_id,
            "$XDSDocumentEntryStatus": [APPROVED, DEPRECATED],
            "$XDSSubmissionSetStatus": [APPROVED, DEPRECATED],
            "$XDSFolderStatus": [APPROVED, DEPRECATED],
            "$XDSDocumentEntryType": [schemes.STABLE, schemes.ON_DEMAND],
        },
    )


# --- what is registered ----------------------------------------------------------------------------------


async def test_what_was_registered_comes_back_as_it_was_sent(registry):
    sent = a_document_entry(
        comments="ünïcode & <markup>", extra_slots=(Slot("urn:example:extra", ("a", "b")),)
    )
    assert is_success(await registry.register(a_submission(sent)))

    got = await entry(registry, sent.entry_uuid)
    assert replace(got, logical_id="") == sent
    assert got.logical_id == sent.entry_uuid


async def test_symbolic_ids_become_uuids_wherever_they_stand(registry):
    sent = a_document_entry(entry_uuid="document01")
    folder = a_folder(entry_uuid="folder01")
    membership = an_association("folder01", "document01", entry_uuid="membership01")
    submission = a_submission(
        sent,
        folders=[folder],
        entry_uuid="set01",
        associations=[membership, an_association("set01", "membership01", entry_uuid="as9")],
    )
    await registry.register(submission)

    found = await everything(registry)
    ids = {
        thing.entry_uuid
        for thing in (*found.document_entries, *found.submission_sets, *found.folders, *found.associations)
    }
    assert len(ids) == 7
    assert all(map(is_uuid, ids))
    assert all({item.source_object, item.target_object} <= ids for item in found.associations)
    assert found.document_entries[0].unique_id == sent.unique_id


async def test_the_status_of_the_sender_is_ignored_and_folders_get_the_registrys_time(registry):
    folder = a_folder(
        last_update_time=Timestamp("19990101"), availability_status=AvailabilityStatus.DEPRECATED
    )
    await registry.register(a_submission(folders=[folder]))

    (got,) = (await everything(registry)).folders
    assert got.availability_status is AvailabilityStatus.APPROVED
    assert got.last_update_time > Timestamp("20200101")
    assert len(got.last_update_time.digits) == 14


async def test_the_event_of_a_registration_is_committed_with_it(registry):
    submission = a_submission()
    await registry.register(submission)

    (event,) = await registry.outbox()
    assert b'csd-code="ITI-42"' in event
    assert submission.submission_set.unique_id.encode() in event
    assert b"P-1001^^^&amp;" in event
    assert await registry.parts.recorder.spool.reader("test").next(10) == []


async def test_a_refused_registration_is_recorded_in_the_spool_alone(registry):
    await registry.refused(a_submission(a_document_entry(hash="")))

    assert await registry.outbox() == []
    ((_, event),) = await registry.parts.recorder.spool.reader("test").next(10)
    assert b'EventOutcomeIndicator="8"' in event


async def test_a_document_may_be_registered_again_with_the_same_bytes(registry):
    first = a_document_entry()
    again = a_document_entry(unique_id=first.unique_id, hash=first.hash.upper())
    await registry.register(a_submission(first))
    assert is_success(await registry.register(a_submission(again)))

    found = await registry.query(queries.GET_DOCUMENTS, {"$XDSDocumentEntryUniqueId": [first.unique_id]})
    assert {item.entry_uuid for item in found.document_entries} == {first.entry_uuid, again.entry_uuid}


async def test_a_reference_may_be_to_another_patients_document(registry):
    child = a_document_entry(patient_id=OTHER_PATIENT)
    await registry.register(a_submission(child))
    mother = a_submission()
    by_reference = an_association(
        mother.submission_set.entry_uuid, child.entry_uuid, submission_set_status=schemes.REFERENCE
    )
    assert is_success(
        await registry.register(replace(mother, associations=(*mother.associations, by_reference)))
    )


async def test_a_submission_without_documents_is_legal(registry):
    folder = a_folder()
    submission_set = a_submission_set()
    submission = Submission(
        submission_set=submission_set,
        folders=(folder,),
        associations=(an_association(submission_set.entry_uuid, folder.entry_uuid),),
    )
    assert is_success(await registry.register(submission))


async def test_a_submission_that_cannot_be_read_is_refused_and_recorded(registry):
    document = etree.fromstring(
        b'<rim:RegistryObjectList xmlns:rim="urn:oasis:names:tc:ebxml-regrep:xsd:rim:3.0">'
        b"</rim:RegistryObjectList>"
    )
    with pytest.raises(Rejected) as refusal:
        await registry.register_decoded(decode_submission(document))
    assert codes(refusal.value) == ["XDSRegistryMetadataError"]
    assert len(await registry.parts.recorder.spool.reader("test").next(10)) == 1


# --- lifecycle -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [T.RPLC, T.XFRM_RPLC])
async def test_a_replaced_entry_is_deprecated_with_all_that_was_made_of_it(registry, kind):
    original = a_document_entry()
    await registry.register(a_submission(original))
    addendum, transformed, signature, late = (a_document_entry() for _ in range(4))
    await registry.register(replacement(original, T.APND, new=addendum))
    await registry.register(replacement(addendum, T.XFRM, new=transformed))
    await registry.register(replacement(original, T.SIGNS, new=signature))
    new = a_document_entry()
    await registry.register(replacement(original, kind, new=new))
    await registry.register(replacement(new, T.APND, new=late))

    statuses = {
        name: await status(registry, item.entry_uuid)
        for name, item in {
            "original": original,
            "addendum": addendum,
            "transformed": transformed,
            "signature": signature,
            "new": new,
            "late": late,
        }.items()
    }
    assert {name for name, value in statuses.items() if value is AvailabilityStatus.DEPRECATED} == {
        "original",
        "addendum",
        "transformed",
    }


async def test_a_replacement_takes_over_the_folders_of_the_replaced(registry):
    original, folder = a_document_entry(), a_folder()
    first = a_submission(original, folders=[folder])
    membership = an_association(folder.entry_uuid, original.entry_uuid)
    collected = an_association(first.submission_set.entry_uuid, membership.entry_uuid)
    await registry.register(replace(first, associations=(*first.associations, membership, collected)))
    before = (await everything(registry)).folders[0].last_update_time

    new = a_document_entry()
    submission = replacement(original, new=new)
    await registry.at_later(seconds=60).register(submission)

    found = await registry.query(queries.GET_FOLDER_AND_CONTENTS, {"$XDSFolderEntryUUID": folder.entry_uuid})
    assert {item.entry_uuid for item in found.document_entries} == {original.entry_uuid, new.entry_uuid}
    assert found.folders[0].last_update_time > before
    contents = await registry.query(
        queries.GET_SUBMISSION_SET_AND_CONTENTS,
        {"$XDSSubmissionSetEntryUUID": submission.submission_set.entry_uuid},
    )
    carried = [item for item in found.associations if item.target_object == new.entry_uuid]
    collected = [
        item
        for item in (
            await registry.query(queries.GET_ASSOCIATIONS, {"$uuid": [carried[0].entry_uuid]})
        ).associations
        if item.source_object == submission.submission_set.entry_uuid
    ]
    assert len(carried) == len(collected) == 1
    assert [item.entry_uuid for item in contents.document_entries] == [new.entry_uuid]


async def test_a_membership_that_the_submission_makes_itself_is_not_made_twice(registry):
    original, folder = a_document_entry(), a_folder()
    first = a_submission(original, folders=[folder])
    membership = an_association(folder.entry_uuid, original.entry_uuid)
    await registry.register(
        replace(
            first,
            associations=(
                *first.associations,
                membership,
                an_association(first.submission_set.entry_uuid, membership.entry_uuid),
            ),
        )
    )
    new = a_document_entry()
    second = replacement(original, new=new)
    own = an_association(folder.entry_uuid, new.entry_uuid)
    await registry.register(
        replace(
            second,
            associations=(
                *second.associations,
                own,
                an_association(second.submission_set.entry_uuid, own.entry_uuid),
            ),
        )
    )
    found = await registry.query(queries.GET_FOLDER_AND_CONTENTS, {"$XDSFolderEntryUUID": folder.entry_uuid})
    assert len([item for item in found.associations if item.target_object == new.entry_uuid]) == 1


# --- all or nothing --------------------------------------------------------------------------------------


async def test_a_submission_is_stored_whole_or_not_at_all(registry):
    original = a_document_entry()
    await registry.register(a_submission(original))
    before = await everything(registry)

    good, bad = a_document_entry(), a_document_entry(unique_id=original.unique_id, hash="0" * 40)
    submission = a_submission(
        good, bad, associations=[an_association(good.entry_uuid, original.entry_uuid, T.RPLC)]
    )
    assert await registry.refused(submission) == ["XDSNonIdenticalHash"]

    assert await everything(registry) == before
    # The uniqueIds that were claimed on the way are free again.
    assert is_success(await registry.register(a_submission(replace(good, entry_uuid="again"))))


async def test_all_errors_are_reported_together(registry):
    entries = (
        a_document_entry(hash=""),
        a_document_entry(service_start_time=Timestamp("2024"), service_stop_time=Timestamp("2023")),
        a_document_entry(patient_id=OTHER_PATIENT),
    )
    with pytest.raises(Rejected) as refusal:
        await registry.register(a_submission(*entries))

    assert sorted(codes(refusal.value)) == [
        "XDSPatientIdDoesNotMatch",
        "XDSRegistryMetadataError",
        "XDSRegistryMetadataError",
    ]
    assert refusal.value.errors[0].location == f"{entries[0].entry_uuid}/hash"


# --- retries ---------------------------------------------------------------------------------------------


async def test_a_retry_with_the_same_message_id_and_content_is_answered_as_before(registry):
    submission = a_submission(a_document_entry(entry_uuid="document01"))
    first = await registry.register(submission, message_id="urn:uuid:1")
    again = await registry.register(submission, message_id="urn:uuid:1")

    assert again == first
    found = await everything(registry)
    assert len(found.document_entries) == len(found.submission_sets) == 1
    assert len(await registry.outbox()) == 2


async def test_a_retry_is_answered_as_before_when_its_patient_was_merged_meanwhile(registry):
    await registry.register(submission := a_submission(), message_id="urn:uuid:1")
    await registry.parts.database.write(lambda work: patient_feed.merge(work, PATIENT, OTHER_PATIENT))
    assert is_success(await registry.register(submission, message_id="urn:uuid:1"))
    assert len((await everything(registry, OTHER_PATIENT)).submission_sets) == 1


async def test_the_same_content_with_another_message_id_is_a_new_submission(registry):
    submission = a_submission()
    await registry.register(submission, message_id="urn:uuid:1")
    with pytest.raises(Rejected) as refusal:
        await registry.register(submission, message_id="urn:uuid:2")
    assert set(codes(refusal.value)) == {"XDSDuplicateUniqueIdInRegistry", "XDSRegistryMetadataError"}


async def test_another_content_with_the_same_message_id_is_a_new_submission(registry):
    await registry.register(a_submission(), message_id="urn:uuid:1")
    assert is_success(await registry.register(a_submission(), message_id="urn:uuid:1"))
    assert len((await everything(registry)).submission_sets) == 2


async def test_a_refused_message_may_succeed_later(registry):
    unknown = f"NEW^^^&{DOMAIN}&ISO"
    submission = a_submission(a_document_entry(patient_id=unknown))
    with pytest.raises(Rejected):
        await registry.register(submission, message_id="urn:uuid:1")
    await registry.add_patient(unknown)
    assert is_success(await registry.register(submission, message_id="urn:uuid:1"))


# --- patients --------------------------------------------------------------------------------------------


async def test_any_patient_of_the_domain_is_accepted_when_so_set(lenient_registry):
    entry = a_document_entry(patient_id=f"NEW^^^&{DOMAIN}&ISO")
    assert is_success(await lenient_registry.register(a_submission(entry)))
    foreign = a_document_entry(patient_id="NEW^^^&1.2.3&ISO")
    assert await lenient_registry.refused(a_submission(foreign)) == ["XDSUnknownPatientId"]


# --- races -----------------------------------------------------------------------------------------------


async def outcomes(*registrations):
    results = await asyncio.gather(*registrations, return_exceptions=True)
    unexpected = [item for item in results if isinstance(item, Exception) and not isinstance(item, Rejected)]
    assert not unexpected
    won = [item for item in results if not isinstance(item, Exception)]
    lost = [codes(item) for item in results if isinstance(item, Rejected)]
    return won, lost


@pytest.mark.parametrize("round_", range(5))
async def test_of_racing_submission_sets_of_one_unique_id_exactly_one_wins(registry, round_):
    unique_id = new_oid()
    won, lost = await outcomes(*(registry.register(a_submission(unique_id=unique_id)) for _ in range(16)))
    assert len(won) == 1
    assert lost == [["XDSDuplicateUniqueIdInRegistry"]] * 15


@pytest.mark.parametrize("round_", range(5))
async def test_of_racing_documents_of_one_unique_id_one_content_wins(registry, round_):
    unique_id = new_oid()
    won, lost = await outcomes(
        *(
            registry.register(a_submission(a_document_entry(unique_id=unique_id, hash=f"{number:040x}")))
            for number in range(16)
        )
    )
    assert len(won) == 1
    assert lost == [["XDSNonIdenticalHash"]] * 15


@pytest.mark.parametrize("round_", range(5))
async def test_of_racing_replacements_exactly_one_wins(registry, round_):
    original = a_document_entry()
    await registry.register(a_submission(original))
    won, lost = await outcomes(*(registry.register(replacement(original)) for _ in range(8)))

    assert len(won) == 1
    assert lost == [["XDSRegistryDeprecatedDocumentError"]] * 7
    found = await everything(registry)
    assert len([item for item in found.document_entries if str(item.availability_status) == APPROVED]) == 1


async def test_copies_of_one_message_that_race_are_all_answered_with_success(registry):
    submission = a_submission()
    won, lost = await outcomes(*(registry.register(submission, message_id="urn:uuid:1") for _ in range(8)))
    assert (len(won), lost) == (8, [])
    assert len((await everything(registry)).submission_sets) == 1


async def test_a_document_that_comes_again_while_it_is_removed_is_found(registry, monkeypatch):
    """The removal comes between the registration's look at the uniqueId and its commit."""
    if registry.parts.database.dialect == "sqlite":
        pytest.skip("one follows the other")
    old = a_submission(document := a_document_entry())
    await registry.register(old)
    inserted, removed = asyncio.Event(), asyncio.Event()
    insert_objects = objects.insert_objects

    async def insert_and_wait(*arguments, **named):
        await insert_objects(*arguments, **named)
        inserted.set()
        await removed.wait()

    monkeypatch.setattr(objects, "insert_objects", insert_and_wait)
    again = replace(document, entry_uuid=new_uuid())
    registering = asyncio.create_task(registry.register(a_submission(again)))
    await inserted.wait()
    going = (old.submission_set, document, *old.associations)
    request = RemoveMetadataRequest(ids=tuple(item.entry_uuid for item in going))
    removing = asyncio.create_task(registry.perform(iti62.SERVED, request))
    await asyncio.wait([removing], timeout=0.3)
    removed.set()
    await asyncio.gather(registering, removing)

    asked = {"$XDSDocumentEntryUniqueId": [document.unique_id]}
    found = await registry.query(queries.GET_DOCUMENTS, asked)
    assert [item.entry_uuid for item in found.document_entries] == [again.entry_uuid]


async def test_replacements_across_each_other_end_without_deadlock(registry):
    first, second = a_document_entry(), a_document_entry()
    await registry.register(a_submission(first, second))

    def both(one, other):
        new, newer = a_document_entry(), a_document_entry()
        return a_submission(
            new,
            newer,
            associations=[
                an_association(new.entry_uuid, one.entry_uuid, T.RPLC),
                an_association(newer.entry_uuid, other.entry_uuid, T.RPLC),
            ],
        )

    won, lost = await outcomes(
        *(registry.register(both(*pair)) for pair in [(first, second), (second, first)] * 4)
    )
    assert len(won) == 1
    assert all(set(each) == {"XDSRegistryDeprecatedDocumentError"} for each in lost)


# --- a database that fails -------------------------------------------------------------------------------


class Failing:
    """A database of which every use ends alike."""

    def __init__(self, failure):
        self.failure = failure

    async def write(self, work):
        raise self.failure

    async def insert(self, batches, *, when, **parameters):
        raise self.failure

    async def read(self, work):
        raise self.failure

    async def fetch(self, statement, /, **parameters):
        raise self.failure


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (DatabaseBusy("taken"), "XDSRegistryBusy"),
        (DatabaseUnavailable("gone"), "XDSRegistryBusy"),
        (OutcomeUnknown("broken"), "XDSRegistryNotAvailable"),
        (DatabaseFull("full"), "XDSRegistryOutOfResources"),
    ],
)
async def test_a_failing_database_is_told_and_recorded_and_nothing_acknowledged(
    registry, failure, code, monkeypatch
):
    monkeypatch.setattr("shared.store.settling.SETTLE_SECONDS", 0.01)
    failing = Registry(replace(registry.parts, database=Failing(failure)))
    for attempt in (
        failing.register(a_submission()),
        failing.query(queries.GET_DOCUMENTS, {"$XDSDocumentEntryUniqueId": ["1.2"]}),
    ):
        with pytest.raises(UnavailableError) as refusal:
            await attempt
        assert codes(refusal.value) == [code]
    events = [event for _, event in await registry.parts.recorder.spool.reader("test").next(10)]
    assert [b'EventOutcomeIndicator="8"' in event for event in events] == [True, True]


async def test_titles_and_comments_come_back_in_their_languages(registry):
    title = LocalizedText(("de-CH", "Sch\u00e4del"), ("en", "Head"))
    comments = LocalizedText(("fr", "sans contraste"))
    entry = a_document_entry(title=title, comments=comments)
    submission = a_submission(entry, folders=[a_folder(title=title)])
    submission = replace(submission, submission_set=replace(submission.submission_set, title=title))
    await registry.register(submission)

    asked = {"$XDSSubmissionSetEntryUUID": submission.submission_set.entry_uuid}
    found = await registry.query(queries.GET_SUBMISSION_SET_AND_CONTENTS, asked)
    for thing in (*found.document_entries, *found.submission_sets, *found.folders):
        assert thing.title.strings == title.strings
    assert found.document_entries[0].comments.strings == comments.strings


# --- the register of nodes -------------------------------------------------------------------------------


async def test_a_node_registers_for_no_other_repository_than_it_is_registered_for(registry):
    submission = a_submission(a_document_entry())
    [other] = {entry.repository_unique_id for entry in submission.document_entries}
    bound = replace(REPOSITORY, repositories=("2.999.1.1",))

    for served in (iti42.SERVED, iti61.SERVED):
        with pytest.raises(NodeRefused) as refused:
            await registry.perform(served, RegisterRequest.of(submission), caller=bound)
        assert f"registers for the repository {other}" in refused.value.reason
    assert is_success(await registry.register(submission, caller=replace(bound, repositories=(other,))))
