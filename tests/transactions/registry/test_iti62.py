"""Removal of metadata: three rules about what is left, and what goes with what is removed."""

import asyncio
from dataclasses import replace

import pytest
from sqlalchemy import func, select

from registry.domain import stored_queries as queries
from registry.store import objects
from registry.store.tables import identifier, object_value, registry_object
from registry.transactions import iti62
from shared.audit.bounds import MAX_OBJECTS
from shared.ebrim import schemes
from shared.ebrim.identifiers import new_uuid
from shared.ebrim.model import AssociationType, AvailabilityStatus
from shared.errors import Rejected
from shared.messages.iti62 import ITI62, RemoveMetadataRequest
from shared.messages.registry import Status
from shared.security.caller import Caller, Node
from shared.xml import parse
from tests.support.metadata import (
    OTHER_PATIENT,
    PATIENT,
    a_document_entry,
    a_folder,
    a_submission,
    an_association,
)
from tests.support.registry import (
    APPROVED,
    DEPRECATED,
    ENDPOINT,
    Registry,
    a_clinician,
    codes,
    is_success,
    open_parts,
)

T = AssociationType
REFERENCES = "ReferencesExistException"
UNREFERENCED = "XDSUnreferencedObjectException"
UNRESOLVED = "UnresolvedReferenceException"
NOWHERE = "urn:uuid:00000000-0000-4000-8000-000000000000"


class World:
    """A set with two documents in a folder; further sets, each with a document related to one of them.

    And a set with one document alone, and one that holds that by reference.
    """

    def __init__(self):
        self.one, self.two = a_document_entry(), a_document_entry()
        self.folder = a_folder()
        base = a_submission(self.one, self.two, folders=[self.folder])
        self.set = base.submission_set
        self.has_one, self.has_two, self.has_folder = base.associations
        self.in_folder = an_association(self.folder.entry_uuid, self.one.entry_uuid)
        self.collected = an_association(self.set.entry_uuid, self.in_folder.entry_uuid)
        self.base = replace(base, associations=(*base.associations, self.in_folder, self.collected))
        self.lonely = a_document_entry()
        self.lonely_set = a_submission(self.lonely)
        self.referring = a_submission()
        self.reference = an_association(
            self.referring.submission_set.entry_uuid,
            self.lonely.entry_uuid,
            submission_set_status=schemes.REFERENCE,
        )
        self.related = {}
        for kind in (T.APND, T.XFRM, T.SIGNS, T.RPLC, T.XFRM_RPLC):
            target, source = a_document_entry(), a_document_entry()
            association = an_association(source.entry_uuid, target.entry_uuid, kind)
            first = a_submission(target)
            second = a_submission(source, associations=[association])
            self.related[kind] = (first, second, association)

    async def register(self, registry):
        await registry.register(self.base)
        await registry.register(self.lonely_set)
        await registry.register(
            replace(self.referring, associations=(*self.referring.associations, self.reference))
        )
        for first, second, _ in self.related.values():
            await registry.register(first)
            await registry.register(second)


@pytest.fixture
async def world(registry):
    world = World()
    await world.register(registry)
    return world


def whole(submission):
    """Everything of a submission of one document."""
    return [submission.submission_set, *submission.document_entries, *submission.associations[:1]]


def ids(things):
    return tuple(getattr(thing, "entry_uuid", thing) for thing in things)


async def remove(registry, *things, **options):
    return await registry.perform(iti62.SERVED, RemoveMetadataRequest(ids=ids(things)), **options)


async def refused(registry, *things, **options):
    with pytest.raises(Rejected) as refusal:
        await remove(registry, *things, **options)
    return refusal.value.errors


async def registered(registry):
    rows = await registry.parts.database.fetch(select(registry_object.c.entry_uuid))
    return {entry_uuid for (entry_uuid,) in rows}


async def count(registry, table):
    ((number,),) = await registry.parts.database.fetch(select(func.count()).select_from(table))
    return number


# --- the rules -------------------------------------------------------------------------------------------

REFUSED = {
    "E66 an unknown id": ({UNRESOLVED}, lambda w: [NOWHERE]),
    "E66 an unknown id among known ones": ({UNRESOLVED}, lambda w: [w.set, NOWHERE]),
    "E66 what is no id at all": ({UNRESOLVED}, lambda w: ["document1"]),
    "E67 a set alone": ({REFERENCES}, lambda w: [w.lonely_set.submission_set]),
    "E67 a document alone": ({REFERENCES}, lambda w: [w.one]),
    "E67 a folder alone": ({REFERENCES}, lambda w: [w.folder]),
    "E67 a folder with its place in the set, and a member": (
        {REFERENCES},
        lambda w: [w.folder, w.has_folder],
    ),
    "E67 a membership that the set collects": ({REFERENCES}, lambda w: [w.in_folder]),
    "E68 a document and its membership, the set's only one": (
        {UNREFERENCED},
        lambda w: [*whole(w.related[T.APND][1])[1:], w.related[T.APND][2]],
    ),
    "E68 the only membership of a document": ({UNREFERENCED}, lambda w: [w.has_two]),
    "E68 a place in the set that a membership of a folder had": ({UNREFERENCED}, lambda w: [w.collected]),
    "E68 the last membership of a document that is still in a folder": (
        {UNREFERENCED},
        lambda w: [w.has_one],
    ),
    "E68 the last membership of a folder that still has a member": (
        {UNREFERENCED},
        lambda w: [w.has_folder],
    ),
    "E67 a document that another set refers to": ({REFERENCES}, lambda w: whole(w.lonely_set)),
    **{
        f"E67 all of a document but the {kind.rpartition(':')[2]} to it": (
            {REFERENCES},
            lambda w, kind=kind: whole(w.related[kind][0]),
        )
        for kind in (T.APND, T.XFRM, T.SIGNS, T.RPLC, T.XFRM_RPLC)
    },
    **{
        f"E67 all of a document but the {kind.rpartition(':')[2]} from it": (
            {REFERENCES},
            lambda w, kind=kind: whole(w.related[kind][1]),
        )
        for kind in (T.APND, T.RPLC)
    },
    "E67 and E68 together": (
        {REFERENCES, UNREFERENCED},
        lambda w: [w.lonely_set.submission_set, w.has_two],
    ),
}


async def test_every_broken_rule_has_its_code_and_nothing_goes(registry, world):
    before = await registered(registry)
    wrong = {}
    for name, (expected, choose) in REFUSED.items():
        found = set(codes(Rejected(*await refused(registry, *choose(world)))))
        if found != expected:
            wrong[name] = (expected, found)
    assert wrong == {}
    assert await registered(registry) == before


def everything(world):
    yield from (world.set, world.one, world.two, world.folder, *world.base.associations)


ACCEPTED = {
    "a relationship alone": lambda w: [w.related[T.APND][2]],
    "a transformation alone": lambda w: [w.related[T.XFRM][2]],
    "a replacement alone": lambda w: [w.related[T.RPLC][2]],
    "a membership of a folder with its place in the set": lambda w: [w.in_folder, w.collected],
    "a document with its membership, while the set keeps another": lambda w: [w.two, w.has_two],
    "a reference, while the document stays in its own set": lambda w: [w.reference],
    "a whole set": everything,
    **{
        f"a document that others relate to by {kind.rpartition(':')[2]}, and the relationship": (
            lambda w, kind=kind: [*whole(w.related[kind][0]), w.related[kind][2]]
        )
        for kind in (T.APND, T.XFRM, T.RPLC, T.XFRM_RPLC)
    },
    "a document that relates to others, and the relationship": lambda w: [
        *whole(w.related[T.APND][1]),
        w.related[T.APND][2],
    ],
}


@pytest.mark.parametrize("name", ACCEPTED)
async def test_what_may_go_goes_and_the_rest_stays(registry, world, name):
    going = set(ids(ACCEPTED[name](world)))
    before = await registered(registry)

    response = await remove(registry, *going)

    assert is_success(response)
    assert not response.errors
    assert await registered(registry) == before - going


async def test_the_order_means_nothing(registry, world):
    for order in (1, -1):
        going = list(everything(world))[::order]
        assert await refused(registry, *going[1:])
    assert is_success(await remove(registry, *list(everything(world))[::-1]))


async def test_all_violations_are_told_with_the_objects_in_question(registry, world):
    errors = await refused(registry, world.one, world.two)
    assert {error.location for error in errors} == {world.one.entry_uuid, world.two.entry_uuid}
    told = " ".join(error.context for error in errors)
    for association in (world.has_one, world.has_two, world.in_folder):
        assert association.entry_uuid in told


async def test_what_is_not_registered_ends_the_search(registry, world):
    errors = await refused(registry, world.set, NOWHERE, new_uuid())
    assert codes(Rejected(*errors)) == [UNRESOLVED] * 2
    assert errors[0].location == NOWHERE


# --- what goes along -------------------------------------------------------------------------------------


async def test_nothing_is_left_of_what_was_removed(registry):
    submission = a_submission(a_document_entry(), folders=[a_folder()])
    await registry.register(submission)
    await remove(
        registry,
        submission.submission_set,
        *submission.document_entries,
        *submission.folders,
        *submission.associations,
    )

    assert await registered(registry) == set()
    assert await count(registry, object_value) == 0
    assert not await registry.query(
        queries.GET_DOCUMENTS, {"$XDSDocumentEntryEntryUUID": ids(submission.document_entries)}
    )


async def test_a_removed_submission_may_be_registered_again_but_a_document_id_stays_its_contents(registry):
    submission = a_submission(a_document_entry(), folders=[a_folder()])
    things = [submission.submission_set, *submission.document_entries, *submission.folders]
    await registry.register(submission)
    await remove(registry, *things, *submission.associations)

    other_bytes = replace(submission.document_entries[0], hash="0" * 40)
    assert await registry.refused(replace(submission, document_entries=(other_bytes,))) == [
        "XDSNonIdenticalHash"
    ]
    assert is_success(await registry.register(submission))
    assert await count(registry, identifier) == 2 * len(things) + len(submission.associations)


async def test_a_unique_id_of_a_folder_stays_taken_while_another_version_has_it(registry):
    first = a_folder(logical_id="")
    submission = a_submission(folders=[first])
    await registry.register(submission)
    newer = a_folder(unique_id=first.unique_id, logical_id=first.entry_uuid, version=2)
    membership = an_association(submission.submission_set.entry_uuid, newer.entry_uuid)
    await registry.store_as_is(replace(newer, availability_status=AvailabilityStatus.DEPRECATED), membership)
    await remove(registry, newer, membership)
    assert await registry.refused(a_submission(folders=[a_folder(unique_id=first.unique_id)])) == [
        "XDSDuplicateUniqueIdInRegistry"
    ]


async def test_a_folder_that_loses_a_member_gets_a_new_time_and_others_keep_theirs(registry, world):
    later = registry.at_later(100)

    async def time():
        found = await registry.query(queries.GET_FOLDERS, {"$XDSFolderEntryUUID": [world.folder.entry_uuid]})
        return found.folders[0].last_update_time

    before = await time()
    await remove(later, world.two, world.has_two)
    assert await time() == before
    await remove(later, world.in_folder, world.collected)
    assert await time() > before


async def test_a_replaced_document_stays_deprecated_when_its_replacement_goes(registry, world):
    first, second, association = world.related[T.RPLC]
    await remove(registry, *whole(second), association)
    found = await registry.query(
        queries.FIND_DOCUMENTS,
        {"$XDSDocumentEntryPatientId": PATIENT, "$XDSDocumentEntryStatus": [DEPRECATED]},
    )
    assert first.document_entries[0].entry_uuid in ids(found.document_entries)


class Versions:
    """A document and a folder of one set, each of which has a newer version."""

    def __init__(self, **changes):
        self.entry, self.folder = a_document_entry(**changes), a_folder()
        self.first = a_submission(self.entry, folders=[self.folder])
        set_id = self.first.submission_set.entry_uuid
        self.newer = [
            a_document_entry(unique_id=self.entry.unique_id, logical_id=self.entry.entry_uuid, version=2),
            a_folder(unique_id=self.folder.unique_id, logical_id=self.folder.entry_uuid, version=2),
        ]
        self.memberships = [
            an_association(set_id, self.newer[0].entry_uuid, submission_set_status=schemes.ORIGINAL),
            an_association(set_id, self.newer[1].entry_uuid),
        ]

    async def register(self, registry):
        await registry.register(self.first)

        async def deprecate(transaction):
            old = [self.entry.entry_uuid, self.folder.entry_uuid]
            values = await objects.find_values(transaction, old)
            await objects.replace_objects(transaction, map(objects.deprecated, values))
            await objects.hide_superseded(transaction, old)

        await registry.parts.database.write(deprecate)
        await registry.store_as_is(*self.newer, *self.memberships)


async def shown(registry):
    found = await registry.query(
        queries.GET_ALL,
        {
            "$patientId": PATIENT,
            "$XDSDocumentEntryStatus": [APPROVED, DEPRECATED],
            "$XDSSubmissionSetStatus": [APPROVED],
            "$XDSFolderStatus": [APPROVED, DEPRECATED],
        },
    )
    return {thing.entry_uuid for thing in (*found.document_entries, *found.folders)}


async def test_an_old_version_is_the_latest_again_when_the_newer_one_goes(registry):
    """In the status that it has: level 1 shows a deprecated document, and no deprecated folder."""
    versions = Versions()
    await versions.register(registry)
    assert await shown(registry) == set(ids(versions.newer))
    await remove(registry, *versions.newer, *versions.memberships)
    assert await shown(registry) == {versions.entry.entry_uuid}


async def test_an_old_version_that_is_offline_stays_hidden(registry):
    versions = Versions(document_availability=schemes.OFFLINE)
    await versions.register(registry)
    await remove(registry, *versions.newer, *versions.memberships)
    assert await shown(registry) == set()


# --- who, how often, how much ----------------------------------------------------------------------------


async def test_a_node_of_the_community_and_an_administrator_may_remove_and_nobody_else(database_place):
    registry = Registry(await open_parts(database_place, administrator_roles=["ADMIN^^2.999.40.1"]))
    try:
        await registry.add_patient(PATIENT)
        submission = a_submission()
        await registry.register(submission)
        stranger = Caller(node=Node(address="192.0.2.9", subject="CN=other"), endpoint=ENDPOINT)
        for caller in (stranger, a_clinician("RAD-PHYS"), a_clinician()):
            (error,) = await refused(registry, *whole(submission), caller=caller)
            assert codes(error) == ["XDSRegistryError"]
            assert "may not remove" in error.context
        assert len(await registered(registry)) == 3
        assert is_success(await remove(registry, *whole(submission), caller=a_clinician("ADMIN")))
        assert await registered(registry) == set()
    finally:
        await registry.parts.recorder.close()
        await registry.parts.database.close()


async def test_a_message_that_comes_again_is_answered_as_before(registry):
    submission = a_submission()
    await registry.register(submission)
    for _ in range(2):
        assert is_success(await remove(registry, *whole(submission), message_id="urn:uuid:7"))
    assert codes(Rejected(*await refused(registry, *whole(submission)))) == [UNRESOLVED] * 3
    assert len([event for event in await registry.outbox() if b"ITI-62" in event]) == 2


MALFORMED = {
    "no list": "",
    "an empty list": "<rim:ObjectRefList/>",
    "an ObjectRef without id": '<rim:ObjectRefList><rim:ObjectRef id=" "/></rim:ObjectRefList>',
    "objects": '<rim:RegistryObjectList><rim:ObjectRef id="urn:uuid:1"/></rim:RegistryObjectList>',
    "objects among references": (
        '<rim:ObjectRefList><rim:Association id="a" associationType="b" sourceObject="c" targetObject="d"/>'
        "</rim:ObjectRefList>"
    ),
    "a query": '<rim:AdhocQuery id="x"/><rim:ObjectRefList><rim:ObjectRef id="{set}"/></rim:ObjectRefList>',
    "a scope": '<rim:ObjectRefList><rim:ObjectRef id="{set}"/></rim:ObjectRefList>',
}


@pytest.mark.parametrize("name", MALFORMED)
async def test_a_malformed_request_is_refused_as_such(registry, name):
    submission = a_submission()
    await registry.register(submission)
    scope = 'deletionScope="urn:oasis:names:tc:ebxml-regrep:DeletionScopeType:DeleteAll"'
    body = (
        '<lcm:RemoveObjectsRequest xmlns:lcm="urn:oasis:names:tc:ebxml-regrep:xsd:lcm:3.0"'
        f' xmlns:rim="urn:oasis:names:tc:ebxml-regrep:xsd:rim:3.0" {scope if name == "a scope" else ""}>'
        f"{MALFORMED[name].format(set=submission.submission_set.entry_uuid)}</lcm:RemoveObjectsRequest>"
    )
    request = ITI62.decode_request(parse(body.encode()), {})
    with pytest.raises(Rejected) as refusal:
        await registry.perform(iti62.SERVED, request)
    assert set(codes(refusal.value)) == {"XDSRegistryError"}
    assert len(await registered(registry)) == 3


async def test_an_id_that_is_listed_twice_is_removed_once(registry):
    submission = a_submission()
    await registry.register(submission)
    things = ids(whole(submission))
    listed = "".join(f'<rim:ObjectRef id=" {each} "/>' for each in (*things, *things))
    body = (
        '<lcm:RemoveObjectsRequest xmlns:lcm="urn:oasis:names:tc:ebxml-regrep:xsd:lcm:3.0"'
        ' xmlns:rim="urn:oasis:names:tc:ebxml-regrep:xsd:rim:3.0">'
        f"<rim:ObjectRefList>{listed}</rim:ObjectRefList></lcm:RemoveObjectsRequest>"
    )
    assert is_success(await registry.perform(iti62.SERVED, ITI62.decode_request(parse(body.encode()), {})))
    assert await registered(registry) == set()


async def test_a_removal_and_a_submission_at_once_leave_nothing_pointing_nowhere(registry):
    for _ in range(6):
        target, source = a_submission(), a_document_entry()
        (document,) = target.document_entries
        await registry.register(target)
        related = a_submission(
            source, associations=[an_association(source.entry_uuid, document.entry_uuid, T.APND)]
        )
        removed, added = await asyncio.gather(
            remove(registry, *whole(target)), registry.register(related), return_exceptions=True
        )
        outcomes = {isinstance(each, Rejected) for each in (removed, added)}
        assert outcomes == {True, False}
        if isinstance(removed, Rejected):
            assert codes(removed) == [REFERENCES]
        else:
            assert codes(added) == [UNRESOLVED]


# --- the trail -------------------------------------------------------------------------------------------


async def test_a_removal_is_recorded_for_each_patient_with_each_object(registry):
    child = a_document_entry(patient_id=OTHER_PATIENT)
    childs = a_submission(child)
    await registry.register(childs)
    mother = a_submission()
    reference = an_association(
        mother.submission_set.entry_uuid, child.entry_uuid, submission_set_status=schemes.REFERENCE
    )
    await registry.register(replace(mother, associations=(*mother.associations, reference)))

    await remove(registry, *whole(mother), reference, *whole(childs))

    events = [event for event in await registry.outbox() if b"ITI-62" in event]
    assert len(events) == 2
    by_patient = {b"P-1001" if b"P-1001" in event else b"P-2002": event for event in events}
    for patient, things in ((b"P-1001", (*whole(mother), reference)), (b"P-2002", whole(childs))):
        event = by_patient[patient]
        assert b'csd-code="110110"' in event
        assert b'EventActionCode="D"' in event
        assert b'EventOutcomeIndicator="0"' in event
        assert event.count(b'ParticipantObjectDataLifeCycle="15"') == len(things)
        assert event.count(b'csd-code="urn:ihe:iti:2017:ObjectRef"') == len(things)
        for each in ids(things):
            assert each.encode() in event


async def test_a_refused_removal_is_recorded_with_what_was_asked(registry):
    await refused(registry, NOWHERE)
    ((_, event),) = await registry.parts.recorder.spool.reader("test").next(10)
    assert b'EventOutcomeIndicator="8"' in event
    assert NOWHERE.encode() in event
    assert b'csd-code="ITI-62"' in event


async def test_many_objects_are_recorded_in_several_records(registry):
    await refused(registry, *(new_uuid() for _ in range(MAX_OBJECTS + 1)))
    events = [event for _, event in await registry.parts.recorder.spool.reader("test").next(10)]
    named = [event.count(b"urn:ihe:iti:2017:ObjectRef") for event in events]
    assert sum(named) == MAX_OBJECTS + 1
    assert max(named) <= MAX_OBJECTS
    assert [b"part %d of 2" % number in event for number, event in enumerate(events, 1)] == [True, True]


def test_the_answer_is_that_of_every_registry_transaction():
    assert iti62.SERVED.transaction.failure([]).status is Status.FAILURE
