"""The rules of updates against what is registered, each a generator of errors (supplement XDS Metadata
Update, 3.57.4.1.3).

The second stage: what the message says of itself was found right before (`metadata_update`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain

from registry.domain.metadata_update import (
    Codes,
    NewAssociation,
    StatusUpdate,
    Update,
    Versioned,
    not_an_operation,
    wrong_update,
)
from registry.domain.registration import RegisteredObject
from registry.domain.submission import HAS_MEMBER, ObjectClass, relationship_form, same_patient
from registry.domain.versions import (
    UpdateState,
    carried,
    ends_of,
    followed,
    following_of,
    joined_of,
    previous_of,
)
from shared.ebrim import schemes
from shared.ebrim.identifiers import nfc
from shared.ebrim.model import Association, AssociationType, AvailabilityStatus, DocumentEntry, Folder
from shared.errors import (
    DuplicateUniqueIdInRegistry,
    MetadataError,
    MetadataUpdateError,
    MetadataVersionError,
    PatientIdReconciliationError,
    UnknownPatientId,
    UnresolvedReference,
    XdsError,
)

_APPROVED, _DEPRECATED = AvailabilityStatus.APPROVED, AvailabilityStatus.DEPRECATED


# --- rules that ITI-57 and ITI-92 share -----------------------------------------------------------------


def known_patient(update: Update, state: UpdateState, codes: Codes) -> Iterator[XdsError]:
    """The patient is known here and was not merged into another."""
    if not state.patient_is_active:
        yield UnknownPatientId(f"the patient id {update.submission_set.patient_id} is not known here")


def free_ids(update: Update, state: UpdateState, codes: Codes) -> Iterator[XdsError]:
    """The uniqueId of the submission set is new, and so is every id that the sender chose."""
    submission_set = update.submission_set
    if state.set_is_registered:
        yield DuplicateUniqueIdInRegistry(
            f"the uniqueId {submission_set.unique_id} is registered already",
            location=submission_set.entry_uuid,
        )
    for entry_uuid in sorted(state.taken):
        yield MetadataError(f"the id {entry_uuid} is registered already", location=entry_uuid)


def previous_versions(update: Update, state: UpdateState, codes: Codes) -> Iterator[XdsError]:
    """A new version follows the latest one, which PreviousVersion names."""
    for new in update.new_versions:
        latest = previous_of(new, state)
        entry_uuid, logical_id = new.value.entry_uuid, new.value.logical_id
        if entry_uuid in state.ambiguous:
            continue
        if latest is None:
            absent = MetadataUpdateError if isinstance(new.value, Folder) else MetadataVersionError
            yield absent(
                f"{entry_uuid}: no version of {logical_id or new.value.unique_id} is registered",
                location=entry_uuid,
            )
        elif new.previous_version != latest.version:
            yield MetadataVersionError(
                f"{entry_uuid}: the version of {logical_id} that is current is {latest.version}, and not "
                f"PreviousVersion {new.previous_version}",
                location=entry_uuid,
            )


def identity(update: Update, state: UpdateState, codes: Codes) -> Iterator[XdsError]:
    """An update changes neither uniqueId nor objectType."""
    for new, latest in followed(update, state):
        entry_uuid = new.value.entry_uuid
        if nfc(new.value.unique_id) != nfc(latest.unique_id):
            yield codes.unique_id(
                f"{entry_uuid}: the uniqueId of {new.value.logical_id} is {latest.unique_id} and cannot "
                f"become {new.value.unique_id}",
                location=f"{entry_uuid}/uniqueId",
            )
        if _object_type(new.value) != _object_type(latest):
            for error in codes.object_type:
                yield error(
                    f"{entry_uuid}: the objectType of {new.value.logical_id} cannot change",
                    location=f"{entry_uuid}/objectType",
                )


def _object_type(value: Versioned) -> str:
    return value.object_type if isinstance(value, DocumentEntry) else ""


def patients_of_associations(update: Update, state: UpdateState, codes: Codes) -> Iterator[XdsError]:
    """What comes along with a new version joins objects of one patient."""
    for item, ends in carried(update, state):
        patients = [_patient(update, state, end) for end in ends]
        if not same_patient(*patients):
            version = next(end for end in ends if end in update.values)
            yield PatientIdReconciliationError(
                f"{version}: with the association {item.entry_uuid} it would join objects of two patients; "
                "end it first, or set AssociationPropagation to no",
                location=version,
            )


def _patient(update: Update, state: UpdateState, end: str) -> str:
    if end in update.values:
        return update.values[end].patient_id
    registered = state.registered.get(end)
    return registered.patient_id if registered else ""


# --- rules of ITI-57 alone ------------------------------------------------------------------------------


def approved_versions(update: Update, state: UpdateState, codes: Codes) -> Iterator[XdsError]:
    """What is updated is Approved."""
    for new, latest in followed(update, state):
        if latest.availability_status is not _APPROVED:
            yield MetadataUpdateError(
                f"{new.value.entry_uuid}: {latest.entry_uuid}, the latest version of "
                f"{new.value.logical_id}, is deprecated",
                location=new.value.entry_uuid,
            )


def status_updates(update: Update, state: UpdateState, codes: Codes) -> Iterator[XdsError]:
    """A status changes from the one that is current, of the latest version, and within one patient."""
    changed: set[str] = set()
    following = following_of(update, state)
    for change in update.status_updates:
        within = update.message.class_of(change.target) is not None
        status = _APPROVED if within else None
        if not within:
            registered = state.registered.get(change.target)
            if registered is None:
                yield UnresolvedReference(
                    f"the association {change.trigger.entry_uuid} names {change.target}, which is not "
                    "registered",
                    location=change.target,
                )
                continue
            status = registered.status
            yield from _wrong_target(update, state, change, registered)
        if change.original_status != status:
            yield wrong_update(
                change.trigger, f"OriginalStatus is {change.original_status}, and the object is {status}"
            )
        target = following.get(change.target, change.target)
        if target in changed:
            yield not_an_operation(change.trigger, f"the status of {target} is changed more than once")
        changed.add(target)


def _wrong_target(
    update: Update, state: UpdateState, change: StatusUpdate, registered: RegisteredObject
) -> Iterator[XdsError]:
    if registered.object_class is ObjectClass.SUBMISSION_SET:
        yield wrong_update(change.trigger, "the status of a submission set cannot be changed")
        return
    if change.target in state.superseded:
        yield wrong_update(change.trigger, "it is not the latest version")
    concerned = [registered]
    if isinstance(item := state.values.get(change.target), Association):
        concerned = [end for each in ends_of(item) if (end := state.registered.get(each, None)) is not None]
        if any(end.object_class is ObjectClass.SUBMISSION_SET for end in concerned):
            yield wrong_update(
                change.trigger, "the status of a submission set's membership cannot be changed"
            )
            return
    patient = update.submission_set.patient_id
    for end in concerned:
        if end.patient_id and not same_patient(end.patient_id, patient):
            yield PatientIdReconciliationError(
                f"{change.target}: it is about another patient than the submission set",
                location=change.trigger.entry_uuid,
            )


def new_associations(update: Update, state: UpdateState, codes: Codes) -> Iterator[XdsError]:
    """A submitted association joins documents, or a folder with a document, that are Approved, of one patient
    and not joined by its like.
    """
    for new in update.new_associations:
        ends = ends_of(new.association)
        unknown = [end for end in ends if end not in update.values and end not in state.registered]
        for end in unknown:
            yield wrong_update(new.association, f"{end} is not registered")
        if unknown:
            continue
        yield from _wrong_ends(update, state, new)


def joined_once(update: Update, state: UpdateState, codes: Codes) -> Iterator[XdsError]:
    """Two objects are joined by one Approved association of a type, submitted or approved again."""
    joins = set(state.joined)
    for item in _joining(update, state):
        if joined_of(item) in joins:
            yield wrong_update(item, f"{item.source_object} and its target are joined so already")
        joins.add(joined_of(item))


def _joining(update: Update, state: UpdateState) -> Iterator[Association]:
    for new in update.new_associations:
        yield new.association
    for change in update.status_updates:
        item = state.values.get(change.target)
        if (
            isinstance(item, Association)
            and item.availability_status is _DEPRECATED
            and change.new_status == _APPROVED
        ):
            yield item


def _wrong_ends(update: Update, state: UpdateState, new: NewAssociation) -> Iterator[XdsError]:
    item = new.association
    ends = ends_of(item)
    classes = [_class(update, state, end) for end in ends]
    if item.association_type == HAS_MEMBER:
        if classes != [ObjectClass.FOLDER, ObjectClass.DOCUMENT_ENTRY]:
            yield wrong_update(item, f"a membership leads from a folder to a document, not from {classes[0]}")
    else:
        for object_class in classes:
            for error in relationship_form(item, object_class):
                yield wrong_update(item, error.context)
    for end in ends:
        registered = state.registered.get(end)
        if registered is not None and registered.status is _DEPRECATED:
            yield wrong_update(item, f"{end} is deprecated")
    if item.association_type == AssociationType.IS_SNAPSHOT_OF:
        yield from _wrong_snapshot(update, state, item)
    patient = update.submission_set.patient_id
    for end in ends:
        if (of := _patient(update, state, end)) and not same_patient(of, patient):
            yield PatientIdReconciliationError(
                f"{item.entry_uuid}: {end} is about another patient than the submission set",
                location=item.entry_uuid,
            )


def _wrong_snapshot(update: Update, state: UpdateState, item: Association) -> Iterator[XdsError]:
    object_types = (schemes.STABLE, schemes.ON_DEMAND)
    if tuple(_type_of(update, state, end) for end in ends_of(item)) != object_types:
        yield wrong_update(item, "IsSnapshotOf leads from a Stable entry to an On-Demand one")


def _type_of(update: Update, state: UpdateState, end: str) -> str:
    if end in update.values:
        return _object_type(update.values[end])
    return state.registered[end].object_type


def _class(update: Update, state: UpdateState, end: str) -> ObjectClass | None:
    registered = state.registered.get(end)
    return update.message.class_of(end) or (registered.object_class if registered else None)


SHARED_RULES = (known_patient, free_ids, previous_versions, identity, patients_of_associations)
UPDATE_RULES = (*SHARED_RULES, approved_versions, status_updates, new_associations, joined_once)

Rule = Callable[[Update, UpdateState, Codes], Iterator[XdsError]]


def errors_against(
    update: Update, state: UpdateState, codes: Codes, rules: Iterable[Rule] = UPDATE_RULES
) -> Iterator[XdsError]:
    """Every error of every rule of the second stage."""
    return chain.from_iterable(rule(update, state, codes) for rule in rules)
