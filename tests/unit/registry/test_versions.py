"""What comes along with new versions, as laws over generated lineages and associations."""

from hypothesis import given
from hypothesis import strategies as st

from registry.domain.metadata_update import Update
from registry.domain.registration import RegisteredObject
from registry.domain.submission import ObjectClass, SubmissionIndex
from registry.domain.versions import UpdateState, carried, change_of
from shared.ebrim.model import (
    Association,
    AssociationType,
    AvailabilityStatus,
    DocumentEntry,
    Folder,
    Timestamp,
)
from tests.support.metadata import PATIENT, a_document_entry, a_folder, an_association
from tests.support.updates import a_version, an_update, new_version

T = AssociationType
NOW = Timestamp("20300101000000")
DOCUMENTS, FOLDERS = 4, 2


@st.composite
def worlds(draw):
    """Documents and folders that are joined somehow, some with new versions, some old, some deprecated."""
    documents = [a_document_entry() for _ in range(DOCUMENTS)]
    folders = [a_folder() for _ in range(FOLDERS)]
    pairs = draw(
        st.sets(st.tuples(st.integers(0, DOCUMENTS + FOLDERS - 1), st.integers(0, DOCUMENTS - 1)), max_size=8)
    )
    attached = []
    for source, target in sorted(pairs):
        if source < DOCUMENTS and source != target:
            kind = draw(st.sampled_from([T.APND, T.XFRM, T.RPLC, T.SIGNS]))
            attached.append(an_association(documents[source].entry_uuid, documents[target].entry_uuid, kind))
        elif source >= DOCUMENTS:
            holder = folders[source - DOCUMENTS]
            attached.append(an_association(holder.entry_uuid, documents[target].entry_uuid))
    things = documents + folders
    updated = draw(st.lists(st.sampled_from(range(len(things))), unique=True, max_size=4))
    propagation = {at: draw(st.sampled_from(["yes", "no", None])) for at in updated}
    old = draw(st.sets(st.sampled_from(range(len(things))), max_size=2)) - set(updated)
    message = an_update(*(a_version(new_version(things[at]), propagation=propagation[at]) for at in updated))
    known = UpdateState(
        patient_is_active=True,
        latest={things[at].entry_uuid: things[at] for at in updated},
        registered={
            thing.entry_uuid: RegisteredObject(
                entry_uuid=thing.entry_uuid,
                object_class=ObjectClass.DOCUMENT_ENTRY
                if isinstance(thing, DocumentEntry)
                else ObjectClass.FOLDER,
                status=AvailabilityStatus.APPROVED,
                patient_id=PATIENT,
            )
            for thing in things
        },
        values={folder.entry_uuid: folder for folder in folders},
        superseded=frozenset(things[at].entry_uuid for at in old),
        attached=tuple(attached),
    )
    return Update(SubmissionIndex(message)), known


@given(worlds())
def test_what_comes_along_is_what_was_there_with_new_ends(world):
    update, known = world
    new_of = {new.value.logical_id: new.value.entry_uuid for new in update.new_versions}
    silent = {new.value.logical_id for new in update.new_versions if not new.propagates}
    expected = {
        (
            item.association_type,
            new_of.get(item.source_object, item.source_object),
            new_of.get(item.target_object, item.target_object),
        )
        for item in known.attached
        if {item.source_object, item.target_object} & new_of.keys()
        and not {item.source_object, item.target_object} & (silent | known.superseded)
    }
    found = [(item.association_type, *ends) for item, ends in carried(update, known)]
    assert set(found) == expected
    assert len(found) == len(expected)


@given(worlds())
def test_a_change_keeps_one_approved_version_and_touches_folders_that_gain(world):
    update, known = world
    change = change_of(update, known, NOW)
    versions = [item for item in change.new if isinstance(item, DocumentEntry | Folder)]
    ids = [thing.entry_uuid for thing in change.new]
    assert len(set(ids)) == len(ids)
    assert {item.logical_id for item in versions} == known.latest.keys() == set(change.superseded)
    assert all(item.version == 2 for item in versions)
    assert {item.availability_status for item in versions} <= {AvailabilityStatus.APPROVED}
    # Nothing else than old versions, deprecated, and folders with a new time.
    gaining = {
        item.source_object
        for item in change.new
        if isinstance(item, Association) and item.association_type == T.HAS_MEMBER
    } & known.values.keys()
    changed = {item.entry_uuid: item for item in change.changed}
    assert changed.keys() == known.latest.keys() | gaining
    assert all(changed[each].availability_status is AvailabilityStatus.DEPRECATED for each in known.latest)
    assert all(changed[each].last_update_time == NOW for each in gaining - known.latest.keys())
    assert all(item.last_update_time == NOW for item in versions if isinstance(item, Folder))
