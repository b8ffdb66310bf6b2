"""What consent refuses is left out of every query without a trace."""

from dataclasses import replace

import pytest

from registry.domain import stored_queries as queries
from registry.transactions import iti18
from registry.unit import Unit
from shared.audit.events import Outcome, is_refusal
from shared.ebrim import schemes
from shared.ebrim.model import AssociationType, AvailabilityStatus, Code
from shared.messages.iti18 import ReturnType, StoredQueryRequest, encode_parameters
from tests.support.consent import deny, permit
from tests.support.metadata import (
    NORMAL,
    OTHER_PATIENT,
    PATIENT,
    a_document_entry,
    a_folder,
    a_submission,
    an_association,
)
from tests.support.registry import APPROVED, DEPRECATED, Registry, a_clinician, codes, open_parts

REF = ReturnType.OBJECT_REF
RESTRICTED = Code("R", NORMAL.scheme)
RADIOLOGIST, SURGEON = a_clinician("RAD-PHYS"), a_clinician("SURGEON")
FIND = {"$XDSDocumentEntryPatientId": PATIENT, "$XDSDocumentEntryStatus": [APPROVED]}
ALL = {
    "$patientId": PATIENT,
    "$XDSDocumentEntryStatus": [APPROVED],
    "$XDSSubmissionSetStatus": [APPROVED],
    "$XDSFolderStatus": [APPROVED],
}


def restricted_from(role):
    """No restricted document for this role."""
    return deny(patient_id=PATIENT, roles=[f"{role}^^2.999.40.1"], confidentiality=[str(RESTRICTED)])


class World:
    """An open document with a restricted addendum, and a set and folder of restricted documents alone."""

    def __init__(self):
        self.open = a_document_entry()
        self.hidden = a_document_entry(confidentiality_codes=(RESTRICTED,))
        self.addendum = a_document_entry(confidentiality_codes=(RESTRICTED,))
        self.mixed = a_submission(
            self.open,
            self.addendum,
            associations=[
                an_association(self.addendum.entry_uuid, self.open.entry_uuid, AssociationType.APND)
            ],
        )
        self.folder, self.empty_folder = a_folder(), a_folder()
        secret = a_submission(self.hidden, folders=[self.folder])
        membership = an_association(self.folder.entry_uuid, self.hidden.entry_uuid)
        collected = an_association(secret.submission_set.entry_uuid, membership.entry_uuid)
        self.membership = membership
        self.secret = replace(secret, associations=(*secret.associations, membership, collected))
        self.empty = a_submission(a_document_entry(), folders=[self.empty_folder])

    async def register(self, registry):
        for submission in (self.mixed, self.secret, self.empty):
            await registry.register(submission)


@pytest.fixture
async def world(registry):
    world = World()
    await world.register(registry)
    await registry.add_policy(restricted_from("SURGEON"))
    return world


def refs(found):
    return set(found.object_refs)


async def test_refused_entries_are_left_out_for_whom_they_are_refused(registry, world):
    seen = await registry.query(queries.FIND_DOCUMENTS, FIND, caller=SURGEON, return_type=REF)
    other = await registry.query(queries.FIND_DOCUMENTS, FIND, caller=RADIOLOGIST, return_type=REF)

    assert refs(seen) == {world.open.entry_uuid, world.empty.document_entries[0].entry_uuid}
    assert len(refs(other)) == 4


async def test_an_id_that_is_refused_looks_like_one_that_does_not_exist(registry, world):
    hidden = {
        queries.GET_DOCUMENTS: {"$XDSDocumentEntryUniqueId": [world.hidden.unique_id]},
        queries.GET_DOCUMENTS_AND_ASSOCIATIONS: {"$XDSDocumentEntryUniqueId": [world.hidden.unique_id]},
        queries.GET_ASSOCIATIONS: {"$uuid": [world.hidden.entry_uuid]},
        queries.GET_SUBMISSION_SETS: {"$uuid": [world.hidden.entry_uuid]},
        queries.GET_FOLDERS_FOR_DOCUMENT: {"$XDSDocumentEntryUniqueId": world.hidden.unique_id},
        queries.GET_FOLDERS: {"$XDSFolderUniqueId": [world.folder.unique_id]},
        queries.GET_FOLDER_AND_CONTENTS: {"$XDSFolderUniqueId": world.folder.unique_id},
        queries.GET_SUBMISSION_SET_AND_CONTENTS: {
            "$XDSSubmissionSetUniqueId": world.secret.submission_set.unique_id
        },
        queries.GET_RELATED_DOCUMENTS: {
            "$XDSDocumentEntryUniqueId": world.open.unique_id,
            "$AssociationTypes": [str(AssociationType.APND)],
        },
    }
    for query, parameters in hidden.items():
        for return_type in ReturnType.LEAF_CLASS, REF:
            found = await registry.query(query, parameters, caller=SURGEON, return_type=return_type)
            assert not found, query.name
            assert await registry.query(query, parameters, caller=RADIOLOGIST, return_type=return_type)


def ids(things):
    return {thing.entry_uuid for thing in things}


async def test_a_container_that_is_seen_does_not_tell_of_a_hidden_member(registry, world):
    """Set and folder are seen for another member's sake, and not when the hidden one is asked about."""
    late = a_document_entry()
    submission = a_submission(late)
    membership = an_association(world.folder.entry_uuid, late.entry_uuid)
    collected = an_association(submission.submission_set.entry_uuid, membership.entry_uuid)
    await registry.register(
        replace(submission, associations=(*submission.associations, membership, collected))
    )
    folders = {"$XDSFolderUniqueId": [world.folder.unique_id]}
    assert await registry.query(queries.GET_FOLDERS, folders, caller=SURGEON)

    for query, parameters in (
        (queries.GET_SUBMISSION_SETS, {"$uuid": [world.addendum.entry_uuid]}),
        (queries.GET_FOLDERS_FOR_DOCUMENT, {"$XDSDocumentEntryUniqueId": world.hidden.unique_id}),
    ):
        assert not await registry.query(query, parameters, caller=SURGEON)
        assert await registry.query(query, parameters, caller=RADIOLOGIST)


async def test_sets_folders_and_associations_go_with_what_they_hold(registry, world):
    found = await registry.query(queries.GET_ALL, ALL, caller=SURGEON)

    assert ids(found.submission_sets) == ids((world.mixed.submission_set, world.empty.submission_set))
    assert ids(found.folders) == {world.empty_folder.entry_uuid}
    hidden = ids((world.hidden, world.addendum, world.folder, world.membership))
    assert not any({item.source_object, item.target_object} & hidden for item in found.associations)
    assert len(found.associations) == 3

    sets = {"$XDSSubmissionSetPatientId": PATIENT, "$XDSSubmissionSetStatus": [APPROVED]}
    found = await registry.query(queries.FIND_SUBMISSION_SETS, sets, caller=SURGEON)
    assert len(found.submission_sets) == 2
    folders = {"$XDSFolderPatientId": PATIENT, "$XDSFolderStatus": [APPROVED]}
    found = await registry.query(queries.FIND_FOLDERS, folders, caller=SURGEON)
    assert ids(found.folders) == {world.empty_folder.entry_uuid}


async def test_a_patient_who_opted_out_has_nothing_not_even_empty_folders(registry, world):
    await registry.add_policy(deny(patient_id=PATIENT))

    for query, parameters in (
        (queries.FIND_DOCUMENTS, FIND),
        (queries.GET_ALL, ALL),
        (queries.GET_ASSOCIATIONS, {"$uuid": [world.open.entry_uuid]}),
    ):
        assert not await registry.query(query, parameters, caller=RADIOLOGIST)


async def test_a_permit_is_a_closed_list(registry, world):
    await registry.add_policy(permit(patient_id=PATIENT, roles=["RAD-PHYS^^2.999.40.1"]))

    assert await registry.query(queries.GET_ALL, ALL, caller=RADIOLOGIST)
    assert not await registry.query(queries.GET_ALL, ALL, caller=SURGEON)


async def test_a_refused_document_of_another_patient_is_no_reason_for_an_error(registry, world):
    other = a_document_entry(patient_id=OTHER_PATIENT)
    await registry.register(a_submission(other))
    await registry.add_policy(deny(patient_id=OTHER_PATIENT))
    both = {"$XDSDocumentEntryEntryUUID": [world.open.entry_uuid, other.entry_uuid]}

    found = await registry.query(queries.GET_DOCUMENTS, both, caller=RADIOLOGIST)
    assert ids(found.document_entries) == {world.open.entry_uuid}


async def test_without_a_policy_the_domains_default_decides(database_place):
    registry = Registry(await open_parts(database_place, consent={"default": "deny"}))
    try:
        await registry.add_patient(PATIENT, OTHER_PATIENT)
        world = World()
        await world.register(registry)
        assert not await registry.query(queries.GET_ALL, ALL, caller=RADIOLOGIST)
        await registry.add_policy(permit(patient_id=PATIENT, confidentiality=[str(NORMAL)]))
        found = await registry.query(queries.FIND_DOCUMENTS, FIND, caller=RADIOLOGIST)
        assert ids(found.document_entries) == ids((world.open, world.empty.document_entries[0]))
    finally:
        await registry.parts.recorder.close()
        await registry.parts.database.close()


async def test_refused_entries_do_not_count_towards_the_limit(database_place):
    registry = Registry(await open_parts(database_place, query_limit=2))
    try:
        await registry.add_patient(PATIENT)
        seen = [a_document_entry() for _ in range(2)]
        hidden = [a_document_entry(confidentiality_codes=(RESTRICTED,)) for _ in range(3)]
        await registry.register(a_submission(*seen, *hidden))
        await registry.add_policy(restricted_from("SURGEON"))

        found = await registry.query(queries.FIND_DOCUMENTS, FIND, caller=SURGEON)
        assert ids(found.document_entries) == ids(seen)
        with pytest.raises(Exception, match="more than 2") as refusal:
            await registry.query(queries.FIND_DOCUMENTS, FIND, caller=RADIOLOGIST)
        assert codes(refusal.value) == ["XDSTooManyResults"]
        by_id = {"$XDSDocumentEntryEntryUUID": [entry.entry_uuid for entry in (*seen, *hidden)]}
        found = await registry.query(queries.GET_DOCUMENTS, by_id, caller=SURGEON)
        assert ids(found.document_entries) == ids(seen)
    finally:
        await registry.parts.recorder.close()
        await registry.parts.database.close()


@pytest.mark.parametrize("statuses", [[APPROVED], [DEPRECATED], [APPROVED, DEPRECATED]])
async def test_which_associations_are_asked_for_makes_no_set_or_folder_empty(registry, world, statuses):
    whole = {"$MetadataLevel": 2, "$XDSAssociationStatus": statuses}
    secret = world.secret.submission_set
    for query, parameters in (
        (queries.GET_FOLDER_AND_CONTENTS, {"$XDSFolderUniqueId": world.folder.unique_id, **whole}),
        (queries.GET_SUBMISSION_SET_AND_CONTENTS, {"$XDSSubmissionSetUniqueId": secret.unique_id, **whole}),
        (queries.GET_ALL, {**ALL, **whole}),
    ):
        found = await registry.query(query, parameters, caller=SURGEON)
        assert world.folder.entry_uuid not in ids(found.folders), query.name
        assert secret.entry_uuid not in ids(found.submission_sets), query.name
        assert await registry.query(query, parameters, caller=RADIOLOGIST)


async def test_a_folder_that_was_emptied_still_tells_of_what_it_held(registry):
    folder, held = a_folder(), a_document_entry(confidentiality_codes=(RESTRICTED,))
    membership = an_association(
        folder.entry_uuid, held.entry_uuid, availability_status=AvailabilityStatus.DEPRECATED
    )
    await registry.store_as_is(folder, held, membership)
    await registry.add_policy(restricted_from("SURGEON"))

    asked = {"$XDSFolderUniqueId": [folder.unique_id]}
    assert not await registry.query(queries.GET_FOLDERS, asked, caller=SURGEON)
    assert await registry.query(queries.GET_FOLDERS, asked, caller=RADIOLOGIST)


async def test_a_document_of_another_patient_does_not_open_the_set_that_refers_to_it(registry):
    theirs = a_document_entry(patient_id=OTHER_PATIENT)
    await registry.register(a_submission(theirs, patient_id=OTHER_PATIENT))
    ours = a_submission()
    reference = an_association(
        ours.submission_set.entry_uuid, theirs.entry_uuid, submission_set_status=schemes.REFERENCE
    )
    await registry.register(replace(ours, associations=(*ours.associations, reference)))
    asked = {"$XDSSubmissionSetEntryUUID": ours.submission_set.entry_uuid}
    found = await registry.query(queries.GET_SUBMISSION_SET_AND_CONTENTS, asked, return_type=REF)
    assert {ours.submission_set.entry_uuid, theirs.entry_uuid} <= refs(found)

    await registry.add_policy(deny(patient_id=PATIENT))
    found = await registry.query(queries.GET_SUBMISSION_SET_AND_CONTENTS, asked, return_type=REF)
    assert refs(found) == {theirs.entry_uuid}


# --- a closed patient answers as one who has nothing ----------------------------------------------------


@pytest.fixture(autouse=True)
def undisturbed(monkeypatch):
    """A read that takes long on a busy machine is not begun twice, and so not counted twice."""
    monkeypatch.setattr("shared.store.sqlite.LOOP_SECONDS", 60)


class Read:
    """A database that counts the rows which are read from it."""

    def __init__(self, database):
        self.database = database
        self.rows = 0

    async def fetch(self, statement, /, **parameters):
        rows = await self.database.fetch(statement, **parameters)
        self.rows += len(rows)
        return rows

    async def read(self, work):
        async def counted(transaction):
            reader = Read(transaction)
            try:
                return await work(reader)
            finally:
                self.rows += reader.rows

        return await self.database.read(counted)

    async def rows_of(self, registry, query, parameters, return_type):
        """The rows that a query reads, and what it finds."""
        counting = Registry(replace(registry.parts, database=self))
        before = self.rows
        found = await counting.query(query, parameters, return_type=return_type)
        return self.rows - before, found


@pytest.mark.parametrize("return_type", [ReturnType.LEAF_CLASS, REF])
async def test_of_a_closed_patient_few_rows_are_read_however_much_there_is(registry, return_type):
    for _ in range(10):
        await registry.register(a_submission(*[a_document_entry() for _ in range(10)], folders=[a_folder()]))
    sets = {"$XDSSubmissionSetPatientId": PATIENT, "$XDSSubmissionSetStatus": [APPROVED]}
    folders = {"$XDSFolderPatientId": PATIENT, "$XDSFolderStatus": [APPROVED]}
    about_a_patient = [
        (queries.FIND_DOCUMENTS, FIND),
        (queries.FIND_DOCUMENTS, {**FIND, "$MetadataLevel": 2}),
        (queries.FIND_SUBMISSION_SETS, sets),
        (queries.FIND_FOLDERS, folders),
        (queries.GET_ALL, ALL),
    ]
    read = Read(registry.parts.database)
    await registry.add_policy(deny(patient_id=PATIENT, confidentiality=[str(RESTRICTED)]))
    for query, parameters in about_a_patient:
        rows, found = await read.rows_of(registry, query, parameters, return_type)
        assert found
        assert rows >= 10, "the rows of an open patient are counted"

    await registry.add_policy(deny(patient_id=PATIENT))
    for query, parameters in about_a_patient:
        rows, found = await read.rows_of(registry, query, parameters, return_type)
        assert not found
        assert rows <= iti18.UNDECIDED + 5, query.name


async def test_of_what_is_refused_by_its_id_no_fragment_is_read(registry):
    entries = [a_document_entry() for _ in range(30)]
    await registry.register(a_submission(*entries))
    await registry.add_policy(deny(patient_id=PATIENT))
    asked = {"$XDSDocumentEntryUniqueId": [entry.unique_id for entry in entries]}
    read = Read(registry.parts.database)

    whole, _ = await read.rows_of(registry, queries.GET_DOCUMENTS, asked, ReturnType.LEAF_CLASS)
    ids_alone, _ = await read.rows_of(registry, queries.GET_DOCUMENTS, asked, ReturnType.OBJECT_REF)
    assert whole == ids_alone


# --- what the trail says of it ---------------------------------------------------------------------------


async def told(registry, query, parameters, caller, return_type=REF):
    """The events of a query, and what was sent."""
    request = StoredQueryRequest(
        query_id=query.query_id, return_type=return_type, parameters=encode_parameters(parameters)
    )
    response = await iti18.handle(Unit(registry.parts, caller), request)
    events = iti18.audit(request, response, caller, Outcome.SUCCESS)
    return events, iti18.ITI18.encode_response(response).xml


def patient_of(event) -> list[str]:
    return [item.object_id for item in event.objects if item.role == 1]


@pytest.mark.parametrize("return_type", [REF, ReturnType.LEAF_CLASS])
@pytest.mark.parametrize("query", [queries.FIND_DOCUMENTS, queries.GET_ALL])
async def test_what_is_kept_back_in_part_is_told_beside_what_is_shown_and_by_the_trail_alone(
    registry, world, query, return_type
):
    parameters = FIND if query is queries.FIND_DOCUMENTS else ALL
    (shown, refused), sent = await told(registry, query, parameters, SURGEON, return_type)

    assert (shown.outcome, shown.outcome_description) == (Outcome.SUCCESS, "")
    assert refused.outcome is Outcome.SERIOUS_FAILURE
    assert refused.outcome_description.startswith("refused by consent: policy ")
    assert is_refusal(refused)
    assert patient_of(shown) == patient_of(refused) == [PATIENT]
    assert refused.objects[1:] == shown.objects[1:]
    assert b"policy" not in sent
    (event,), _ = await told(registry, query, parameters, RADIOLOGIST, return_type)
    assert (event.outcome, event.outcome_description) == (Outcome.SUCCESS, "")


@pytest.mark.parametrize("query", [queries.FIND_DOCUMENTS, queries.GET_ALL])
async def test_a_query_of_which_all_is_kept_back_is_told_as_refused_and_looks_like_absence(
    registry, world, query
):
    parameters = FIND if query is queries.FIND_DOCUMENTS else ALL
    named = "$XDSDocumentEntryPatientId" if query is queries.FIND_DOCUMENTS else "$patientId"
    of_nobody = parameters | {named: OTHER_PATIENT}
    await registry.add_policy(deny(patient_id=PATIENT))

    (refused,), sent = await told(registry, query, parameters, SURGEON)
    (nothing,), absent = await told(registry, query, of_nobody, SURGEON)

    assert is_refusal(refused)
    assert patient_of(refused) == [PATIENT]
    assert nothing.outcome is Outcome.SUCCESS
    assert sent == absent


async def test_who_asks_by_id_and_is_refused_is_told_to_the_patient_whom_the_query_does_not_name(
    registry, world
):
    hidden = {"$XDSDocumentEntryEntryUUID": [world.hidden.entry_uuid]}
    both = {"$XDSDocumentEntryEntryUUID": [world.open.entry_uuid, world.hidden.entry_uuid]}

    (refused,), _ = await told(registry, queries.GET_DOCUMENTS, hidden, SURGEON)
    shown, beside = (await told(registry, queries.GET_DOCUMENTS, both, SURGEON))[0]

    assert is_refusal(refused)
    assert patient_of(refused) == patient_of(beside) == [PATIENT]
    assert (shown.outcome, patient_of(shown)) == (Outcome.SUCCESS, [])
    assert is_refusal(beside)


async def test_what_was_not_asked_for_is_not_told_as_refused(registry, world):
    """A folder is seen for one of its documents; that another is restricted was not asked."""
    open_one = {"$XDSDocumentEntryEntryUUID": [world.open.entry_uuid]}

    (event,), _ = await told(registry, queries.GET_DOCUMENTS, open_one, SURGEON)

    assert event.outcome is Outcome.SUCCESS


# --- by type and by home community ----------------------------------------------------------------------


async def test_a_denial_by_type_hides_documents_of_that_class_or_type_and_no_other(registry):
    report, image = Code("REPORT", "2.999.60"), Code("IMAGE", "2.999.60")
    of_class, of_type, other = (
        a_document_entry(class_code=report),
        a_document_entry(type_code=report),
        a_document_entry(class_code=image, type_code=image),
    )
    for entry in (of_class, of_type, other):
        await registry.register(a_submission(entry))
    await registry.add_policy(deny(patient_id=PATIENT, document_types=[str(report)]))

    for return_type in (REF, ReturnType.LEAF_CLASS):
        found = await registry.query(queries.FIND_DOCUMENTS, FIND, return_type=return_type)
        shown = refs(found) or {entry.entry_uuid for entry in found.document_entries}
        assert shown == {other.entry_uuid}
    found = await registry.query(queries.GET_ALL, ALL, return_type=REF)
    assert not {of_class.entry_uuid, of_type.entry_uuid} & refs(found)


async def test_a_permission_for_a_home_community_is_for_its_users_alone(registry):
    await registry.register(a_submission(entry := a_document_entry()))
    await registry.add_policy(permit(patient_id=PATIENT, home_communities=["urn:oid:2.999.72"]))
    assert RADIOLOGIST.user is not None
    theirs = replace(RADIOLOGIST, user=replace(RADIOLOGIST.user, home_community_id="urn:oid:2.999.72"))

    assert refs(await registry.query(queries.FIND_DOCUMENTS, FIND, caller=theirs, return_type=REF)) == {
        entry.entry_uuid
    }
    assert not refs(await registry.query(queries.FIND_DOCUMENTS, FIND, return_type=REF))
