"""Metadata levels 1 and 2 in stored queries (supplement XDS Metadata Update, 3.18.4.1.2.3.5)."""

from dataclasses import replace
from itertools import count

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from registry.domain import stored_queries as queries
from registry.domain.stored_queries import STORED_QUERIES, criteria_of
from registry.store import merges
from shared.consent.policy import Effect, new_policy
from shared.ebrim import schemes
from shared.ebrim.model import AssociationType, Code
from shared.errors import Rejected, StoredQueryMissingParam
from shared.messages.iti18 import ReturnType, encode_parameters
from tests.support.metadata import (
    DOMAIN,
    NORMAL,
    OTHER_PATIENT,
    PATIENT,
    a_document_entry,
    a_folder,
    a_submission,
    an_association,
)
from tests.support.registry import APPROVED, DEPRECATED, Registry, codes
from tests.support.updates import (
    STATUSES,
    a_status,
    a_version,
    an_update,
    everything,
    ids,
    new_version,
    submitted,
    update,
    versions_of,
)

T = AssociationType
P = "$XDSDocumentEntry"
VERY_RESTRICTED = Code("V", NORMAL.scheme, "very restricted")


class World:
    """A document of two versions in a folder of two versions, an addendum whose relationship was ended, and a
    document that cannot be had.
    """

    def __init__(self):
        self.document, self.addendum = a_document_entry(), a_document_entry()
        self.folder = a_folder()
        first = a_submission(self.document, folders=[self.folder])
        self.membership = an_association(self.folder.entry_uuid, self.document.entry_uuid)
        collected = an_association(first.submission_set.entry_uuid, self.membership.entry_uuid)
        self.first = replace(first, associations=(*first.associations, self.membership, collected))
        self.appends = an_association(self.addendum.entry_uuid, self.document.entry_uuid, T.APND)
        self.second = a_submission(self.addendum, associations=[self.appends])
        self.offline = a_document_entry(document_availability=schemes.OFFLINE)
        self.new_document = new_version(self.document, title="second")
        self.new_folder = new_version(self.folder, title="second")

    async def register(self, registry):
        for submission in (self.first, self.second, a_submission(self.offline)):
            await registry.register(submission)
        await update(registry, a_status(self.appends.entry_uuid, APPROVED, DEPRECATED))
        await update(registry, a_version(self.new_document))
        await update(registry, a_version(self.new_folder))


@pytest.fixture
async def world(registry):
    world = World()
    await world.register(registry)
    return world


LEVEL_2 = {"$MetadataLevel": 2}


# --- what each level shows ------------------------------------------------------------------------------


async def test_level_1_shows_the_latest_versions_alone(registry, world):
    shown = await everything(registry, level=1)
    assert ids(shown.document_entries) == ids([world.new_document, world.addendum])
    assert ids(shown.folders) == ids([world.new_folder])
    assert {str(item.availability_status) for item in shown.associations} == {APPROVED}

    all_of_it = await everything(registry)
    assert ids(all_of_it.document_entries) == ids(
        [world.document, world.new_document, world.addendum, world.offline]
    )
    assert ids(all_of_it.folders) == ids([world.folder, world.new_folder])
    assert world.appends.entry_uuid in ids(all_of_it.associations)


async def test_find_queries_at_both_levels(registry, world):
    documents = {f"{P}PatientId": PATIENT, f"{P}Status": STATUSES}
    folders = {"$XDSFolderPatientId": PATIENT, "$XDSFolderStatus": STATUSES}

    async def found(query, parameters):
        answers = [await registry.query(query, parameters | level) for level in ({}, LEVEL_2)]
        return [ids([*answer.document_entries, *answer.folders]) for answer in answers]

    assert await found(queries.FIND_DOCUMENTS, documents) == [
        ids([world.new_document, world.addendum]),
        ids([world.document, world.new_document, world.addendum, world.offline]),
    ]
    study = {f"{P}ReferenceIdList": [world.document.reference_ids[0]]}
    first, second = await found(queries.FIND_DOCUMENTS_BY_REFERENCE_ID, documents | study)
    assert (len(first), len(second)) == (2, 4)
    assert await found(queries.FIND_FOLDERS, folders) == [
        ids([world.new_folder]),
        ids([world.folder, world.new_folder]),
    ]


async def test_get_queries_by_the_id_of_an_old_version(registry, world):
    old_document = {f"{P}EntryUUID": world.document.entry_uuid}
    asked = {
        queries.GET_DOCUMENTS: {f"{P}EntryUUID": [world.document.entry_uuid]},
        queries.GET_FOLDERS: {"$XDSFolderEntryUUID": [world.folder.entry_uuid]},
        queries.GET_DOCUMENTS_AND_ASSOCIATIONS: {f"{P}EntryUUID": [world.document.entry_uuid]},
        queries.GET_FOLDER_AND_CONTENTS: {"$XDSFolderEntryUUID": world.folder.entry_uuid},
        queries.GET_FOLDERS_FOR_DOCUMENT: old_document,
        queries.GET_SUBMISSION_SETS: {"$uuid": [world.document.entry_uuid]},
    }
    for query, parameters in asked.items():
        assert not await registry.query(query, parameters), query.name
        assert await registry.query(query, parameters | LEVEL_2), query.name


async def test_an_old_set_shows_what_it_brought_at_level_2_alone(registry, world):
    asked = {"$XDSSubmissionSetEntryUUID": world.first.submission_set.entry_uuid}
    first = await registry.query(queries.GET_SUBMISSION_SET_AND_CONTENTS, asked)
    second = await registry.query(queries.GET_SUBMISSION_SET_AND_CONTENTS, asked | LEVEL_2)

    assert not (*first.document_entries, *first.folders, *first.associations)
    assert ids(second.document_entries) == ids([world.document])
    assert ids(second.folders) == ids([world.folder])
    assert len(second.associations) == 4


async def test_the_folder_shows_the_latest_documents_at_level_1(registry, world):
    asked = {"$XDSFolderUniqueId": world.folder.unique_id}
    found = await registry.query(queries.GET_FOLDER_AND_CONTENTS, asked)
    assert ids(found.folders) == ids([world.new_folder])
    assert ids(found.document_entries) == ids([world.new_document])
    assert len(found.associations) == 1


async def test_ended_associations_are_asked_for_by_their_status(registry, world):
    related = {f"{P}EntryUUID": world.addendum.entry_uuid, "$AssociationTypes": [str(T.APND)]}
    assert not await registry.query(queries.GET_RELATED_DOCUMENTS, related)
    assert not await registry.query(queries.GET_RELATED_DOCUMENTS, related | LEVEL_2)
    ended = LEVEL_2 | {"$XDSAssociationStatus": [DEPRECATED]}
    found = await registry.query(queries.GET_RELATED_DOCUMENTS, related | ended)
    assert ids(found.associations) == {world.appends.entry_uuid}
    assert ids(found.document_entries) == ids([world.addendum, world.document])

    uuid = {"$uuid": [world.addendum.entry_uuid]}
    assert world.appends.entry_uuid not in ids(
        (await registry.query(queries.GET_ASSOCIATIONS, uuid)).associations
    )
    found = await registry.query(queries.GET_ASSOCIATIONS, uuid | ended)
    assert ids(found.associations) == {world.appends.entry_uuid}


async def test_references_are_as_the_objects_are(registry, world):
    asked = {f"{P}PatientId": PATIENT, f"{P}Status": STATUSES}
    for level, number in (({}, 2), (LEVEL_2, 4)):
        found = await registry.query(queries.FIND_DOCUMENTS, asked | level, return_type=ReturnType.OBJECT_REF)
        assert len(found.object_refs) == number


@pytest.mark.parametrize(
    ("wanted", "number"),
    [([schemes.OFFLINE], 1), ([schemes.ONLINE], 3), ([schemes.ONLINE, schemes.OFFLINE], 4)],
)
async def test_documents_are_found_by_their_availability(registry, world, wanted, number):
    asked = {f"{P}PatientId": PATIENT, f"{P}Status": STATUSES, f"{P}DocumentAvailability": wanted}
    found = await registry.query(queries.FIND_DOCUMENTS, asked | LEVEL_2)
    assert len(found.document_entries) == number


async def test_level_1_may_be_asked_for_what_it_shows_anyway(registry, world):
    asked = {f"{P}PatientId": PATIENT, f"{P}Status": STATUSES}
    shown = await registry.query(queries.FIND_DOCUMENTS, asked)
    online = {f"{P}DocumentAvailability": [schemes.ONLINE]}
    for level in ({}, {"$MetadataLevel": 1}):
        found = await registry.query(queries.FIND_DOCUMENTS, asked | online | level)
        assert ids(found.document_entries) == ids(shown.document_entries)
    both = {f"{P}DocumentAvailability": [schemes.ONLINE, schemes.OFFLINE]}
    with pytest.raises(Rejected) as refusal:
        await registry.query(queries.FIND_DOCUMENTS, asked | both)
    assert codes(refusal.value) == ["XDSRegistryError"]


async def test_lineages_are_fetched_by_their_logical_id(registry, world):
    assert [item.version for item in await versions_of(registry, world.document)] == [1, 2]
    assert [item.version for item in await versions_of(registry, world.folder)] == [1, 2]
    of_a_later_version = {f"{P}LogicalID": [world.new_document.entry_uuid]} | LEVEL_2
    assert not await registry.query(queries.GET_DOCUMENTS, of_a_later_version)


async def test_a_merge_keeps_levels_and_statuses(registry, world):
    async def merge(transaction):
        await merges.merge_patients(transaction, PATIENT, OTHER_PATIENT)

    before = [await everything(registry, level) for level in (1, 2)]
    await registry.parts.database.write(merge)
    after = [await everything(registry, level, OTHER_PATIENT) for level in (1, 2)]
    for one, other in zip(before, after, strict=True):
        assert ids(one.document_entries) == ids(other.document_entries)
        assert ids(one.folders) == ids(other.folders)


# --- consent --------------------------------------------------------------------------------------------


async def test_an_old_version_is_seen_by_those_who_see_the_latest(registry, world):
    secret = new_version(world.addendum, confidentiality_codes=(VERY_RESTRICTED,))
    await update(registry, a_version(secret))
    await registry.add_policy(
        new_policy(patient_id=PATIENT, effect=Effect.DENY, confidentiality=(str(VERY_RESTRICTED),))
    )
    lineage = {f"{P}LogicalID": [world.addendum.entry_uuid]} | LEVEL_2
    assert not await registry.query(queries.GET_DOCUMENTS, lineage)
    asked = {f"{P}PatientId": PATIENT, f"{P}Status": STATUSES}
    found = await registry.query(queries.FIND_DOCUMENTS, asked | LEVEL_2)
    assert ids(found.document_entries) == ids([world.document, world.new_document, world.offline])


# --- parameters -----------------------------------------------------------------------------------------

LEVEL_2_PARAMETERS = [
    (query, parameter)
    for query in STORED_QUERIES.values()
    for parameter in query.parameters
    if parameter.level == 2
]


def an_example(query, *also):
    """Parameters that a query asks for, so that only `also` can be wrong."""
    values = {
        "cx": PATIENT,
        "status": [APPROVED],
        "uuid": [world_id],
        "assoc": [str(T.APND)],
        "cxi": [REFERENCE],
    }
    needed = [item for item in query.parameters if item.need is queries.Need.REQUIRED]
    if not any(name.endswith("LogicalID") for name in also):
        needed += [item for item in query.parameters if item.need is queries.Need.ONE_OF][:1]
    return {
        item.name: value[0]
        if item.single and isinstance(value := values[item.kind], list)
        else values[item.kind]
        for item in needed
    }


world_id = "urn:uuid:00000000-0000-4000-8000-000000000001"
REFERENCE = a_document_entry().reference_ids[0]


def asked(query, parameters, **options):
    return criteria_of(query.query_id, encode_parameters(parameters), **options)


@pytest.mark.parametrize("query", STORED_QUERIES.values(), ids=lambda query: query.name)
def test_every_query_takes_a_level(query):
    parameters = an_example(query)
    assert asked(query, parameters).level == 1
    assert asked(query, parameters | {"$MetadataLevel": 1}).level == 1
    assert asked(query, parameters | {"$MetadataLevel": 2}).level == 2
    assert asked(query, parameters | {"$MetadataLevel": "2"}).level == 2
    for wrong, code in ((3, "XDSRegistryError"), (0, "XDSRegistryError"), ("x", "XDSRegistryError")):
        with pytest.raises(Rejected) as refusal:
            asked(query, parameters | {"$MetadataLevel": wrong})
        assert codes(refusal.value) == [code]
    with pytest.raises(Rejected) as refusal:
        asked(query, parameters | {"$MetadataLevel": ["1", "2"]})
    assert codes(refusal.value) == ["XDSStoredQueryParamNumber"]


@pytest.mark.parametrize(
    ("query", "parameter"), LEVEL_2_PARAMETERS, ids=lambda item: getattr(item, "name", "")
)
def test_a_parameter_of_level_2_is_refused_at_level_1_and_ignored_without_the_option(query, parameter):
    value = {"status": [APPROVED], "uuid": [world_id], "avail": [schemes.OFFLINE]}[parameter.kind]
    given_ = an_example(query, parameter.name) | {parameter.name: value}

    assert asked(query, given_ | LEVEL_2).values(parameter.name) == tuple(value)
    with pytest.raises(Rejected) as refusal:
        asked(query, given_)
    assert codes(refusal.value) == ["XDSRegistryError"]
    if parameter.need is queries.Need.ONE_OF:
        with pytest.raises(Rejected) as refusal:
            asked(query, given_ | LEVEL_2, metadata_update=False)
        assert isinstance(refusal.value.errors[0], StoredQueryMissingParam)
    else:
        criteria = asked(query, given_ | LEVEL_2, metadata_update=False)
        assert (criteria.level, criteria.values(parameter.name)) == (1, ())


def test_the_parameters_are_those_of_the_supplement():
    found = {f"{query.name};{parameter.name}" for query, parameter in LEVEL_2_PARAMETERS}
    assert found >= {
        f"FindDocuments;{P}DocumentAvailability",
        f"GetDocuments;{P}LogicalID",
        "GetFolders;$XDSFolderLogicalID",
        "GetDocumentsAndAssociations;$XDSAssociationStatus",
        "GetFolderAndContents;$XDSAssociationStatus",
        "GetRelatedDocuments;$XDSAssociationStatus",
    }


async def test_without_the_option_nothing_is_shown_at_level_2(registry, world):
    parts = registry.parts
    off = Registry(replace(parts, settings=parts.settings.model_copy(update={"metadata_update": False})))
    found = await everything(off, level=2)
    assert ids(found.document_entries) == ids([world.new_document, world.addendum])


# --- laws -----------------------------------------------------------------------------------------------

_numbers = count(1)

steps = st.lists(
    st.tuples(
        st.sampled_from(["version", "restricted", "status", "end", "member", "replace"]),
        st.integers(0, 3),
        st.integers(0, 3),
        st.booleans(),
    ),
    min_size=4,
    max_size=14,
)


class Model:
    """A registry beside the registry: four documents and two folders, as far as versions go."""

    def __init__(self, patient):
        self.patient = patient
        self.documents = [[a_document_entry(patient_id=patient)] for _ in range(4)]
        self.folders = [[a_folder(patient_id=patient)] for _ in range(2)]

    def first(self):
        return a_submission(
            *(versions[0] for versions in self.documents), folders=[versions[0] for versions in self.folders]
        )


async def take(registry, model, step):
    """One step; what the registry refuses leaves the model as it is."""
    kind, at, other, flag = step
    lineages = model.documents + model.folders
    versions = lineages[(at + other) % len(lineages)]
    latest = versions[-1]
    if kind in ("version", "restricted"):
        sent = new_version(latest)
        # Sometimes a version that is not current.
        previous = str(len(versions) - (1 if flag and other == 0 else 0))
        operation = a_version(sent, previous, None if kind == "restricted" or flag else "no")
        await update(registry, operation, restricted=kind == "restricted")
        versions.append(sent)
    elif kind == "status":
        change = (APPROVED, DEPRECATED) if flag else (DEPRECATED, APPROVED)
        await update(registry, an_update(a_status(latest.entry_uuid, *change), patient_id=model.patient))
    elif kind == "member":
        item = an_association(model.folders[at % 2][-1].entry_uuid, model.documents[other][-1].entry_uuid)
        await update(registry, an_update(submitted(item), patient_id=model.patient))
    elif kind == "replace":
        new = a_document_entry(patient_id=model.patient)
        target = model.documents[other][-1].entry_uuid
        await registry.register(
            a_submission(new, associations=[an_association(new.entry_uuid, target, T.RPLC)])
        )
    else:
        everything_ = await everything(registry, 2, model.patient)
        sets = ids(everything_.submission_sets)
        found = [item for item in everything_.associations if item.source_object not in sets]
        for item in sorted(found, key=lambda item: item.target_object)[at : at + 1]:
            change = (APPROVED, DEPRECATED) if flag else (DEPRECATED, APPROVED)
            await update(registry, an_update(a_status(item.entry_uuid, *change), patient_id=model.patient))


@settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(taken=steps)
async def test_after_any_updates_one_version_is_latest_and_level_1_shows_no_other(lenient_registry, taken):
    model = Model(f"LAW-{next(_numbers)}^^^&{DOMAIN}&ISO")
    await lenient_registry.register(model.first())
    for step in taken:
        try:
            await take(lenient_registry, model, step)
        except Rejected:
            continue

    shown = await everything(lenient_registry, 1, model.patient)
    visible = ids([*shown.document_entries, *shown.folders])
    for versions in model.documents + model.folders:
        found = await versions_of(lenient_registry, versions[0])
        # Numbered from 1 without a gap, under one logicalID and uniqueId, at most the latest Approved.
        assert [item.entry_uuid for item in found] == [item.entry_uuid for item in versions]
        assert [item.version for item in found] == list(range(1, len(versions) + 1))
        assert {item.logical_id for item in found} == {versions[0].entry_uuid}
        assert {item.unique_id for item in found} == {versions[0].unique_id}
        assert {str(item.availability_status) for item in found[:-1]} <= {DEPRECATED}
        hidden_folder = hasattr(found[-1], "codes") and str(found[-1].availability_status) == DEPRECATED
        assert visible & ids(found) == (set() if hidden_folder else {found[-1].entry_uuid})
    assert {str(item.availability_status) for item in shown.associations} <= {APPROVED}
    # No two Approved associations join the same two in the same way.
    kinds = [
        (item.association_type, item.source_object, item.target_object)
        for item in (await everything(lenient_registry, 2, model.patient)).associations
        if str(item.availability_status) == APPROVED
    ]
    assert len(kinds) == len(set(kinds))
