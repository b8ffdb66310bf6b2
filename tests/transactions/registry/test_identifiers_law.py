"""Whatever was submitted, updated, removed and merged: identifiers lead to what is kept, and nowhere else."""

import asyncio
import itertools
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from registry.domain import stored_queries as queries
from registry.domain.submission import HAS_MEMBER
from registry.store.patients import find_patient
from registry.transactions import iti62, patient_feed
from shared.ebrim import schemes
from shared.ebrim.identifiers import new_oid, new_uuid
from shared.ebrim.model import Association, AssociationType, DocumentEntry, Folder, Submission, SubmissionSet
from shared.errors import Rejected
from shared.messages.iti18 import ReturnType
from shared.messages.iti62 import RemoveMetadataRequest
from tests.support.agreement import assert_agreement, forget_everything, kept_objects
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
from tests.support.registry import APPROVED, DEPRECATED, codes, is_success
from tests.support.updates import a_status, a_version, an_update, ids, new_version, update

T = AssociationType
_numbers = itertools.count()


class History:
    """Patients, and what happens to what they have; each step picks by a number from what is there."""

    def __init__(self, registry):
        self.registry = registry
        self.database = registry.parts.database
        self.patients = []

    async def begin(self):
        await forget_everything(self.database)
        for _ in range(3):
            await self.a_patient()

    async def a_patient(self):
        patient = f"HISTORY-{next(_numbers)}^^^&{DOMAIN}&ISO"
        await self.registry.add_patient(patient)
        self.patients.append(patient)

    async def current(self, kind):
        """The latest versions of documents or folders that are Approved, of these patients."""
        latest = {}
        for each in (await kept_objects(self.database)).values():
            if isinstance(each.value, kind) and each.patient_id in self.patients:
                known = latest.get(each.value.logical_id)
                if known is None or known.version < each.value.version:
                    latest[each.value.logical_id] = each.value
        found = [value for value in latest.values() if value.availability_status == APPROVED]
        return sorted(found, key=lambda value: value.entry_uuid)

    async def picked(self, kind, which):
        found = await self.current(kind)
        return found[which % len(found)] if found else None

    def patient(self, which):
        return self.patients[which % len(self.patients)]

    # --- steps ------------------------------------------------------------------------------------------

    async def submit(self, _, of):
        document, folder = (make(patient_id=self.patient(of)) for make in (a_document_entry, a_folder))
        submission = a_submission(document, folders=[folder])
        membership = an_association(folder.entry_uuid, document.entry_uuid)
        collected = an_association(submission.submission_set.entry_uuid, membership.entry_uuid)
        associations = (*submission.associations, membership, collected)
        assert is_success(await self.registry.register(replace(submission, associations=associations)))

    async def submit_again(self, which, of):
        """The same document once more, perhaps for another patient."""
        if document := await self.picked(DocumentEntry, which):
            again = replace(
                document, entry_uuid=new_uuid(), logical_id="", version=1, patient_id=self.patient(of)
            )
            assert is_success(await self.registry.register(a_submission(again)))

    async def refer(self, which, of):
        """A submission set that holds a document by reference, perhaps another patient's."""
        if document := await self.picked(DocumentEntry, which):
            submission = a_submission(a_document_entry(patient_id=self.patient(of)))
            by_reference = an_association(
                submission.submission_set.entry_uuid,
                document.entry_uuid,
                submission_set_status=schemes.REFERENCE,
            )
            associations = (*submission.associations, by_reference)
            assert is_success(await self.registry.register(replace(submission, associations=associations)))

    async def replace(self, which, _):
        if document := await self.picked(DocumentEntry, which):
            new = a_document_entry(patient_id=document.patient_id)
            relationship = an_association(new.entry_uuid, document.entry_uuid, T.RPLC)
            assert is_success(await self.registry.register(a_submission(new, associations=[relationship])))

    async def next_version(self, which, _):
        value = await self.picked((DocumentEntry, Folder), which)
        if value:
            operation = a_version(new_version(value, title="next"), str(value.version))
            assert is_success(await update(self.registry, operation))

    async def give_away(self, which, of):
        """A new version for another patient, which takes nothing along."""
        value = await self.picked((DocumentEntry, Folder), which)
        if value:
            given_away = new_version(value, patient_id=self.patient(of))
            assert is_success(await update(self.registry, a_version(given_away, str(value.version), "no")))

    async def deprecate(self, which, _):
        if value := await self.picked((DocumentEntry, Folder), which):
            change = an_update(a_status(value.entry_uuid, APPROVED, DEPRECATED), patient_id=value.patient_id)
            assert is_success(await update(self.registry, change))

    async def remove(self, which, _):
        """A submission set, with all that could not stay without it."""
        kept = await kept_objects(self.database)
        sets = sorted(each for each in kept if isinstance(kept[each].value, SubmissionSet))
        if sets:
            going = closure(kept, sets[which % len(sets)])
            request = RemoveMetadataRequest(ids=tuple(sorted(going)))
            assert is_success(await self.registry.perform(iti62.SERVED, request))

    async def merge(self, which, of):
        survivor, subsumed = self.patient(of), self.patient(which)
        if survivor != subsumed:
            await self.database.write(lambda work: patient_feed.merge(work, subsumed, survivor))
            self.patients.remove(subsumed)
            await self.a_patient()


def closure(kept, start):
    """What has to go when `start` goes."""
    associations = {name: each.value for name, each in kept.items() if isinstance(each.value, Association)}
    sets = {name for name, each in kept.items() if isinstance(each.value, SubmissionSet)}
    going = {start}
    while True:
        touching = {
            name for name, item in associations.items() if {item.source_object, item.target_object} & going
        }
        staying = [item for name, item in associations.items() if name not in going | touching]
        held = {item.source_object for item in staying} | {item.target_object for item in staying}
        collected = {
            item.target_object
            for item in staying
            if item.association_type == HAS_MEMBER and item.source_object in sets
        }
        alone = set()
        for name in (going | touching) & associations.keys():
            item = associations[name]
            for end in (item.source_object, item.target_object):
                loses_its_set = (
                    end == item.target_object and item.source_object in sets and end not in associations
                )
                if end not in held or (loses_its_set and end not in collected):
                    alone.add(end)
        if touching | alone <= going:
            return going
        going |= touching | alone


STEPS = (
    History.submit,
    History.submit_again,
    History.refer,
    History.replace,
    History.next_version,
    History.give_away,
    History.deprecate,
    History.remove,
    History.merge,
)
steps = st.tuples(st.sampled_from(STEPS), st.integers(0, 40), st.integers(0, 2))


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(steps, min_size=3, max_size=9))
async def test_identifiers_and_objects_agree_after_every_step_of_every_history(registry, story):
    history = History(registry)
    await history.begin()
    await history.submit(0, 0)
    for step, which, of in story:
        await step(history, which, of)
        await assert_agreement(history.database)


async def test_a_history_with_every_step_leaves_nothing_when_everything_is_removed(registry):
    history = History(registry)
    await history.begin()
    for number, step in enumerate((History.submit, *STEPS, *reversed(STEPS))):
        await step(history, number, number + 1)
        await assert_agreement(history.database)
    while await kept_objects(history.database):
        await history.remove(0, 0)
        await assert_agreement(history.database)


# --- an identifier that leads to several patients --------------------------------------------------------


async def get_documents(registry, unique_id):
    found = await registry.query(
        queries.GET_DOCUMENTS,
        {"$XDSDocumentEntryUniqueId": [unique_id]},
        return_type=ReturnType.OBJECT_REF,
    )
    return set(found.object_refs)


async def test_a_document_of_two_patients_is_found_for_both_and_merged_with_one(registry):
    mother = a_document_entry()
    child = a_document_entry(unique_id=mother.unique_id, patient_id=OTHER_PATIENT)
    for document in (mother, child):
        assert is_success(await registry.register(a_submission(document)))
    assert await get_documents(registry, mother.unique_id) == ids([mother, child])

    await registry.parts.database.write(lambda work: patient_feed.merge(work, PATIENT, OTHER_PATIENT))
    assert await get_documents(registry, mother.unique_id) == ids([mother, child])
    await assert_agreement(registry.parts.database)


async def test_a_reference_of_another_patient_is_found_by_what_it_refers_to(registry):
    child = a_document_entry(patient_id=OTHER_PATIENT)
    await registry.register(a_submission(child))
    mother = a_submission()
    reference = an_association(
        mother.submission_set.entry_uuid, child.entry_uuid, submission_set_status=schemes.REFERENCE
    )
    await registry.register(replace(mother, associations=(*mother.associations, reference)))

    survivor = f"SURVIVOR^^^&{DOMAIN}&ISO"
    await registry.add_patient(survivor)
    for merging in (False, True):
        if merging:
            await registry.parts.database.write(lambda work: patient_feed.merge(work, PATIENT, survivor))
        found = await registry.query(queries.GET_ASSOCIATIONS, {"$uuid": [child.entry_uuid]})
        assert reference.entry_uuid in ids(found.associations)
        sets = await registry.query(
            queries.GET_SUBMISSION_SETS, {"$uuid": [child.entry_uuid]}, return_type=ReturnType.OBJECT_REF
        )
        assert mother.submission_set.entry_uuid in sets.object_refs
    with pytest.raises(Rejected) as refusal:
        await registry.perform(iti62.SERVED, RemoveMetadataRequest(ids=(child.entry_uuid,)))
    assert "ReferencesExistException" in codes(refusal.value)


# --- races across patients -------------------------------------------------------------------------------


async def outcomes(*awaitables):
    results = await asyncio.gather(*awaitables, return_exceptions=True)
    assert not [item for item in results if isinstance(item, Exception) and not isinstance(item, Rejected)]
    won = [item for item in results if not isinstance(item, Rejected)]
    return won, [codes(item) for item in results if isinstance(item, Rejected)]


def of_either(number):
    return (PATIENT, OTHER_PATIENT)[number % 2]


@pytest.mark.parametrize("round_", range(3))
async def test_of_racing_sets_of_one_unique_id_for_different_patients_one_wins(registry, round_):
    unique_id = new_oid()
    won, lost = await outcomes(
        *(
            registry.register(
                a_submission(a_document_entry(patient_id=of_either(number)), unique_id=unique_id)
            )
            for number in range(12)
        )
    )
    assert len(won) == 1
    assert lost == [["XDSDuplicateUniqueIdInRegistry"]] * 11
    await assert_agreement(registry.parts.database)


@pytest.mark.parametrize("round_", range(3))
async def test_of_racing_documents_of_one_unique_id_for_different_patients_one_content_wins(registry, round_):
    unique_id = new_oid()

    def document(number):
        return a_document_entry(unique_id=unique_id, hash=f"{number // 2:040x}", patient_id=of_either(number))

    won, lost = await outcomes(*(registry.register(a_submission(document(number))) for number in range(12)))
    # The winner's bytes may be registered for the other patient, too.
    assert len(won) == 2
    assert lost == [["XDSNonIdenticalHash"]] * 10
    assert len(await get_documents(registry, unique_id)) == 2
    await assert_agreement(registry.parts.database)


@pytest.mark.parametrize("round_", range(3))
async def test_of_racing_objects_of_one_entry_uuid_for_different_patients_one_wins(registry, round_):
    entry_uuid = new_uuid()
    won, lost = await outcomes(
        *(
            registry.register(
                a_submission(a_document_entry(entry_uuid=entry_uuid, patient_id=of_either(number)))
            )
            for number in range(12)
        )
    )
    assert len(won) == 1
    assert lost == [["XDSRegistryMetadataError"]] * 11
    await assert_agreement(registry.parts.database)


@pytest.mark.parametrize("round_", range(3))
async def test_references_and_replacements_that_race_with_a_merge_find_what_they_name(registry, round_):
    """What moves to another patient meanwhile is registered all the time."""
    documents = [a_document_entry(patient_id=OTHER_PATIENT) for _ in range(4)]
    await registry.register(a_submission(*documents))
    survivor = f"SURVIVOR^^^&{DOMAIN}&ISO"
    await registry.add_patient(survivor)

    def referring(document):
        submission = a_submission()
        reference = an_association(
            submission.submission_set.entry_uuid,
            document.entry_uuid,
            submission_set_status=schemes.REFERENCE,
        )
        return registry.register(replace(submission, associations=(*submission.associations, reference)))

    _, lost = await outcomes(
        *(referring(document) for document in documents),
        registry.parts.database.write(lambda work: patient_feed.merge(work, OTHER_PATIENT, survivor)),
        *(referring(document) for document in documents),
    )
    assert lost == []
    kept = await kept_objects(registry.parts.database)
    assert {kept[document.entry_uuid].patient_id for document in documents} == {survivor}
    assert (await find_patient(registry.parts.database, OTHER_PATIENT)).survivor == survivor
    await assert_agreement(registry.parts.database)


@pytest.mark.parametrize("round_", range(3))
async def test_a_removal_that_races_with_a_merge_takes_what_it_names(registry, round_):
    submissions = [a_submission(a_document_entry(patient_id=OTHER_PATIENT)) for _ in range(4)]
    for submission in submissions:
        await registry.register(submission)
    survivor = f"SURVIVOR^^^&{DOMAIN}&ISO"
    await registry.add_patient(survivor)

    def removing(submission):
        things = (submission.submission_set, *submission.document_entries, *submission.associations)
        request = RemoveMetadataRequest(ids=tuple(sorted(ids(things))))
        return registry.perform(iti62.SERVED, request)

    _, lost = await outcomes(
        *map(removing, submissions[:2]),
        registry.parts.database.write(lambda work: patient_feed.merge(work, OTHER_PATIENT, survivor)),
        *map(removing, submissions[2:]),
    )
    assert lost == []
    assert await kept_objects(registry.parts.database) == {}
    await assert_agreement(registry.parts.database)


async def test_versions_that_are_removed_at_once_leave_no_identifier_behind(registry):
    for _ in range(8):
        folder = a_folder()
        of = a_submission_set()
        member = an_association(of.entry_uuid, folder.entry_uuid)
        await registry.register(Submission(submission_set=of, folders=(folder,), associations=(member,)))
        await update(registry, a_version(new_version(folder)))
    kept = await kept_objects(registry.parts.database)
    going = {
        tuple(sorted(closure(kept, name)))
        for name, each in kept.items()
        if isinstance(each.value, SubmissionSet)
    }
    assert len(going) == 16

    def lineage(ids_of):
        return min(kept[name].row["logical_id"] or "~" for name in ids_of)

    _, lost = await outcomes(
        *(
            registry.perform(iti62.SERVED, RemoveMetadataRequest(ids=each))
            for each in sorted(going, key=lineage)
        )
    )
    assert lost == []
    assert await kept_objects(registry.parts.database) == {}
    await assert_agreement(registry.parts.database)


@pytest.mark.parametrize("round_", range(3))
async def test_updates_and_new_registrations_that_race_with_a_removal_leave_nothing_half(registry, round_):
    """Each document is updated, deprecated, removed with its set, and registered anew, all at once."""
    submissions = [a_submission(a_document_entry()) for _ in range(4)]
    for submission in submissions:
        await registry.register(submission)

    def removing(submission):
        things = (submission.submission_set, *submission.document_entries, *submission.associations)
        return registry.perform(iti62.SERVED, RemoveMetadataRequest(ids=tuple(sorted(ids(things)))))

    def deprecating(submission):
        return update(registry, a_status(submission.document_entries[0].entry_uuid, APPROVED, DEPRECATED))

    def renewing(submission):
        return update(registry, a_version(new_version(submission.document_entries[0])))

    for at in range(3):
        await outcomes(
            *(
                act(submission)
                for submission in submissions
                for act in rotated((renewing, removing, registry.register, deprecating), at + round_)
            )
        )
        await assert_agreement(registry.parts.database)


def rotated(items, by):
    return (*items[by % len(items) :], *items[: by % len(items)])
