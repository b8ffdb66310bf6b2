"""Update Document Set [ITI-57]: each operation, what comes along with it, and that it is whole or nothing."""

import asyncio
from dataclasses import replace

import pytest
from lxml import etree

from registry.domain import stored_queries as queries
from registry.domain.value_sets import value_sets_of
from registry.store import merges, patients
from shared.ebrim import schemes
from shared.ebrim.codec import decode_submission, encode_submission_set
from shared.ebrim.model import AssociationType, AvailabilityStatus, Code, Slot, Timestamp
from shared.errors import Rejected, ResultNotSinglePatient
from shared.messages.iti57 import ITI57, UpdateRequest
from tests.support.metadata import (
    DOMAIN,
    OTHER_PATIENT,
    PATIENT,
    a_document_entry,
    a_folder,
    a_submission,
    an_association,
)
from tests.support.registry import (
    APPROVED,
    CLINICIAN,
    DEPRECATED,
    Registry,
    a_clinician,
    codes,
    is_success,
    told_of_others,
)
from tests.support.updates import (
    STATUSES,
    a_status,
    a_version,
    an_update,
    everything,
    ids,
    new_version,
    refusal,
    refused,
    slots,
    submitted,
    update,
    versions_of,
)

T = AssociationType
UPDATE_ERROR = "XDSMetadataUpdateError"
OPERATION_ERROR = "XDSMetadataUpdateOperationError"
VERSION_ERROR = "XDSMetadataVersionError"
RECONCILIATION = "XDSPatientIDReconciliationError"
METADATA = "XDSRegistryMetadataError"
NOWHERE = "urn:uuid:00000000-0000-4000-8000-000000000000"
R_CODE = Code("R", "2.16.840.1.113883.5.25", "Restricted")


class World:
    """A folder with two documents, an addendum to the first, a lone document, and another patient's."""

    def __init__(self):
        self.document, self.second, self.lone = (a_document_entry() for _ in range(3))
        self.folder, self.empty = a_folder(), a_folder()
        first = a_submission(self.document, self.second, self.lone, folders=[self.folder, self.empty])
        self.memberships = [
            an_association(self.folder.entry_uuid, each.entry_uuid) for each in (self.document, self.second)
        ]
        collected = [an_association(first.submission_set.entry_uuid, m.entry_uuid) for m in self.memberships]
        self.first = replace(first, associations=(*first.associations, *self.memberships, *collected))
        self.set = self.first.submission_set
        self.addendum = a_document_entry()
        self.appends = an_association(self.addendum.entry_uuid, self.document.entry_uuid, T.APND)
        self.appended = a_submission(self.addendum, associations=[self.appends])
        self.foreign = a_document_entry(patient_id=OTHER_PATIENT)
        self.foreign_folder = a_folder(patient_id=OTHER_PATIENT)
        self.third = a_submission(self.foreign, folders=[self.foreign_folder])
        # Replaced, and updated once.
        self.old, self.replacement, self.updated = (a_document_entry() for _ in range(3))
        self.fourth = a_submission(self.old, self.updated)
        self.fifth = a_submission(
            self.replacement,
            associations=[an_association(self.replacement.entry_uuid, self.old.entry_uuid, T.RPLC)],
        )
        self.second_version = new_version(self.updated, title="second")
        self.on_demand = a_document_entry(
            object_type=schemes.ON_DEMAND, creation_time=None, hash="", size=None
        )

    async def register(self, registry):
        for submission in (self.first, self.appended, self.third, self.fourth, self.fifth):
            await registry.register(submission)
        await update(registry, a_version(self.second_version))
        await registry.store_as_is(replace(self.on_demand, logical_id=self.on_demand.entry_uuid))


@pytest.fixture
async def world(registry):
    world = World()
    await world.register(registry)
    return world


async def touching(registry, entry_uuid, statuses=STATUSES):
    found = await registry.query(
        queries.GET_ASSOCIATIONS,
        {"$uuid": [entry_uuid], "$MetadataLevel": 2, "$XDSAssociationStatus": statuses},
    )
    return found.associations


async def joined(registry, entry_uuid):
    """Type and both ends of what is Approved and touches an object, without its set."""
    found = await touching(registry, entry_uuid, [APPROVED])
    sets = ids((await everything(registry)).submission_sets)
    return {
        (item.association_type, item.source_object, item.target_object)
        for item in found
        if item.source_object not in sets
    }


async def folder_time(registry, folder):
    found = await registry.query(queries.GET_FOLDERS, {"$XDSFolderEntryUUID": [folder.entry_uuid]})
    return found.folders[0].last_update_time


# --- new versions ---------------------------------------------------------------------------------------


async def test_an_update_makes_the_next_version_and_deprecates_the_one_before(registry, world):
    sent = new_version(world.lone, title="new title", entry_uuid="doc2")
    assert is_success(await update(registry, a_version(sent)))

    old, new = await versions_of(registry, world.lone)
    assert (old.entry_uuid, old.version, old.title) == (world.lone.entry_uuid, 1, "CT chest")
    assert old.availability_status is AvailabilityStatus.DEPRECATED
    assert new == replace(sent, entry_uuid=new.entry_uuid, logical_id=world.lone.entry_uuid, version=2)
    (membership,) = await touching(registry, new.entry_uuid)
    assert membership.extra_slots == slots(PreviousVersion="1")


CHANGES = {
    "creation_time": Timestamp("2025"),
    "hash": "0" * 40,
    "size": 99,
    "mime_type": "text/plain",
    "class_code": Code("X", "1.2.3", "x"),
    "confidentiality_codes": (R_CODE,),
    "source_patient_id": "L-78^^^&1.3.6.1.4.1.21367.9.60&ISO",
    "repository_unique_id": "1.2.3.4",
    "document_availability": schemes.OFFLINE,
    "extra_slots": (Slot("urn:x", ("y",)),),
    "language_code": "de",
    "authors": (),
}


@pytest.mark.parametrize("attribute", CHANGES)
async def test_every_attribute_but_the_identity_may_change(registry, attribute):
    document = a_document_entry()
    await registry.register(a_submission(document))
    sent = new_version(document, **{attribute: CHANGES[attribute]})
    assert is_success(await update(registry, a_version(sent)))
    assert getattr((await versions_of(registry, document))[1], attribute) == CHANGES[attribute]


async def test_a_document_is_registered_again_by_the_content_of_its_latest_version(registry, world):
    await update(registry, a_version(new_version(world.lone, hash="1" * 40, size=7)))
    unique_id = world.lone.unique_id

    assert await registry.refused(a_submission(a_document_entry(unique_id=unique_id))) == [
        "XDSNonIdenticalHash"
    ]
    again = a_document_entry(unique_id=unique_id, hash="1" * 40, size=7)
    assert is_success(await registry.register(a_submission(again)))


async def test_versions_are_counted_on(registry, world):
    for number in range(1, 5):
        sent = new_version(world.lone, title=f"version {number + 1}")
        await update(registry, a_version(sent, previous=str(number)))

    found = await versions_of(registry, world.lone)
    assert [item.version for item in found] == [1, 2, 3, 4, 5]
    assert [str(item.availability_status) for item in found] == [DEPRECATED] * 4 + [APPROVED]


async def test_a_folder_is_updated_with_its_time_and_its_members(registry, world):
    before = await folder_time(registry, world.folder)
    message = an_update(a_version(new_version(world.folder, title="renamed")))
    await update(registry.at_later(60), message)

    old, new = await versions_of(registry, world.folder)
    assert (new.title, new.version, str(new.availability_status)) == ("renamed", 2, APPROVED)
    assert str(old.availability_status) == DEPRECATED
    assert new.last_update_time > before
    members = {(T.HAS_MEMBER, new.entry_uuid, each.entry_uuid) for each in (world.document, world.second)}
    assert await joined(registry, new.entry_uuid) == members
    assert len(await touching(registry, message.submission_set.entry_uuid)) == 1
    shown = await registry.query(
        queries.GET_FOLDER_AND_CONTENTS, {"$XDSFolderUniqueId": world.folder.unique_id}
    )
    assert ids(shown.folders) == {new.entry_uuid}
    assert ids(shown.document_entries) == {world.document.entry_uuid, world.second.entry_uuid}


# --- what comes along -----------------------------------------------------------------------------------


async def test_a_new_version_takes_folders_and_relationships_along(registry, world):
    before = await folder_time(registry, world.folder)
    message = an_update(a_version(new_version(world.document), propagation="yes"))
    await update(registry.at_later(60), message)

    _, new = await versions_of(registry, world.document)
    assert await joined(registry, new.entry_uuid) == {
        (T.HAS_MEMBER, world.folder.entry_uuid, new.entry_uuid),
        (T.APND, world.addendum.entry_uuid, new.entry_uuid),
    }
    # The old ones stay, and the set collects none of the new.
    assert len(await joined(registry, world.document.entry_uuid)) == 2
    assert len(await touching(registry, message.submission_set.entry_uuid)) == 1
    assert await folder_time(registry, world.folder) > before


async def test_without_propagation_nothing_comes_along(registry, world):
    await update(registry, a_version(new_version(world.document), propagation="no"))

    _, new = await versions_of(registry, world.document)
    assert await joined(registry, new.entry_uuid) == set()


async def test_two_that_are_joined_and_updated_together_are_joined_again_once(registry, world):
    await update(
        registry,
        an_update(*(a_version(new_version(each)) for each in (world.document, world.folder, world.addendum))),
    )

    _, document = await versions_of(registry, world.document)
    _, folder = await versions_of(registry, world.folder)
    _, addendum = await versions_of(registry, world.addendum)
    assert await joined(registry, document.entry_uuid) == {
        (T.HAS_MEMBER, folder.entry_uuid, document.entry_uuid),
        (T.APND, addendum.entry_uuid, document.entry_uuid),
    }
    assert await joined(registry, folder.entry_uuid) == {
        (T.HAS_MEMBER, folder.entry_uuid, document.entry_uuid),
        (T.HAS_MEMBER, folder.entry_uuid, world.second.entry_uuid),
    }


async def test_links_to_old_versions_stay_with_old_versions(registry, world):
    await update(registry, a_version(new_version(world.addendum), propagation="no"))
    await update(registry, a_version(new_version(world.document)))

    _, new = await versions_of(registry, world.document)
    assert await joined(registry, new.entry_uuid) == {(T.HAS_MEMBER, world.folder.entry_uuid, new.entry_uuid)}


async def test_an_association_that_the_message_ends_does_not_come_along(registry, world):
    await update(
        registry,
        an_update(
            a_version(new_version(world.document)), a_status(world.appends.entry_uuid, APPROVED, DEPRECATED)
        ),
    )

    _, new = await versions_of(registry, world.document)
    assert T.APND not in {kind for kind, *_ in await joined(registry, new.entry_uuid)}


async def test_the_replacement_of_a_deprecated_document_keeps_that_it_is_one(registry, world):
    await update(registry, a_version(new_version(world.replacement)))

    _, new = await versions_of(registry, world.replacement)
    assert await joined(registry, new.entry_uuid) == {(T.RPLC, new.entry_uuid, world.old.entry_uuid)}


async def test_a_lone_document_may_be_given_to_another_patient(registry, world):
    sent = new_version(world.lone, patient_id=OTHER_PATIENT)
    assert is_success(await update(registry, a_version(sent)))

    shown = await everything(registry, level=1)
    assert world.lone.unique_id not in {item.unique_id for item in shown.document_entries}
    (new,) = [
        item
        for item in (await everything(registry, 1, OTHER_PATIENT)).document_entries
        if item.unique_id == world.lone.unique_id
    ]
    assert new.version == 2
    lineage = {"$XDSDocumentEntryLogicalID": [world.lone.entry_uuid], "$MetadataLevel": 2}
    with pytest.raises(ResultNotSinglePatient):
        await registry.query(queries.GET_DOCUMENTS, lineage)


async def test_a_document_and_its_folder_may_change_the_patient_together(registry):
    document, folder = a_document_entry(), a_folder()
    first = a_submission(document, folders=[folder])
    membership = an_association(folder.entry_uuid, document.entry_uuid)
    collected = an_association(first.submission_set.entry_uuid, membership.entry_uuid)
    await registry.register(replace(first, associations=(*first.associations, membership, collected)))
    moved = [new_version(each, patient_id=OTHER_PATIENT) for each in (document, folder)]

    assert await refused(registry, a_version(moved[0])) == [RECONCILIATION]
    assert is_success(await update(registry, an_update(*map(a_version, moved))))
    shown = await registry.query(queries.GET_FOLDER_AND_CONTENTS, {"$XDSFolderUniqueId": folder.unique_id})
    assert len(shown.document_entries) == len(shown.associations) == 1
    assert {item.patient_id for item in (*shown.document_entries, *shown.folders)} == {OTHER_PATIENT}


# --- changes of status ----------------------------------------------------------------------------------


async def test_the_status_of_a_document_changes_without_a_new_version(registry, world):
    await update(registry, a_status(world.lone.entry_uuid, APPROVED, DEPRECATED))
    (found,) = await versions_of(registry, world.lone)
    assert str(found.availability_status) == DEPRECATED
    # Level 1 shows it: it is the latest of its versions.
    assert world.lone.entry_uuid in ids((await everything(registry, level=1)).document_entries)

    await update(registry, a_status(world.lone.entry_uuid, DEPRECATED, APPROVED))
    assert str((await versions_of(registry, world.lone))[0].availability_status) == APPROVED


async def test_a_deprecated_folder_is_shown_at_level_2_alone(registry, world):
    await update(registry, a_status(world.folder.entry_uuid, APPROVED, DEPRECATED))
    assert world.folder.entry_uuid not in ids((await everything(registry, level=1)).folders)
    assert world.folder.entry_uuid in ids((await everything(registry)).folders)

    await update(registry, a_status(world.folder.entry_uuid, DEPRECATED, APPROVED))
    assert world.folder.entry_uuid in ids((await everything(registry, level=1)).folders)


async def test_a_membership_that_is_ended_and_made_again_touches_its_folder(registry, world):
    membership = world.memberships[0].entry_uuid
    before = await folder_time(registry, world.folder)
    await update(registry.at_later(60), a_status(membership, APPROVED, DEPRECATED))
    contents = {"$XDSFolderEntryUUID": world.folder.entry_uuid}
    shown = await registry.query(queries.GET_FOLDER_AND_CONTENTS, contents)
    assert ids(shown.document_entries) == {world.second.entry_uuid}
    assert await folder_time(registry, world.folder) == before

    await update(registry.at_later(120), a_status(membership, DEPRECATED, APPROVED))
    shown = await registry.query(queries.GET_FOLDER_AND_CONTENTS, contents)
    assert ids(shown.document_entries) == {world.document.entry_uuid, world.second.entry_uuid}
    assert await folder_time(registry, world.folder) > before


@pytest.mark.parametrize("target", ["old", "new"])
async def test_a_new_version_gets_the_status_that_the_same_message_sets(registry, world, target):
    sent = new_version(world.lone, entry_uuid="doc2")
    which = {"old": world.lone.entry_uuid, "new": "doc2"}[target]
    assert is_success(
        await update(registry, an_update(a_version(sent), a_status(which, APPROVED, DEPRECATED)))
    )

    old, new = await versions_of(registry, world.lone)
    assert (str(old.availability_status), str(new.availability_status)) == (DEPRECATED, DEPRECATED)
    assert ids((await everything(registry, 1)).document_entries) & {old.entry_uuid, new.entry_uuid} == {
        new.entry_uuid
    }


# --- new associations -----------------------------------------------------------------------------------


async def test_registered_objects_are_joined_later(registry, world):
    before = await folder_time(registry, world.empty)
    membership = an_association(world.empty.entry_uuid, world.lone.entry_uuid)
    transformed = an_association(world.lone.entry_uuid, world.document.entry_uuid, T.XFRM)
    message = an_update(submitted(membership), submitted(transformed))
    assert is_success(await update(registry.at_later(60), message))

    assert await joined(registry, world.lone.entry_uuid) == {
        (T.HAS_MEMBER, world.empty.entry_uuid, world.lone.entry_uuid),
        (T.XFRM, world.lone.entry_uuid, world.document.entry_uuid),
    }
    assert await folder_time(registry, world.empty) > before
    # The triggers are carried out and not kept.
    assert await touching(registry, message.submission_set.entry_uuid) == ()


async def test_an_association_may_be_submitted_and_ended_at_once(registry, world):
    item = an_association(world.lone.entry_uuid, world.document.entry_uuid, T.APND, entry_uuid="as1")
    await update(registry, an_update(submitted(item), a_status("as1", APPROVED, DEPRECATED)))

    (found,) = [
        each for each in await touching(registry, world.lone.entry_uuid) if each.association_type == T.APND
    ]
    assert str(found.availability_status) == DEPRECATED
    related = {"$XDSDocumentEntryEntryUUID": world.lone.entry_uuid, "$AssociationTypes": [str(T.APND)]}
    assert not await registry.query(queries.GET_RELATED_DOCUMENTS, related)


async def test_a_new_version_that_takes_nothing_along_may_be_joined_by_hand(registry, world):
    sent = new_version(world.lone, entry_uuid="doc2")
    item = an_association("doc2", world.document.entry_uuid, T.APND, entry_uuid="as1")

    assert await refused(registry, an_update(a_version(sent), submitted(item))) == [OPERATION_ERROR]
    assert is_success(await update(registry, an_update(a_version(sent, propagation="no"), submitted(item))))
    _, new = await versions_of(registry, world.lone)
    assert await joined(registry, new.entry_uuid) == {(T.APND, new.entry_uuid, world.document.entry_uuid)}


async def test_an_association_that_was_ended_may_be_submitted_or_approved_again_and_not_both(registry, world):
    await update(registry, a_status(world.appends.entry_uuid, APPROVED, DEPRECATED))
    again = submitted(an_association(world.addendum.entry_uuid, world.document.entry_uuid, T.APND))
    approved = a_status(world.appends.entry_uuid, DEPRECATED, APPROVED)
    assert await refused(registry, an_update(again, approved)) == [UPDATE_ERROR]
    assert is_success(await update(registry, again))
    assert await refused(registry, approved) == [UPDATE_ERROR]


# --- what else the registry does, after an update ---------------------------------------------------------


async def test_what_was_updated_is_replaced_by_its_latest_version_alone(registry, world):
    def replacing(target):
        new = a_document_entry()
        return a_submission(new, associations=[an_association(new.entry_uuid, target.entry_uuid, T.RPLC)])

    assert await registry.refused(replacing(world.updated)) == ["XDSRegistryDeprecatedDocumentError"]
    assert is_success(await registry.register(replacing(world.second_version)))
    assert [str(item.availability_status) for item in await versions_of(registry, world.updated)] == [
        DEPRECATED,
        DEPRECATED,
    ]
    shown = ids((await everything(registry, level=1)).document_entries)
    assert world.second_version.entry_uuid in shown
    assert world.updated.entry_uuid not in shown


# --- rules ----------------------------------------------------------------------------------------------


def lone(w, **changes):
    return new_version(w.lone, **changes)


def raw(w, *associations, **changes):
    """A message of a set and associations that no builder makes."""
    message = an_update(**changes)
    return replace(
        message,
        associations=tuple(
            replace(item, source_object=item.source_object or message.submission_set.entry_uuid)
            for item in associations
        ),
    )


def document_to_document(w, kind=T.APND, **changes):
    return an_association(w.lone.entry_uuid, w.second.entry_uuid, kind, **changes)


def at_its_own_set(operation):
    """The message of a trigger whose target is the set itself."""
    message = an_update(operation)
    set_id = message.submission_set.entry_uuid
    return replace(
        message, associations=tuple(replace(item, target_object=set_id) for item in message.associations)
    )


BROKEN = {
    # what the message says of itself
    "E04 no hash": (METADATA, lambda w: a_version(lone(w, hash=""))),
    "E04 no size": (METADATA, lambda w: a_version(lone(w, size=None))),
    "E04 no creationTime": (METADATA, lambda w: a_version(lone(w, creation_time=None))),
    "E04 no repositoryUniqueId": (METADATA, lambda w: a_version(lone(w, repository_unique_id=""))),
    "E04 hash of an On-Demand entry": (
        METADATA,
        lambda w: a_version(new_version(w.on_demand, hash="0" * 40)),
    ),
    "E09 service times": (
        METADATA,
        lambda w: a_version(
            lone(w, service_start_time=Timestamp("2025"), service_stop_time=Timestamp("2024"))
        ),
    ),
    "E31 unknown type": (METADATA, lambda w: raw(w, an_association("", w.lone.entry_uuid, "urn:x"))),
    "E50 no lid": (UPDATE_ERROR, lambda w: a_version(lone(w, logical_id=""))),
    "E50 lid is id": (
        UPDATE_ERROR,
        lambda w: a_version(lone(w, logical_id=w.lone.entry_uuid, entry_uuid=w.lone.entry_uuid)),
    ),
    "E50 folder": (UPDATE_ERROR, lambda w: a_version(new_version(w.empty, logical_id=""))),
    "E51 document": (UPDATE_ERROR, lambda w: replace(an_update(a_version(lone(w))), associations=())),
    "E51 folder": (
        UPDATE_ERROR,
        lambda w: replace(an_update(a_version(new_version(w.empty))), associations=()),
    ),
    "E52 no PreviousVersion": (OPERATION_ERROR, lambda w: a_version(lone(w), previous=None)),
    "E52 no number": (OPERATION_ERROR, lambda w: a_version(lone(w), previous="one")),
    "E52 not a whole number": (OPERATION_ERROR, lambda w: a_version(lone(w), previous="1.1")),
    "E52 two numbers": (OPERATION_ERROR, lambda w: a_version(lone(w), previous=["1", "2"])),
    "E52 folder": (OPERATION_ERROR, lambda w: a_version(new_version(w.empty), previous=None)),
    "E52 no SubmissionSetStatus": (
        OPERATION_ERROR,
        lambda w: a_version(lone(w), submission_set_status=""),
    ),
    "E52 Reference": (
        OPERATION_ERROR,
        lambda w: a_version(lone(w), submission_set_status=schemes.REFERENCE),
    ),
    "E52 AssociationPropagation": (OPERATION_ERROR, lambda w: a_version(lone(w), propagation="maybe")),
    "E52 foreign slot": (
        OPERATION_ERROR,
        lambda w: a_version(lone(w), extra_slots=slots(PreviousVersion="1", NewStatus=APPROVED)),
    ),
    "E52 two memberships": (
        OPERATION_ERROR,
        lambda w: (lambda one: an_update(a_version(one), replace(a_version(one), objects=())))(lone(w)),
    ),
    "E60 documents": (OPERATION_ERROR, lambda w: an_update(a_version(lone(w)), a_version(lone(w)))),
    "E60 folders": (
        OPERATION_ERROR,
        lambda w: an_update(a_version(new_version(w.empty)), a_version(new_version(w.empty))),
    ),
    "E61 no OriginalStatus": (UPDATE_ERROR, lambda w: a_status(w.lone.entry_uuid, None, DEPRECATED)),
    "E61 no NewStatus": (UPDATE_ERROR, lambda w: a_status(w.lone.entry_uuid, APPROVED, None)),
    "E61 unknown status": (UPDATE_ERROR, lambda w: a_status(w.lone.entry_uuid, APPROVED, "urn:x")),
    "E61 the set of the message": (
        UPDATE_ERROR,
        lambda w: at_its_own_set(a_status("", APPROVED, DEPRECATED)),
    ),
    "E61 a membership of the message": (
        UPDATE_ERROR,
        lambda w: (lambda one: an_update(one, a_status(one.from_set[0].entry_uuid, APPROVED, DEPRECATED)))(
            a_version(lone(w))
        ),
    ),
    "E61 symbolic": (UPDATE_ERROR, lambda w: a_status("doc9", APPROVED, DEPRECATED)),
    "E61 not from the set": (
        UPDATE_ERROR,
        lambda w: raw(
            w,
            replace(
                a_status(w.lone.entry_uuid, APPROVED, DEPRECATED).from_set[0],
                source_object=w.document.entry_uuid,
            ),
        ),
    ),
    "E61 foreign slot": (
        OPERATION_ERROR,
        lambda w: a_status(w.lone.entry_uuid, APPROVED, DEPRECATED, PreviousVersion="1"),
    ),
    "E61 twice": (
        OPERATION_ERROR,
        lambda w: an_update(
            a_status(w.lone.entry_uuid, APPROVED, DEPRECATED), a_status(w.lone.entry_uuid, APPROVED, APPROVED)
        ),
    ),
    "E62 symbolic end": (
        UPDATE_ERROR,
        lambda w: submitted(an_association("doc9", w.lone.entry_uuid, T.APND)),
    ),
    "E62 the set of the message": (
        UPDATE_ERROR,
        lambda w: (
            lambda message: replace(
                message,
                associations=tuple(
                    replace(item, source_object=message.submission_set.entry_uuid)
                    for item in message.associations
                ),
            )
        )(an_update(submitted(document_to_document(w)))),
    ),
    "E62 leads to no association": (
        UPDATE_ERROR,
        lambda w: raw(w, an_association("", w.lone.entry_uuid, T.SUBMIT_ASSOCIATION)),
    ),
    "E62 leads to a trigger": (
        UPDATE_ERROR,
        lambda w: (lambda one: an_update(one, replace(submitted(one.from_set[0]), objects=())))(
            a_status(w.lone.entry_uuid, APPROVED, DEPRECATED)
        ),
    ),
    "E62 not from the set": (
        UPDATE_ERROR,
        lambda w: submitted(document_to_document(w), source_object=w.document.entry_uuid),
    ),
    "E62 slot of another operation": (
        OPERATION_ERROR,
        lambda w: submitted(document_to_document(w, extra_slots=slots(PreviousVersion="1"))),
    ),
    "E62 slot of another operation on the trigger": (
        OPERATION_ERROR,
        lambda w: submitted(document_to_document(w), extra_slots=slots(NewStatus=APPROVED)),
    ),
    "E62 submitted twice": (
        OPERATION_ERROR,
        lambda w: (lambda one: an_update(submitted(one), replace(submitted(one), objects=())))(
            document_to_document(w)
        ),
    ),
    "no operation": (OPERATION_ERROR, lambda w: an_update()),
    "a relationship that nothing submits": (OPERATION_ERROR, lambda w: raw(w, document_to_document(w))),
    "a registered document by reference": (
        OPERATION_ERROR,
        lambda w: raw(w, an_association("", w.lone.entry_uuid, submission_set_status=schemes.REFERENCE)),
    ),
    "documentation of a membership": (
        METADATA,
        lambda w: submitted(an_association(w.empty.entry_uuid, w.lone.entry_uuid, documentation=(R_CODE,))),
    ),
    "E63 another patient than the set": (
        RECONCILIATION,
        lambda w: an_update(a_version(lone(w)), patient_id=OTHER_PATIENT),
    ),
    # what the registry knows
    "E14 set": (
        "XDSDuplicateUniqueIdInRegistry",
        lambda w: an_update(a_version(lone(w)), unique_id=w.set.unique_id),
    ),
    "E14 set as folder": (
        "XDSDuplicateUniqueIdInRegistry",
        lambda w: an_update(a_version(lone(w)), unique_id=w.folder.unique_id),
    ),
    "E19 unknown": (
        "XDSUnknownPatientId",
        lambda w: a_version(lone(w, patient_id=f"NOBODY^^^&{DOMAIN}&ISO")),
    ),
    "E19 foreign authority": (
        "XDSUnknownPatientId",
        lambda w: a_version(lone(w, patient_id=PATIENT.replace(DOMAIN, "1.2.3"))),
    ),
    "E30 version": (METADATA, lambda w: a_version(lone(w, entry_uuid=w.second.entry_uuid))),
    "E30 set": (METADATA, lambda w: an_update(a_version(lone(w)), entry_uuid=w.set.entry_uuid)),
    "E53 no version": (VERSION_ERROR, lambda w: a_version(lone(w, logical_id=NOWHERE))),
    "E53 a folder's lid": (VERSION_ERROR, lambda w: a_version(lone(w, logical_id=w.empty.entry_uuid))),
    "E53 id of a later version": (
        VERSION_ERROR,
        lambda w: a_version(lone(w, logical_id=w.second_version.entry_uuid)),
    ),
    "E53 old version": (VERSION_ERROR, lambda w: a_version(new_version(w.updated), previous="1")),
    "E53 version to come": (VERSION_ERROR, lambda w: a_version(lone(w), previous="2")),
    "E53 no version at all": (VERSION_ERROR, lambda w: a_version(lone(w), previous="0")),
    "E53 folder": (VERSION_ERROR, lambda w: a_version(new_version(w.empty), previous="7")),
    "E54": (UPDATE_ERROR, lambda w: a_version(new_version(w.empty, logical_id=NOWHERE))),
    "E55": (UPDATE_ERROR, lambda w: a_version(new_version(w.old))),
    "E56 document": (UPDATE_ERROR, lambda w: a_version(lone(w, unique_id="1.2.3"))),
    "E56 folder": (UPDATE_ERROR, lambda w: a_version(new_version(w.empty, unique_id="1.2.3"))),
    "E57": (
        UPDATE_ERROR,
        lambda w: a_version(lone(w, object_type=schemes.ON_DEMAND, creation_time=None, hash="", size=None)),
    ),
    "E61 unknown target": ("UnresolvedReferenceException", lambda w: a_status(NOWHERE, APPROVED, DEPRECATED)),
    "E61 submission set": (UPDATE_ERROR, lambda w: a_status(w.set.entry_uuid, APPROVED, DEPRECATED)),
    "E61 membership of a set": (
        UPDATE_ERROR,
        lambda w: a_status(w.first.associations[0].entry_uuid, APPROVED, DEPRECATED),
    ),
    "E61 old version": (UPDATE_ERROR, lambda w: a_status(w.updated.entry_uuid, DEPRECATED, APPROVED)),
    "E61 other status": (UPDATE_ERROR, lambda w: a_status(w.lone.entry_uuid, DEPRECATED, APPROVED)),
    "E61 other status of an association": (
        UPDATE_ERROR,
        lambda w: a_status(w.appends.entry_uuid, DEPRECATED, APPROVED),
    ),
    "E61 other status of a new version": (
        UPDATE_ERROR,
        lambda w: an_update(a_version(lone(w, entry_uuid="doc2")), a_status("doc2", DEPRECATED, APPROVED)),
    ),
    "E61 old and new version": (
        OPERATION_ERROR,
        lambda w: an_update(
            a_version(lone(w, entry_uuid="doc2")),
            a_status("doc2", APPROVED, DEPRECATED),
            a_status(w.lone.entry_uuid, APPROVED, DEPRECATED),
        ),
    ),
    "E62 not registered": (
        UPDATE_ERROR,
        lambda w: submitted(an_association(w.lone.entry_uuid, NOWHERE, T.APND)),
    ),
    "E62 deprecated": (
        UPDATE_ERROR,
        lambda w: submitted(an_association(w.lone.entry_uuid, w.old.entry_uuid, T.APND)),
    ),
    "E62 old version": (
        UPDATE_ERROR,
        lambda w: submitted(an_association(w.lone.entry_uuid, w.updated.entry_uuid, T.APND)),
    ),
    "E62 old set": (
        UPDATE_ERROR,
        lambda w: submitted(an_association(w.set.entry_uuid, w.lone.entry_uuid)),
    ),
    "E62 membership of a document": (
        UPDATE_ERROR,
        lambda w: submitted(an_association(w.lone.entry_uuid, w.second.entry_uuid)),
    ),
    "E62 folder in a folder": (
        UPDATE_ERROR,
        lambda w: submitted(an_association(w.folder.entry_uuid, w.empty.entry_uuid)),
    ),
    "E62 relationship of a folder": (
        UPDATE_ERROR,
        lambda w: submitted(an_association(w.lone.entry_uuid, w.empty.entry_uuid, T.APND)),
    ),
    "E62 there already": (
        UPDATE_ERROR,
        lambda w: submitted(an_association(w.addendum.entry_uuid, w.document.entry_uuid, T.APND)),
    ),
    "E62 twice at once": (
        UPDATE_ERROR,
        lambda w: an_update(submitted(document_to_document(w)), submitted(document_to_document(w))),
    ),
    "E62 snapshot of a Stable entry": (
        UPDATE_ERROR,
        lambda w: submitted(document_to_document(w, T.IS_SNAPSHOT_OF)),
    ),
    "E63 propagation": (
        RECONCILIATION,
        lambda w: a_version(new_version(w.addendum, patient_id=OTHER_PATIENT)),
    ),
    "E63 folder": (RECONCILIATION, lambda w: a_version(new_version(w.folder, patient_id=OTHER_PATIENT))),
    "E63 relationship": (
        RECONCILIATION,
        lambda w: submitted(an_association(w.lone.entry_uuid, w.foreign.entry_uuid, T.APND)),
    ),
    "E63 membership": (
        RECONCILIATION,
        lambda w: submitted(an_association(w.foreign_folder.entry_uuid, w.lone.entry_uuid)),
    ),
    "E63 status of another patient's document": (
        RECONCILIATION,
        lambda w: a_status(w.foreign.entry_uuid, APPROVED, DEPRECATED),
    ),
    "E63 status of another patient's association": (
        RECONCILIATION,
        lambda w: an_update(a_status(w.appends.entry_uuid, APPROVED, DEPRECATED), patient_id=OTHER_PATIENT),
    ),
}
FIRST_KNOWN = "E14 set"


def snapshot(found):
    things = (*found.document_entries, *found.submission_sets, *found.folders, *found.associations)
    return {(thing.entry_uuid, thing.availability_status) for thing in things}


@pytest.mark.parametrize("place", ["message", "registry"])
async def test_every_broken_rule_has_its_code_names_the_object_and_leaves_nothing(registry, world, place):
    """One registry for all rules of a place: what is refused leaves nothing to disturb the next."""
    before = snapshot(await everything(registry)) | snapshot(await everything(registry, 2, OTHER_PATIENT))
    names = list(BROKEN)
    half = names.index(FIRST_KNOWN)
    wrong = {}
    for name in names[:half] if place == "message" else names[half:]:
        code, break_rule = BROKEN[name]
        message = break_rule(world)
        found = await refusal(registry, message)
        if told := told_of_others(message, found):
            wrong[f"{name}: told"] = told
        if set(codes(found)) != {code}:
            wrong[name] = (code, [(str(error), error.context) for error in found.errors])
        named = [error.location.split("/")[0] for error in found.errors]
        if not all(
            identifier in error.context or code == "XDSUnknownPatientId"
            for identifier, error in zip(named, found.errors, strict=True)
        ):
            wrong[f"{name}: id"] = [error.context for error in found.errors]
    assert wrong == {}
    after = snapshot(await everything(registry)) | snapshot(await everything(registry, 2, OTHER_PATIENT))
    assert after == before


def test_the_table_has_every_rule_of_updates():
    tried = {name.split()[0] for name in (*BROKEN, *ON_THE_WIRE)}
    own = {f"E{number}" for number in range(50, 64)} - {"E58", "E59"}
    shared = {f"E{number:02}" for number in (2, 4, 5, 9, 10, 11, 14, 19, 29, 30, 31)}
    assert tried >= own | shared


def decoded(*objects):
    """A message as it is read from the wire, where it can be wrong in more ways."""
    inner = "".join(objects)
    return decode_submission(
        etree.fromstring(
            f'<rim:RegistryObjectList xmlns:rim="urn:oasis:names:tc:ebxml-regrep:xsd:rim:3.0">{inner}'
            "</rim:RegistryObjectList>"
        )
    )


async def wire_refused(registry, message):
    with pytest.raises(Rejected) as refused_:
        await update(registry, message)
    return codes(refused_.value)


def on_the_wire(world, old="", new=""):
    octets = ITI57.encode_request(UpdateRequest.of(an_update(a_version(lone(world))))).xml.decode()
    assert old in octets
    return ITI57.decode_request(etree.fromstring(octets.replace(old, new) if old else octets), {}).decoded


def a_set_on_the_wire():
    return encode_submission_set(an_update().submission_set).decode()


ON_THE_WIRE = {
    "E02 no set": (UPDATE_ERROR, lambda w: decoded()),
    "E02 two sets": (
        METADATA,
        lambda w: on_the_wire(
            w, "</rim:RegistryObjectList>", f"{a_set_on_the_wire()}</rim:RegistryObjectList>"
        ),
    ),
    "E04 language": (METADATA, lambda w: on_the_wire(w, "en-US", "e n")),
    "E04 symbolic lid": (METADATA, lambda w: on_the_wire(w, f'lid="{w.lone.entry_uuid}"', 'lid="doc1"')),
    "E05 class code without value": (
        METADATA,
        lambda w: on_the_wire(w, 'nodeRepresentation="IMAGES"', 'nodeRepresentation=""'),
    ),
    "E10 limited metadata": (
        METADATA,
        lambda w: on_the_wire(
            w,
            "</rim:ExtrinsicObject>",
            f'<rim:Classification id="c9" classifiedObject="{NOWHERE}"'
            f' classificationNode="{schemes.LIMITED_DOCUMENT_ENTRY}"/></rim:ExtrinsicObject>',
        ),
    ),
    "E11 empty author": (
        METADATA,
        lambda w: on_the_wire(
            w,
            '<rim:Slot name="authorPerson"><rim:ValueList><rim:Value>^Roe^Ann</rim:Value></rim:ValueList>'
            '</rim:Slot><rim:Slot name="authorInstitution"><rim:ValueList><rim:Value>General Hospital'
            "^^^^^^^^^1.3.6.1.4.1.21367.9.70</rim:Value></rim:ValueList></rim:Slot>",
            "",
        ),
    ),
    "E29 slot name": (METADATA, lambda w: on_the_wire(w, 'name="languageCode"', 'name="language"')),
}


async def test_what_is_wrong_on_the_wire_has_its_code(registry, world):
    wrong = {}
    for name, (code, make) in ON_THE_WIRE.items():
        found = await wire_refused(registry, make(world))
        if set(found) != {code}:
            wrong[name] = found
    assert wrong == {}
    assert is_success(await update(registry, on_the_wire(world)))


@pytest.mark.parametrize("restricted", [False, True])
async def test_codes_outside_of_the_value_sets_are_refused(registry, world, restricted):
    sets = value_sets_of({"confidentialityCode": ["N^^2.16.840.1.113883.5.25"]})
    strict = Registry(replace(registry.parts, value_sets=sets))
    secret = a_version(lone(world, confidentiality_codes=(R_CODE,)))
    assert await refused(strict, secret, restricted=restricted) == [METADATA]
    assert is_success(await update(strict, a_version(lone(world)), restricted=restricted))


async def test_all_errors_of_a_stage_are_told_together(registry, world):
    found = await refused(
        registry,
        an_update(
            a_version(lone(world), previous="3"),
            a_version(new_version(world.empty, unique_id="1.2.3")),
            a_status(NOWHERE, APPROVED, DEPRECATED),
        ),
    )
    assert sorted(found) == ["UnresolvedReferenceException", UPDATE_ERROR, VERSION_ERROR]


# --- all or nothing, and once ---------------------------------------------------------------------------


async def test_all_operations_are_carried_out_or_none(registry, world):
    good = (
        a_version(lone(world)),
        a_status(world.second.entry_uuid, APPROVED, DEPRECATED),
        submitted(an_association(world.empty.entry_uuid, world.document.entry_uuid)),
    )
    before = snapshot(await everything(registry))
    bad = a_version(new_version(world.updated), previous="1")
    assert await refused(registry, an_update(*good, bad)) == [VERSION_ERROR]
    assert snapshot(await everything(registry)) == before

    assert is_success(await update(registry, an_update(*good)))
    assert len(await versions_of(registry, world.lone)) == 2
    assert str((await versions_of(registry, world.second))[0].availability_status) == DEPRECATED


async def test_the_event_of_an_update_is_committed_with_it(registry, world):
    before = len(await registry.outbox())
    message = an_update(a_version(lone(world)))
    await update(registry, message)

    event = (await registry.outbox())[-1]
    assert len(await registry.outbox()) == before + 1
    assert b'csd-code="ITI-57"' in event
    assert b'EventActionCode="U"' in event
    assert b'csd-code="110107"' in event
    assert message.submission_set.unique_id.encode() in event
    assert b"P-1001^^^&amp;" in event


async def test_a_refused_update_is_recorded_in_the_spool_alone(registry, world):
    before = len(await registry.outbox())
    await refused(registry, an_update())

    assert len(await registry.outbox()) == before
    ((_, event),) = await registry.parts.recorder.spool.reader("test").next(10)
    assert b'EventOutcomeIndicator="8"' in event


async def test_a_retry_is_answered_as_before(registry, world):
    message = an_update(a_version(lone(world, entry_uuid="doc2")))
    first = await update(registry, message, message_id="urn:uuid:1")
    assert await update(registry, message, message_id="urn:uuid:1") == first
    assert len(await versions_of(registry, world.lone)) == 2
    with pytest.raises(Rejected):
        await update(registry, message, message_id="urn:uuid:2")
    with pytest.raises(Rejected):
        await update(registry, message, message_id="urn:uuid:1", restricted=True)


async def test_those_who_may_not_administer_may_not_update(registry, world):
    with pytest.raises(Rejected) as refusal_:
        await update(registry, a_version(lone(world)), caller=CLINICIAN)
    assert codes(refusal_.value) == ["XDSRegistryError"]

    roles = ("ADMIN^^2.999.40.1",)
    parts = replace(
        registry.parts, settings=registry.parts.settings.model_copy(update={"administrator_roles": roles})
    )
    assert is_success(
        await update(replace(registry, parts=parts), a_version(lone(world)), caller=a_clinician("ADMIN"))
    )


# --- races ----------------------------------------------------------------------------------------------


async def outcomes(*attempts):
    results = await asyncio.gather(*attempts, return_exceptions=True)
    unexpected = [item for item in results if isinstance(item, Exception) and not isinstance(item, Rejected)]
    assert not unexpected
    won = [item for item in results if not isinstance(item, Exception)]
    return won, [codes(item) for item in results if isinstance(item, Rejected)]


@pytest.mark.parametrize("round_", range(3))
async def test_of_racing_updates_of_one_version_exactly_one_wins(registry, round_):
    document = a_document_entry()
    await registry.register(a_submission(document))
    won, lost = await outcomes(
        *(update(registry, a_version(new_version(document, title=str(number)))) for number in range(8))
    )
    assert len(won) == 1
    assert lost == [[VERSION_ERROR]] * 7
    assert len(await versions_of(registry, document)) == 2


@pytest.mark.parametrize("round_", range(3))
async def test_of_a_racing_update_and_replacement_one_wins(registry, round_):
    document = a_document_entry()
    await registry.register(a_submission(document))

    def replacing():
        new = a_document_entry()
        return a_submission(new, associations=[an_association(new.entry_uuid, document.entry_uuid, T.RPLC)])

    won, lost = await outcomes(
        *(
            attempt
            for _ in range(4)
            for attempt in (
                registry.register(replacing()),
                update(registry, a_version(new_version(document))),
            )
        )
    )
    assert len(won) == 1
    assert len(lost) == 7
    found = await versions_of(registry, document)
    approved = [item for item in found if str(item.availability_status) == APPROVED]
    assert len(approved) == len(found) - 1


async def test_an_update_that_races_with_new_members_of_its_folder_takes_all_along_that_came_before(registry):
    folder = a_folder()
    await registry.register(a_submission(folders=[folder]))

    def member():
        document = a_document_entry()
        submission = a_submission(document)
        membership = an_association(folder.entry_uuid, document.entry_uuid)
        own = an_association(submission.submission_set.entry_uuid, membership.entry_uuid)
        return replace(submission, associations=(*submission.associations, membership, own))

    won, lost = await outcomes(
        *(registry.register(member()) for _ in range(4)),
        update(registry, a_version(new_version(folder))),
        *(registry.register(member()) for _ in range(4)),
    )
    assert {code for codes_ in lost for code in codes_} <= {"XDSRegistryDeprecatedDocumentError"}
    _, new = await versions_of(registry, folder)
    assert len(await joined(registry, new.entry_uuid)) == len(won) - 1


@pytest.mark.parametrize("round_", range(4))
async def test_an_update_that_leaves_a_patient_who_is_merged_at_once_keeps_both_changes(registry, round_):
    """The merge rewrites objects of the patient that the submission set does not name."""
    documents = [a_document_entry() for _ in range(6)]
    await registry.register(a_submission(*documents))
    survivor = f"SURVIVOR^^^&{DOMAIN}&ISO"
    await registry.add_patient(survivor)

    async def merge(transaction):
        await patients.lock_patients(transaction, [PATIENT, survivor])
        await merges.merge_patients(transaction, PATIENT, survivor)

    updates = [a_version(new_version(each, patient_id=OTHER_PATIENT)) for each in documents]
    await asyncio.gather(
        *(update(registry, operation) for operation in updates[:3]),
        registry.parts.database.write(merge),
        *(update(registry, operation) for operation in updates[3:]),
    )
    left = {(item.version, str(item.availability_status)) for item in await documents_of(registry, survivor)}
    came = {
        (item.version, str(item.availability_status)) for item in await documents_of(registry, OTHER_PATIENT)
    }
    assert (left, came) == ({(1, DEPRECATED)}, {(2, APPROVED)})
    assert (await everything(registry, 1, survivor)).document_entries == ()


async def documents_of(registry, patient_id):
    return (await everything(registry, 2, patient_id)).document_entries
