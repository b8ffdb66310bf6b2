from hypothesis import given

from registry.domain.lifecycle import Membership, assigned, carried_over, touched_folders
from registry.domain.patients import MergeRefused, Patient, canonical, check_merge
from registry.domain.submission import SubmissionIndex, same_patient
from registry.domain.visibility import Candidate, Choice, Surroundings, visible_of
from shared.ebrim.identifiers import is_symbolic
from shared.ebrim.model import AssociationType
from tests.support.metadata import DOMAIN, a_document_entry, a_submission, an_association, submissions


def objects_of(submission):
    return (
        submission.submission_set,
        *submission.document_entries,
        *submission.folders,
        *submission.associations,
    )


@given(submissions())
def test_ids_are_assigned_consistently_and_chosen_ones_are_kept(submission):
    result = assigned(submission)
    ids = dict(
        zip(
            (thing.entry_uuid for thing in objects_of(submission)),
            (thing.entry_uuid for thing in objects_of(result)),
            strict=True,
        )
    )
    assert not any(map(is_symbolic, ids.values()))
    assert len(set(ids.values())) == len(ids)
    assert all(new == old for old, new in ids.items() if not is_symbolic(old))
    for before, after in zip(submission.associations, result.associations, strict=True):
        assert after.source_object == ids.get(before.source_object, before.source_object)
        assert after.target_object == ids.get(before.target_object, before.target_object)


def replacing(*old):
    new = a_document_entry()
    return new, a_submission(
        new, associations=[an_association(new.entry_uuid, each, AssociationType.RPLC) for each in old]
    )


def test_a_replacement_is_put_where_the_replaced_was():
    new, submission = replacing("urn:uuid:old")
    membership, collected = carried_over(
        SubmissionIndex(submission), [Membership("urn:uuid:folder", "urn:uuid:old")]
    )
    assert (membership.source_object, membership.target_object) == ("urn:uuid:folder", new.entry_uuid)
    assert collected.source_object == submission.submission_set.entry_uuid
    assert collected.target_object == membership.entry_uuid
    assert touched_folders(SubmissionIndex(submission), (membership, collected)) == {"urn:uuid:folder"}


def test_one_that_replaces_two_in_a_folder_is_put_there_once():
    _, submission = replacing("urn:uuid:1", "urn:uuid:2")
    held = [Membership("urn:uuid:folder", "urn:uuid:1"), Membership("urn:uuid:folder", "urn:uuid:2")]
    assert len(list(carried_over(SubmissionIndex(submission), held))) == 2


def test_what_is_not_replaced_carries_nothing():
    addendum = a_document_entry()
    submission = a_submission(
        addendum, associations=[an_association(addendum.entry_uuid, "urn:uuid:old", AssociationType.APND)]
    )
    assert not list(
        carried_over(SubmissionIndex(submission), [Membership("urn:uuid:folder", "urn:uuid:old")])
    )


def test_patients_are_compared_by_what_they_name():
    assert same_patient(f"a\\T\\b^^^&{DOMAIN}&ISO", f"a\\T\\b^^^&{DOMAIN}&ISO")
    assert same_patient(f"Mu\u0308^^^&{DOMAIN}&ISO", f"M\u00fc^^^&{DOMAIN}&ISO")
    assert not same_patient(f"a^^^&{DOMAIN}&ISO", f"A^^^&{DOMAIN}&ISO")
    assert not same_patient("nonsense", f"a^^^&{DOMAIN}&ISO")


def test_only_ids_of_the_domain_are_patients_here():
    assert canonical(f"a^^^&{DOMAIN}&ISO", DOMAIN) == f"a^^^&{DOMAIN}&ISO"
    assert canonical("a^^^&1.2.3&ISO", DOMAIN) is None
    assert canonical("nonsense", DOMAIN) is None


def test_a_merge_needs_two_active_patients():
    a, b, merged = Patient("a", "a"), Patient("b", "b"), Patient("c", "b")
    check_merge(a, b)
    refused = 0
    for subsumed, survivor in ((None, b), (a, None), (a, a), (merged, a), (a, merged)):
        try:
            check_merge(subsumed, survivor)
        except MergeRefused:
            refused += 1
    assert refused == 5


def candidate(entry_uuid, object_class="DocumentEntry", source=None, target=None):
    return Candidate(entry_uuid, object_class, "p", "", "", "", source, target)


def test_what_is_seen_follows_from_the_documents():
    things = [
        candidate("open"),
        candidate("hidden"),
        candidate("set", "SubmissionSet"),
        candidate("folder", "Folder"),
        candidate("empty", "Folder"),
        candidate("a1", "Association", "set", "open"),
        candidate("a2", "Association", "set", "hidden"),
        candidate("a3", "Association", "folder", "hidden"),
        candidate("a4", "Association", "set", "a3"),
        candidate("a5", "Association", "set", "nowhere"),
    ]
    around = Surroundings(
        {thing.entry_uuid: thing for thing in things}, {"set": ["open", "hidden", "a3"], "folder": ["hidden"]}
    )

    def seen(*permitted, **chosen):
        return {item.entry_uuid for item in visible_of(Choice(things, **chosen), around, set(permitted))}

    assert seen("open") == {"open", "set", "a1"}
    assert seen("open", "empty") == {"open", "set", "a1", "empty"}
    assert seen() == set()
    assert seen("open", "hidden") == {thing.entry_uuid for thing in things} - {"empty", "a5"}
    assert seen("open", because={"set": ["a2"]}) == {"open", "a1"}


def test_an_association_that_names_itself_is_not_seen():
    loop = candidate("loop", "Association", "loop", "loop")
    assert visible_of(Choice([loop]), Surroundings({"loop": loop}, {}), {"loop"}) == []
