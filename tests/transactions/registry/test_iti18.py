import asyncio
from dataclasses import replace

import pytest

from registry.domain import stored_queries as queries
from shared.ebrim import schemes
from shared.ebrim.model import AssociationType, Author, Code, Timestamp
from shared.errors import Rejected, XdsError
from shared.messages.iti18 import ReturnType, StoredQueryRequest
from tests.support.metadata import (
    CT,
    DOMAIN,
    NORMAL,
    OTHER_PATIENT,
    PATIENT,
    SOURCE,
    a_document_entry,
    a_folder,
    a_submission,
    an_association,
)
from tests.support.registry import APPROVED, CLINICIAN, DEPRECATED, Registry, codes, open_parts

T = AssociationType
REF = ReturnType.OBJECT_REF
MR = Code("MR", CT.scheme)
NOWHERE = "urn:uuid:00000000-0000-4000-8000-000000000000"

FIND = {"$XDSDocumentEntryPatientId": PATIENT, "$XDSDocumentEntryStatus": [APPROVED]}
ALL = {
    "$patientId": PATIENT,
    "$XDSDocumentEntryStatus": [APPROVED, DEPRECATED],
    "$XDSSubmissionSetStatus": [APPROVED],
    "$XDSFolderStatus": [APPROVED],
}


class World:
    """A set with two documents in a folder, and a second set that replaces one of them."""

    def __init__(self):
        self.kept, self.old, self.new = a_document_entry(), a_document_entry(), a_document_entry()
        self.folder = a_folder()
        first = a_submission(self.kept, self.old, folders=[self.folder], unique_id="1.2.3.4")
        self.in_folder = [
            an_association(self.folder.entry_uuid, entry.entry_uuid) for entry in (self.kept, self.old)
        ]
        self.collected = [
            an_association(first.submission_set.entry_uuid, item.entry_uuid) for item in self.in_folder
        ]
        self.first = replace(first, associations=(*first.associations, *self.in_folder, *self.collected))
        self.replacing = an_association(self.new.entry_uuid, self.old.entry_uuid, T.RPLC)
        self.second = a_submission(self.new, associations=[self.replacing])
        self.set = self.first.submission_set

    async def register(self, registry):
        await registry.register(self.first)
        await registry.register(self.second)


@pytest.fixture
async def world(registry):
    world = World()
    await world.register(registry)
    return world


def ids(things):
    return {thing.entry_uuid for thing in things}


async def refused(registry, query, parameters=None, **options):
    with pytest.raises((Rejected, XdsError)) as refusal:
        await registry.query(query, parameters, **options)
    return codes(refusal.value)


async def test_uuids_are_the_same_in_either_case(registry, world):
    shouted = world.kept.entry_uuid.upper()
    query = queries.GET_DOCUMENTS.query_id.upper()

    found = await registry.query(query, {"$XDSDocumentEntryEntryUUID": [shouted]})

    assert ids(found.document_entries) == {world.kept.entry_uuid}


async def test_a_reference_is_found_wherever_it_leads(registry):
    reference = "A-1^^^&1.2.3&ISO^urn:ihe:iti:xds:2013:accession"
    entry = a_document_entry(reference_ids=(f"{reference}^urn:oid:1.2.9",))
    await registry.register(a_submission(entry))

    for asked in (reference, f"{reference}^urn:oid:1.2.9"):
        found = await registry.query(
            queries.FIND_DOCUMENTS_BY_REFERENCE_ID,
            FIND | {"$XDSDocumentEntryReferenceIdList": [asked]},
        )
        assert [one.reference_ids for one in found.document_entries] == [entry.reference_ids]


# --- each query ------------------------------------------------------------------------------------------


async def test_find_documents_gives_the_entries_of_a_patient_in_a_status(registry, world):
    approved = await registry.query(queries.FIND_DOCUMENTS, FIND)
    both = await registry.query(
        queries.FIND_DOCUMENTS, FIND | {"$XDSDocumentEntryStatus": [APPROVED, DEPRECATED]}
    )

    assert ids(approved.document_entries) == {world.kept.entry_uuid, world.new.entry_uuid}
    assert ids(both.document_entries) == {
        world.kept.entry_uuid,
        world.new.entry_uuid,
        world.old.entry_uuid,
    }


async def test_find_documents_by_reference_id_wants_the_whole_reference(registry):
    study = f"2.25.1^^^^{schemes.REFERENCE_STUDY_INSTANCE_UID}"
    accession = f"A1^^^&1.2.3&ISO^{schemes.REFERENCE_ACCESSION}"
    one, two = a_document_entry(reference_ids=(study, accession)), a_document_entry(reference_ids=(study,))
    await registry.register(a_submission(one, two))

    async def find(*clauses):
        raw = {"$XDSDocumentEntryReferenceIdList": tuple((f"('{clause}')",) for clause in clauses)}
        found = await registry.query(queries.FIND_DOCUMENTS_BY_REFERENCE_ID, FIND, raw=raw)
        return ids(found.document_entries)

    assert await find(study) == ids((one, two))
    assert await find(study, accession) == ids((one,))
    assert await find(f"2_25.1^^^^{schemes.REFERENCE_STUDY_INSTANCE_UID}") == set()


async def test_find_submission_sets_filters(registry, world):
    author = Author(person="^Smitty^Gerald", institutions=("Clinic",))
    other = a_submission(
        a_document_entry(),
        authors=(author,),
        source_id="1.2.3.9",
        submission_time=Timestamp("20230101"),
    )
    await registry.register(other)
    base = {"$XDSSubmissionSetPatientId": PATIENT, "$XDSSubmissionSetStatus": [APPROVED]}
    mine = {other.submission_set.entry_uuid}
    theirs = {world.set.entry_uuid, world.second.submission_set.entry_uuid}

    async def find(**parameters):
        named = {f"$XDSSubmissionSet{name}": value for name, value in parameters.items()}
        return ids((await registry.query(queries.FIND_SUBMISSION_SETS, base | named)).submission_sets)

    assert await find() == mine | theirs
    assert await find(AuthorPerson="%Smitty%") == mine
    assert await find(AuthorPerson="%smitty%") == set()
    assert await find(SourceId=["1.2.3.9"]) == mine
    assert await find(SourceId=["1.2.3.9", SOURCE]) == mine | theirs
    assert await find(SubmissionTimeFrom=Timestamp("2023"), SubmissionTimeTo=Timestamp("2024")) == mine
    assert await find(SubmissionTimeFrom=Timestamp("2024")) == theirs
    assert await find(ContentType=[Code("x", "1.2")]) == set()


async def test_find_folders_filters(registry, world):
    base = {"$XDSFolderPatientId": PATIENT, "$XDSFolderStatus": [APPROVED]}

    async def find(**parameters):
        named = {f"$XDSFolder{name}": value for name, value in parameters.items()}
        return ids((await registry.query(queries.FIND_FOLDERS, base | named)).folders)

    assert await find() == {world.folder.entry_uuid}
    assert await find(CodeList=list(world.folder.codes)) == {world.folder.entry_uuid}
    assert await find(CodeList=[NORMAL]) == set()
    assert await find(LastUpdateTimeFrom=Timestamp("2020")) == {world.folder.entry_uuid}
    assert await find(LastUpdateTimeTo=Timestamp("2020")) == set()


async def test_get_all_gives_everything_of_a_patient_and_what_touches_it(registry, world):
    found = await registry.query(queries.GET_ALL, ALL)

    assert ids(found.document_entries) == ids((world.kept, world.old, world.new))
    assert ids(found.submission_sets) == {world.set.entry_uuid, world.second.submission_set.entry_uuid}
    assert ids(found.folders) == {world.folder.entry_uuid}
    carried = 2  # the folder membership that the replacement took over, and its place in the set
    assert len(found.associations) == len(world.first.associations) + len(world.second.associations) + carried


async def test_get_documents_by_uuid_and_by_unique_id(registry, world):
    by_uuid = await registry.query(
        queries.GET_DOCUMENTS, {"$XDSDocumentEntryEntryUUID": [world.old.entry_uuid, NOWHERE]}
    )
    by_unique_id = await registry.query(
        queries.GET_DOCUMENTS, {"$XDSDocumentEntryUniqueId": [world.old.unique_id, "9.9"]}
    )
    assert ids(by_uuid.document_entries) == ids(by_unique_id.document_entries) == {world.old.entry_uuid}
    nothing = await registry.query(
        queries.GET_DOCUMENTS, {"$XDSDocumentEntryEntryUUID": [world.folder.entry_uuid]}
    )
    assert not nothing


async def test_get_folders(registry, world):
    for parameter, value in (("EntryUUID", world.folder.entry_uuid), ("UniqueId", world.folder.unique_id)):
        found = await registry.query(queries.GET_FOLDERS, {f"$XDSFolder{parameter}": [value]})
        assert ids(found.folders) == {world.folder.entry_uuid}


async def test_get_associations_gives_those_that_touch(registry, world):
    found = await registry.query(queries.GET_ASSOCIATIONS, {"$uuid": [world.new.entry_uuid]})
    assert world.replacing.entry_uuid in ids(found.associations)
    assert {item.association_type for item in found.associations} == {str(T.RPLC), str(T.HAS_MEMBER)}
    assert len(found.associations) == 3


async def test_get_documents_and_associations(registry, world):
    found = await registry.query(
        queries.GET_DOCUMENTS_AND_ASSOCIATIONS, {"$XDSDocumentEntryUniqueId": [world.new.unique_id]}
    )
    assert ids(found.document_entries) == {world.new.entry_uuid}
    assert len(found.associations) == 3


async def test_get_submission_sets_gives_the_sets_and_exactly_their_memberships(registry, world):
    found = await registry.query(
        queries.GET_SUBMISSION_SETS, {"$uuid": [world.kept.entry_uuid, world.folder.entry_uuid]}
    )
    assert ids(found.submission_sets) == {world.set.entry_uuid}
    assert {item.target_object for item in found.associations} == {
        world.kept.entry_uuid,
        world.folder.entry_uuid,
    }


async def test_a_set_comes_with_its_contents_and_the_associations_between_them(registry, world):
    found = await registry.query(
        queries.GET_SUBMISSION_SET_AND_CONTENTS, {"$XDSSubmissionSetUniqueId": "1.2.3.4"}
    )
    assert ids(found.submission_sets) == {world.set.entry_uuid}
    assert ids(found.document_entries) == ids((world.kept, world.old))
    assert ids(found.folders) == {world.folder.entry_uuid}
    assert ids(found.associations) == ids(world.first.associations)

    filtered = await registry.query(
        queries.GET_SUBMISSION_SET_AND_CONTENTS,
        {"$XDSSubmissionSetUniqueId": "1.2.3.4", "$XDSDocumentEntryFormatCode": [NORMAL]},
    )
    assert not filtered.document_entries
    assert ids(filtered.folders) == {world.folder.entry_uuid}
    assert {item.target_object for item in filtered.associations} == {world.folder.entry_uuid}


async def test_references_list_associations_too(registry, world):
    found = await registry.query(
        queries.GET_SUBMISSION_SET_AND_CONTENTS,
        {"$XDSSubmissionSetEntryUUID": world.set.entry_uuid},
        return_type=REF,
    )
    assert not found.document_entries
    assert len(found.object_refs) == len(set(found.object_refs))
    assert set(found.object_refs) == {
        world.set.entry_uuid,
        world.folder.entry_uuid,
        *ids((world.kept, world.old)),
        *ids(world.first.associations),
    }


async def test_a_folder_comes_with_its_contents(registry, world):
    found = await registry.query(
        queries.GET_FOLDER_AND_CONTENTS, {"$XDSFolderUniqueId": world.folder.unique_id}
    )
    assert ids(found.folders) == {world.folder.entry_uuid}
    assert ids(found.document_entries) == ids((world.kept, world.old, world.new))
    assert len(found.associations) == 3


async def test_get_folders_for_document_gives_folders_only(registry, world):
    found = await registry.query(
        queries.GET_FOLDERS_FOR_DOCUMENT, {"$XDSDocumentEntryUniqueId": world.new.unique_id}
    )
    assert ids(found.folders) == {world.folder.entry_uuid}
    assert not found.associations


async def test_related_documents_come_with_the_relationship_or_not_at_all(registry, world):
    async def related(entry, *types):
        return await registry.query(
            queries.GET_RELATED_DOCUMENTS,
            {"$XDSDocumentEntryEntryUUID": entry.entry_uuid, "$AssociationTypes": list(map(str, types))},
        )

    found = await related(world.old, T.RPLC, T.APND)
    assert ids(found.document_entries) == ids((world.old, world.new))
    assert ids(found.associations) == {world.replacing.entry_uuid}
    assert not await related(world.old, T.APND)
    assert not await related(world.kept, T.RPLC)
    assert not await related(world.old, T.HAS_MEMBER)


# --- on-demand -------------------------------------------------------------------------------------------


async def test_on_demand_entries_are_found_when_asked_for_and_always_by_id(registry):
    stable, on_demand = (
        a_document_entry(),
        a_document_entry(object_type=schemes.ON_DEMAND, creation_time=None, hash="", size=None),
    )
    await registry.store_as_is(on_demand)
    await registry.register(a_submission(stable))
    both = FIND | {"$XDSDocumentEntryType": [schemes.STABLE, schemes.ON_DEMAND]}
    late = both | {"$XDSDocumentEntryCreationTimeFrom": Timestamp("2090")}

    assert ids((await registry.query(queries.FIND_DOCUMENTS, FIND)).document_entries) == ids((stable,))
    assert ids((await registry.query(queries.FIND_DOCUMENTS, both)).document_entries) == ids(
        (stable, on_demand)
    )
    assert ids((await registry.query(queries.FIND_DOCUMENTS, late)).document_entries) == ids((on_demand,))
    by_id = await registry.query(
        queries.GET_DOCUMENTS, {"$XDSDocumentEntryEntryUUID": [on_demand.entry_uuid]}
    )
    assert ids(by_id.document_entries) == ids((on_demand,))

    # E28 the other way round, and 7.3 #16a: a stable entry with the uniqueId of an on-demand one.
    snapshot = a_document_entry()
    response = await registry.register(
        a_submission(
            snapshot,
            associations=[an_association(snapshot.entry_uuid, on_demand.entry_uuid, T.IS_SNAPSHOT_OF)],
        )
    )
    assert not response.errors


# --- what a request must be --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "parameters", "raw", "expected"),
    [
        ("urn:uuid:00000000-0000-0000-0000-000000000000", {}, {}, ["XDSUnknownStoredQuery"]),
        ("urn:uuid:3d1bdb10-39a2-11de-89c2-2f44d94eaa9f", {}, {}, ["XDSUnknownStoredQuery"]),
        (queries.FIND_DOCUMENTS, {}, {}, ["XDSStoredQueryMissingParam"] * 2),
        (queries.GET_ALL, {"$patientId": PATIENT}, {}, ["XDSStoredQueryMissingParam"] * 3),
        (queries.GET_DOCUMENTS, {}, {}, ["XDSStoredQueryMissingParam"]),
        (
            queries.GET_DOCUMENTS,
            {"$XDSDocumentEntryEntryUUID": [NOWHERE], "$XDSDocumentEntryUniqueId": ["1.2"]},
            {},
            ["XDSStoredQueryParamNumber"],
        ),
        (
            queries.FIND_DOCUMENTS,
            {"$XDSDocumentEntryPatientId": PATIENT},
            {"$XDSDocumentEntryStatus": (("('urn:nonsense')",),)},
            ["XDSStoredQueryMissingParam"],
        ),
        (
            queries.FIND_DOCUMENTS,
            {"$XDSDocumentEntryPatientId": PATIENT},
            {"$XDSDocumentEntryStatus": (("()",),)},
            ["XDSStoredQueryMissingParam"],
        ),
        (
            queries.FIND_DOCUMENTS,
            {"$XDSDocumentEntryStatus": [APPROVED]},
            {"$XDSDocumentEntryPatientId": ((f"('{PATIENT}','{OTHER_PATIENT}')",),)},
            ["XDSStoredQueryParamNumber"],
        ),
        (
            queries.FIND_DOCUMENTS,
            {"$XDSDocumentEntryStatus": [APPROVED]},
            {"$XDSDocumentEntryPatientId": ((f"'{PATIENT}'",), (f"'{PATIENT}'",))},
            ["XDSStoredQueryParamNumber"],
        ),
        (
            queries.FIND_DOCUMENTS,
            FIND,
            {"$XDSDocumentEntryClassCode": (("('a^^1.2')",), ("('b^^1.2')",))},
            ["XDSRegistryError"],
        ),
        (
            queries.FIND_DOCUMENTS,
            FIND,
            {"$XDSDocumentEntryClassCode": (("('codeWithoutScheme')",),)},
            ["XDSRegistryError"],
        ),
        (
            queries.FIND_DOCUMENTS,
            FIND,
            {"$XDSDocumentEntryClassCode": (("('a^^1.2",),)},
            ["XDSRegistryError"],
        ),
        (queries.FIND_DOCUMENTS, FIND, {"$XDSDocumentEntryClassCode": (("()",),)}, ["XDSRegistryError"]),
        (
            queries.FIND_DOCUMENTS,
            FIND,
            {"$XDSDocumentEntryCreationTimeFrom": (("20241301",),)},
            ["XDSRegistryError"],
        ),
        (
            queries.FIND_DOCUMENTS,
            FIND,
            {"$XDSDocumentEntryEventCodeList": (("('a^^1.2')",),) * 33},
            ["XDSRegistryError"],
        ),
    ],
)
async def test_mistakes_in_a_request_have_their_codes(registry, query, parameters, raw, expected):
    assert await refused(registry, query, parameters, raw=raw) == expected


async def test_a_wrong_return_type_is_refused(registry):
    for return_type in (ReturnType.REGISTRY_OBJECT, ReturnType.LEAF_CLASS_WITH_REPOSITORY_ITEM):
        assert await refused(registry, queries.FIND_DOCUMENTS, FIND, return_type=return_type) == [
            "XDSRegistryError"
        ]


async def test_unknown_parameters_are_ignored_and_values_may_be_spread(registry, world):
    found = await registry.query(
        queries.FIND_DOCUMENTS,
        {"$XDSDocumentEntryPatientId": PATIENT, "$Nonsense": ["x"]},
        raw={"$XDSDocumentEntryStatus": ((f"('{APPROVED}')", f"('{DEPRECATED}')"),)},
    )
    assert len(found.document_entries) == 3


async def test_an_unknown_patient_has_nothing(registry):
    unknown = FIND | {"$XDSDocumentEntryPatientId": f"NOBODY^^^&{DOMAIN}&ISO"}
    assert not await registry.query(queries.FIND_DOCUMENTS, unknown)


# --- limits and patients -----------------------------------------------------------------------------------


async def test_whole_objects_of_several_patients_are_refused_and_references_are_given(registry):
    one, other = a_document_entry(), a_document_entry(patient_id=OTHER_PATIENT)
    await registry.register(a_submission(one))
    await registry.register(a_submission(other))
    both = {"$XDSDocumentEntryEntryUUID": [one.entry_uuid, other.entry_uuid]}

    assert await refused(registry, queries.GET_DOCUMENTS, both) == ["XDSResultNotSinglePatient"]
    assert set((await registry.query(queries.GET_DOCUMENTS, both, return_type=REF)).object_refs) == ids(
        (one, other)
    )


async def test_a_mothers_set_with_her_childs_document_is_not_of_a_single_patient(registry):
    child = a_document_entry(patient_id=OTHER_PATIENT)
    await registry.register(a_submission(child))
    mother = a_submission()
    reference = an_association(
        mother.submission_set.entry_uuid, child.entry_uuid, submission_set_status=schemes.REFERENCE
    )
    await registry.register(replace(mother, associations=(*mother.associations, reference)))
    parameters = {"$XDSSubmissionSetEntryUUID": mother.submission_set.entry_uuid}

    assert await refused(registry, queries.GET_SUBMISSION_SET_AND_CONTENTS, parameters) == [
        "XDSResultNotSinglePatient"
    ]


async def test_the_limits_of_an_answer(database_place):
    registry = Registry(await open_parts(database_place, query_limit=3, reference_limit=5))
    await registry.add_patient(PATIENT)
    entries = [a_document_entry() for _ in range(6)]

    async def numbers(query, parameters):
        found = []
        for return_type in (ReturnType.LEAF_CLASS, REF):
            try:
                got = await registry.query(query, parameters, return_type=return_type)
                found.append(len(got.document_entries) + len(got.object_refs))
            except XdsError as error:
                found.extend(codes(error))
        return found

    try:
        await registry.register(a_submission(*entries[:3]))
        assert await numbers(queries.FIND_DOCUMENTS, FIND) == [3, 3]
        await registry.register(a_submission(*entries[3:5]))
        assert await numbers(queries.FIND_DOCUMENTS, FIND) == ["XDSTooManyResults", 5]
        await registry.register(a_submission(entries[5]))
        assert await numbers(queries.FIND_DOCUMENTS, FIND) == ["XDSTooManyResults"] * 2
        by_id = {"$XDSDocumentEntryEntryUUID": [entry.entry_uuid for entry in entries[:4]]}
        assert await numbers(queries.GET_DOCUMENTS, by_id) == ["XDSTooManyResults", 4]
    finally:
        await registry.parts.recorder.close()
        await registry.parts.database.close()


# --- the trail ---------------------------------------------------------------------------------------------


async def test_every_query_is_recorded_with_its_patient_and_its_parameters(registry):
    await registry.query(queries.FIND_DOCUMENTS, FIND)
    await refused(registry, queries.FIND_DOCUMENTS, {"$XDSDocumentEntryPatientId": PATIENT})

    events = [event for _, event in await registry.parts.recorder.spool.reader("test").next(10)]
    assert [b'EventOutcomeIndicator="0"' in event for event in events] == [True, False]
    for event in events:
        assert b'csd-code="ITI-18"' in event
        assert b"P-1001^^^&amp;" in event
        assert b'ParticipantObjectID="urn:uuid:14d4debf-8f97-4251-9a74-a90016b0af0d"' in event
        assert b'type="QueryEncoding"' in event
        assert CLINICIAN.user.name_id.encode() in event


def test_a_query_without_a_readable_patient_is_recorded_without_one():
    from registry.transactions import iti18
    from shared.audit.events import Outcome

    request = StoredQueryRequest(
        query_id=queries.FIND_DOCUMENTS.query_id,
        return_type=ReturnType.LEAF_CLASS,
        parameters={"$XDSDocumentEntryPatientId": (("nonsense",),)},
    )
    (event,) = iti18.audit(request, None, CLINICIAN, Outcome.SERIOUS_FAILURE)
    assert [item.role for item in event.objects] == [24]


# --- much at once ------------------------------------------------------------------------------------------


async def test_a_large_answer_is_the_same_one_and_is_made_beside_the_loop(lenient_registry, monkeypatch):
    registry = lenient_registry
    entries = [a_document_entry() for _ in range(40)]
    await registry.register(a_submission(*entries, folders=[a_folder()]))
    asked = {queries.GET_ALL: ALL, queries.FIND_DOCUMENTS: FIND}

    async def answers():
        return [
            await registry.query(query, parameters, return_type=return_type)
            for query, parameters in asked.items()
            for return_type in (ReturnType.LEAF_CLASS, ReturnType.OBJECT_REF)
        ]

    at_once, threads = await answers(), []
    to_thread = asyncio.to_thread

    async def counted(work, *arguments):
        threads.append(work)
        return await to_thread(work, *arguments)

    monkeypatch.setattr("registry.unit.AT_ONCE", 7)
    monkeypatch.setattr("shared.store.sqlite.LOOP_SECONDS", -1)
    monkeypatch.setattr("registry.unit.asyncio.to_thread", counted)

    assert await answers() == at_once
    assert len(threads) >= 2 * len(at_once)
