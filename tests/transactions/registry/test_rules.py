"""Each rule of a submission, broken in one way: the code, and that nothing was stored (E02 to E32)."""

from dataclasses import replace

import pytest

from registry.domain import stored_queries as queries
from shared.ebrim import schemes
from shared.ebrim.model import AssociationType, Code, Slot, Timestamp
from shared.errors import Rejected
from tests.support.metadata import (
    CT,
    DOMAIN,
    OTHER_PATIENT,
    PATIENT,
    a_document_entry,
    a_folder,
    a_submission,
    an_association,
)
from tests.support.registry import APPROVED, DEPRECATED, codes, told_of_others

T = AssociationType
METADATA = "XDSRegistryMetadataError"
PATIENT_MISMATCH = "XDSPatientIdDoesNotMatch"
UNRESOLVED = "UnresolvedReferenceException"
DEPRECATED_END = "XDSRegistryDeprecatedDocumentError"
NOWHERE = "urn:uuid:00000000-0000-4000-8000-000000000000"


class World:
    """What is registered before each rule is broken."""

    def __init__(self):
        self.document = a_document_entry()
        self.old = a_document_entry()
        self.folder = a_folder()
        self.first = a_submission(self.document, self.old, folders=[self.folder])
        self.set = self.first.submission_set
        self.new = a_document_entry()
        self.second = a_submission(
            self.new, associations=[an_association(self.new.entry_uuid, self.old.entry_uuid, T.RPLC)]
        )
        self.foreign = a_document_entry(patient_id=OTHER_PATIENT)
        self.foreign_folder = a_folder(patient_id=OTHER_PATIENT)
        self.third = a_submission(self.foreign, folders=[self.foreign_folder])

    async def register(self, registry):
        for submission in (self.first, self.second, self.third):
            await registry.register(submission)


def with_associations(*associations, entry=None, **changes):
    return a_submission(entry or a_document_entry(), associations=associations, **changes)


def related(world, kind, target, **changes):
    entry = a_document_entry()
    return with_associations(an_association(entry.entry_uuid, target, kind, **changes), entry=entry)


def in_folder(folder, document, *, entry=None, folders=(), collected=True, **changes):
    """A submission that puts `document` into `folder`."""
    submission = a_submission(entry or a_document_entry(), folders=folders)
    membership = an_association(folder, document, **changes)
    own = an_association(submission.submission_set.entry_uuid, membership.entry_uuid)
    added = (membership, own) if collected else (membership,)
    return replace(submission, associations=(*submission.associations, *added))


def changed_members(**changes):
    submission = a_submission()
    return replace(
        submission, associations=tuple(replace(item, **changes) for item in submission.associations)
    )


def from_the_set(target, **changes):
    submission = a_submission()
    own = an_association(submission.submission_set.entry_uuid, target, **changes)
    return replace(submission, associations=(*submission.associations, own))


def twins(**changes):
    first = a_document_entry()
    return a_submission(first, a_document_entry(unique_id=first.unique_id, **changes))


BROKEN = {
    # what the message says of itself
    "E04 no hash": (METADATA, lambda w: a_submission(a_document_entry(hash=""))),
    "E04 no size": (METADATA, lambda w: a_submission(a_document_entry(size=None))),
    "E04 no repositoryUniqueId": (
        METADATA,
        lambda w: a_submission(a_document_entry(repository_unique_id="")),
    ),
    "E04 no creationTime": (METADATA, lambda w: a_submission(a_document_entry(creation_time=None))),
    "E07 On-Demand": (METADATA, lambda w: a_submission(a_document_entry(object_type=schemes.ON_DEMAND))),
    "E09 service times": (
        METADATA,
        lambda w: a_submission(
            a_document_entry(
                service_start_time=Timestamp("20240306"), service_stop_time=Timestamp("20240305235959")
            )
        ),
    ),
    "E12 two entries": ("XDSRegistryDuplicateUniqueIdInMessage", lambda w: twins()),
    "E12 entry and set": (
        "XDSRegistryDuplicateUniqueIdInMessage",
        lambda w: a_submission(a_document_entry(unique_id="1.2.3"), unique_id="1.2.3"),
    ),
    "E20 entry": (
        PATIENT_MISMATCH,
        lambda w: a_submission(a_document_entry(), a_document_entry(patient_id=OTHER_PATIENT)),
    ),
    "E20 folder": (PATIENT_MISMATCH, lambda w: a_submission(folders=[a_folder(patient_id=OTHER_PATIENT)])),
    "E22 symbolic source": (UNRESOLVED, lambda w: in_folder("folder9", w.document.entry_uuid)),
    "E22 symbolic target": (UNRESOLVED, lambda w: related(w, T.APND, "document9")),
    "E22 relationship of a registered source": (
        UNRESOLVED,
        lambda w: with_associations(an_association(w.document.entry_uuid, w.new.entry_uuid, T.APND)),
    ),
    "E22 RPLC within the message": (
        UNRESOLVED,
        lambda w: (
            lambda one, two: a_submission(
                one, two, associations=[an_association(one.entry_uuid, two.entry_uuid, T.RPLC)]
            )
        )(a_document_entry(), a_document_entry()),
    ),
    "E24 no status": (METADATA, lambda w: changed_members(submission_set_status="")),
    "E24 nonsense": (METADATA, lambda w: changed_members(submission_set_status="original")),
    "E24 Reference to an entry of the message": (
        METADATA,
        lambda w: changed_members(submission_set_status=schemes.REFERENCE),
    ),
    "E24 Original outside the message": (
        METADATA,
        lambda w: from_the_set(w.document.entry_uuid, submission_set_status=schemes.ORIGINAL),
    ),
    "E25 entry without membership": (METADATA, lambda w: replace(a_submission(), associations=())),
    "E25 folder without membership": (METADATA, lambda w: replace(a_submission(), folders=(a_folder(),))),
    "E25 folder membership not collected": (
        METADATA,
        lambda w: in_folder(w.folder.entry_uuid, w.document.entry_uuid, collected=False),
    ),
    "E26 documented membership": (METADATA, lambda w: changed_members(documentation=(CT,))),
    "E31 unknown type": (METADATA, lambda w: related(w, "RPLC", w.document.entry_uuid)),
    "E31 misspelt signs": (
        METADATA,
        lambda w: related(w, "urn:ihe:iti:2007:AssociationType:Signs", w.document.entry_uuid),
    ),
    "E32 UpdateAvailabilityStatus": (
        METADATA,
        lambda w: related(w, T.UPDATE_AVAILABILITY_STATUS, w.document.entry_uuid),
    ),
    "E32 SubmitAssociation": (METADATA, lambda w: related(w, T.SUBMIT_ASSOCIATION, w.document.entry_uuid)),
    "E32 PreviousVersion": (
        METADATA,
        lambda w: changed_members(extra_slots=(Slot(schemes.PREVIOUS_VERSION, ("1",)),)),
    ),
    "E32 lid": (METADATA, lambda w: a_submission(a_document_entry(logical_id=w.document.entry_uuid))),
    "a folder in a folder": (
        METADATA,
        lambda w: (lambda one, two: in_folder(one.entry_uuid, two.entry_uuid, folders=[one, two]))(
            a_folder(), a_folder()
        ),
    ),
    "HasMember from a document": (
        METADATA,
        lambda w: (lambda one: in_folder(one.entry_uuid, w.document.entry_uuid, entry=one))(
            a_document_entry()
        ),
    ),
    "a membership of the set as member of the set": (
        METADATA,
        lambda w: (
            lambda given: replace(
                given,
                associations=(
                    *given.associations,
                    an_association(given.submission_set.entry_uuid, given.associations[0].entry_uuid),
                ),
            )
        )(a_submission()),
    ),
    "one entry replaced twice": (
        DEPRECATED_END,
        lambda w: (
            lambda one, two: a_submission(
                one,
                two,
                associations=[
                    an_association(one.entry_uuid, w.document.entry_uuid, T.RPLC),
                    an_association(two.entry_uuid, w.document.entry_uuid, T.XFRM_RPLC),
                ],
            )
        )(a_document_entry(), a_document_entry()),
    ),
    # what the registry knows
    "E14 set as set": ("XDSDuplicateUniqueIdInRegistry", lambda w: a_submission(unique_id=w.set.unique_id)),
    "E14 set as folder": (
        "XDSDuplicateUniqueIdInRegistry",
        lambda w: a_submission(unique_id=w.folder.unique_id),
    ),
    "E14 set as document": (
        "XDSDuplicateUniqueIdInRegistry",
        lambda w: a_submission(unique_id=w.document.unique_id),
    ),
    "E14 folder as folder": (
        "XDSDuplicateUniqueIdInRegistry",
        lambda w: a_submission(folders=[a_folder(unique_id=w.folder.unique_id)]),
    ),
    "E15 hash": (
        "XDSNonIdenticalHash",
        lambda w: a_submission(a_document_entry(unique_id=w.document.unique_id, hash="0" * 40)),
    ),
    "E16 size": (
        "XDSNonIdenticalSize",
        lambda w: a_submission(a_document_entry(unique_id=w.document.unique_id, size=44)),
    ),
    "E17 document as set": (METADATA, lambda w: a_submission(a_document_entry(unique_id=w.set.unique_id))),
    "E17 document as folder": (
        METADATA,
        lambda w: a_submission(a_document_entry(unique_id=w.folder.unique_id)),
    ),
    "E19 unknown": (
        "XDSUnknownPatientId",
        lambda w: a_submission(a_document_entry(patient_id=f"NOBODY^^^&{DOMAIN}&ISO")),
    ),
    "E19 foreign authority": (
        "XDSUnknownPatientId",
        lambda w: a_submission(a_document_entry(patient_id=PATIENT.replace(DOMAIN, "1.2.3"))),
    ),
    "E21 relationship": (PATIENT_MISMATCH, lambda w: related(w, T.APND, w.foreign.entry_uuid)),
    "E21 replacement": (PATIENT_MISMATCH, lambda w: related(w, T.RPLC, w.foreign.entry_uuid)),
    "E21 folder": (
        PATIENT_MISMATCH,
        lambda w: (lambda one: in_folder(w.foreign_folder.entry_uuid, one.entry_uuid, entry=one))(
            a_document_entry()
        ),
    ),
    "E21 document": (
        PATIENT_MISMATCH,
        lambda w: in_folder(w.folder.entry_uuid, w.foreign.entry_uuid),
    ),
    "E22 relationship": (UNRESOLVED, lambda w: related(w, T.APND, NOWHERE)),
    "E22 RPLC": (UNRESOLVED, lambda w: related(w, T.RPLC, NOWHERE)),
    "E22 folder": (
        UNRESOLVED,
        lambda w: (lambda one: in_folder(NOWHERE, one.entry_uuid, entry=one))(a_document_entry()),
    ),
    "E22 reference": (
        UNRESOLVED,
        lambda w: from_the_set(NOWHERE, submission_set_status=schemes.REFERENCE),
    ),
    "E23 APND": (DEPRECATED_END, lambda w: related(w, T.APND, w.old.entry_uuid)),
    "E23 XFRM": (DEPRECATED_END, lambda w: related(w, T.XFRM, w.old.entry_uuid)),
    "E23 RPLC": (DEPRECATED_END, lambda w: related(w, T.RPLC, w.old.entry_uuid)),
    "E23 XFRM_RPLC": (DEPRECATED_END, lambda w: related(w, T.XFRM_RPLC, w.old.entry_uuid)),
    "E23 signs": (DEPRECATED_END, lambda w: related(w, T.SIGNS, w.old.entry_uuid)),
    "E23 folder": (DEPRECATED_END, lambda w: in_folder(w.folder.entry_uuid, w.old.entry_uuid)),
    "E23 reference": (
        DEPRECATED_END,
        lambda w: from_the_set(w.old.entry_uuid, submission_set_status=schemes.REFERENCE),
    ),
    "E27 from an old set": (
        METADATA,
        lambda w: (
            lambda one: with_associations(
                an_association(w.set.entry_uuid, one.entry_uuid, submission_set_status=schemes.ORIGINAL),
                entry=one,
            )
        )(a_document_entry()),
    ),
    "E27 to an old set": (METADATA, lambda w: related(w, T.APND, w.set.entry_uuid)),
    "E28 target is Stable": (METADATA, lambda w: related(w, T.IS_SNAPSHOT_OF, w.document.entry_uuid)),
    "a registered folder as member of a set": (
        METADATA,
        lambda w: from_the_set(w.folder.entry_uuid, submission_set_status=schemes.REFERENCE),
    ),
    "a relationship with a folder": (METADATA, lambda w: related(w, T.APND, w.folder.entry_uuid)),
    "E30 entry": (METADATA, lambda w: a_submission(a_document_entry(entry_uuid=w.document.entry_uuid))),
    "E30 entry with the id of a folder": (
        METADATA,
        lambda w: a_submission(a_document_entry(entry_uuid=w.folder.entry_uuid)),
    ),
    "E30 association with the id of an entry": (
        METADATA,
        lambda w: related(w, T.APND, w.document.entry_uuid, entry_uuid=w.new.entry_uuid),
    ),
}


async def all_ids(registry):
    found = await registry.query(
        queries.GET_ALL,
        {
            "$patientId": PATIENT,
            "$XDSDocumentEntryStatus": [APPROVED, DEPRECATED],
            "$XDSSubmissionSetStatus": [APPROVED],
            "$XDSFolderStatus": [APPROVED],
        },
    )
    return {
        (thing.entry_uuid, thing.availability_status)
        for thing in (*found.document_entries, *found.submission_sets, *found.folders, *found.associations)
    }


@pytest.mark.parametrize("place", ["message", "registry"])
async def test_every_broken_rule_has_its_code_and_leaves_nothing(registry, place):
    """One registry for all rules of a place: what is refused leaves nothing to disturb the next."""
    world = World()
    await world.register(registry)
    before = await all_ids(registry)
    names = list(BROKEN)
    half = names.index("E14 set as set")
    wrong = {}
    for name in names[:half] if place == "message" else names[half:]:
        code, break_rule = BROKEN[name]
        message = break_rule(world)
        with pytest.raises(Rejected) as refused:
            await registry.register(message)
        found = codes(refused.value)
        if set(found) != {code}:
            wrong[name] = (code, found)
        if told := told_of_others(message, refused.value):
            wrong[f"{name}: told"] = told
    assert wrong == {}
    assert await all_ids(registry) == before


ACCEPTED = {
    "equal service times of different precision": lambda w: a_submission(
        a_document_entry(
            service_start_time=Timestamp("20240305101112"), service_stop_time=Timestamp("20240305")
        )
    ),
    "the same patient written differently": lambda w: a_submission(
        a_document_entry(patient_id=PATIENT.replace("P-1001", "P-1001")),
    ),
    "a documented relationship": lambda w: related(
        w, T.XFRM, w.document.entry_uuid, documentation=(Code("a", "1.2.3", "why"),)
    ),
    "a signature": lambda w: related(w, T.SIGNS, w.document.entry_uuid),
    "an addendum within the message": lambda w: (
        lambda one, two: a_submission(
            one, two, associations=[an_association(one.entry_uuid, two.entry_uuid, T.APND)]
        )
    )(a_document_entry(), a_document_entry()),
    "two registered ones come together": lambda w: in_folder(w.folder.entry_uuid, w.document.entry_uuid),
    "a registered document in a new folder": lambda w: (
        lambda one: in_folder(one.entry_uuid, w.document.entry_uuid, folders=[one])
    )(a_folder()),
    "a new document in a registered folder": lambda w: (
        lambda one: in_folder(w.folder.entry_uuid, one.entry_uuid, entry=one)
    )(a_document_entry()),
    "another patient's document by reference": lambda w: from_the_set(
        w.foreign.entry_uuid, submission_set_status=schemes.REFERENCE
    ),
    "an extra slot that is no whole URN": lambda w: a_submission(
        a_document_entry(extra_slots=(Slot("urn:att", ("1",)),))
    ),
}


async def test_what_looks_wrong_and_is_not_is_accepted(registry):
    world = World()
    await world.register(registry)
    for name, make in ACCEPTED.items():
        response = await registry.register(make(world))
        assert not response.errors, name
