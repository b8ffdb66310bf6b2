"""The rules by which the registry judges a submission, each a generator of errors (ITI TF-3 4.1).

The second stage: what the message says of itself was found right before (`submission`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain

from registry.domain.submission import (
    HAS_MEMBER,
    ObjectClass,
    SubmissionIndex,
    identified,
    membership_form,
    relationship_form,
    same_patient,
    unresolved,
    wrong_association,
    wrong_attribute,
)
from shared.ebrim import schemes
from shared.ebrim.identifiers import is_symbolic
from shared.ebrim.model import Association, AssociationType, AvailabilityStatus, DocumentEntry
from shared.errors import (
    DuplicateUniqueIdInRegistry,
    MetadataError,
    NonIdenticalHash,
    NonIdenticalSize,
    PatientIdDoesNotMatch,
    RegistryDeprecatedDocument,
    UnknownPatientId,
    XdsError,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredObject:
    """What rules want to know of an object that is in the registry; an association has no patient."""

    entry_uuid: str
    object_class: ObjectClass
    status: AvailabilityStatus
    patient_id: str = ""
    object_type: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class UsedUniqueId:
    """A uniqueId that is in the registry; `content_hash` (lower case) and `size` are of a document."""

    unique_id: str
    object_class: ObjectClass
    content_hash: str = ""
    size: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryState:
    """What the registry knows of the things that a submission names.

    `patient_is_active`: the patient is of this affinity domain and may have documents. `registered` holds the
    objects by entryUUID, `taken` the entryUUIDs of the message that are in use, `used` the uniqueIds of the
    message that are.
    """

    patient_is_active: bool
    registered: Mapping[str, RegisteredObject] = field(default_factory=dict)
    taken: frozenset[str] = frozenset()
    used: tuple[UsedUniqueId, ...] = ()


# --- rules --------------------------------------------------------------------------------------------


def known_patient(message: SubmissionIndex, state: RegistryState) -> Iterator[XdsError]:
    """The patient is known here and was not merged into another."""
    if not state.patient_is_active:
        patient = message.submission_set.patient_id
        yield UnknownPatientId(f"the patient id {patient} is not known here")


def free_unique_ids(message: SubmissionIndex, state: RegistryState) -> Iterator[XdsError]:
    """A uniqueId is new, or is a document's that is registered again with the same bytes."""
    objects = {item.unique_id: item for item in identified(message)}
    for used in state.used:
        item = objects[used.unique_id]
        if not isinstance(item, DocumentEntry):
            yield DuplicateUniqueIdInRegistry(
                f"the uniqueId {used.unique_id} is registered already", location=item.entry_uuid
            )
        elif used.object_class is not ObjectClass.DOCUMENT_ENTRY:
            yield wrong_attribute(
                item, "uniqueId", f"the uniqueId {used.unique_id} is that of a {used.object_class}"
            )
        elif item.object_type == schemes.ON_DEMAND and used.content_hash:
            yield wrong_attribute(
                item, "uniqueId", f"the uniqueId {used.unique_id} is that of a Stable document"
            )
        elif item.hash.lower() != used.content_hash:
            yield NonIdenticalHash(
                f"the document {used.unique_id} is registered with another hash", location=item.entry_uuid
            )
        elif item.size != used.size:
            yield NonIdenticalSize(
                f"the document {used.unique_id} is registered with another size", location=item.entry_uuid
            )


def free_ids(message: SubmissionIndex, state: RegistryState) -> Iterator[XdsError]:
    """An entryUUID that the sender chose is not in use."""
    for entry_uuid in sorted(state.taken):
        yield MetadataError(f"the id {entry_uuid} is registered already", location=entry_uuid)


def resolved_references(message: SubmissionIndex, state: RegistryState) -> Iterator[XdsError]:
    """What an association names is in the message or registered."""
    for item in message.submission.associations:
        for end in (item.source_object, item.target_object):
            outside = message.class_of(end) is None and not is_symbolic(end)
            if outside and end not in state.registered:
                yield unresolved(item, end, "is neither in the submission nor registered")


def approved_ends(message: SubmissionIndex, state: RegistryState) -> Iterator[XdsError]:
    """What an association names is Approved."""
    for item in message.submission.associations:
        for end in _registered_ends(item, message, state):
            if end.status is AvailabilityStatus.DEPRECATED:
                yield RegistryDeprecatedDocument(
                    f"the association {item.entry_uuid} names {end.entry_uuid}, which is deprecated",
                    location=item.entry_uuid,
                )


def closed_sets(message: SubmissionIndex, state: RegistryState) -> Iterator[XdsError]:
    """Nothing is associated with a submission set once it is registered."""
    for item in message.submission.associations:
        for end in _registered_ends(item, message, state):
            if end.object_class is ObjectClass.SUBMISSION_SET:
                yield wrong_association(
                    item, f"nothing can be associated with {end.entry_uuid}, a set registered before"
                )


def forms(message: SubmissionIndex, state: RegistryState) -> Iterator[XdsError]:
    """Memberships and relationships lead to registered objects of the right class."""

    def class_of(end: str) -> ObjectClass | None:
        registered = state.registered.get(end)
        return message.class_of(end) or (registered.object_class if registered else None)

    for item in message.submission.associations:
        classes = {end.object_class for end in _registered_ends(item, message, state)}
        if not classes or ObjectClass.SUBMISSION_SET in classes:
            continue
        if item.association_type != HAS_MEMBER:
            for end in classes:
                yield from relationship_form(item, end)
        elif message.class_of(item.source_object) is not ObjectClass.SUBMISSION_SET:
            yield from membership_form(item, class_of(item.source_object), class_of(item.target_object))
        elif ObjectClass.DOCUMENT_ENTRY not in classes:
            yield wrong_association(
                item, f"the {classes.pop()} that a set collects must be in the submission"
            )


def patients_across(message: SubmissionIndex, state: RegistryState) -> Iterator[XdsError]:
    """A relationship, and the membership of a folder, stay within the patient of the submission set."""
    patient = message.submission_set.patient_id
    for item in message.submission.associations:
        if item.source_object == message.submission_set.entry_uuid:
            continue
        for end in _registered_ends(item, message, state):
            if end.patient_id and not same_patient(end.patient_id, patient):
                yield PatientIdDoesNotMatch(
                    f"{end.entry_uuid} is about another patient than the submission set",
                    location=item.entry_uuid,
                )


def snapshots(message: SubmissionIndex, state: RegistryState) -> Iterator[XdsError]:
    """A snapshot is Stable, and what it is a snapshot of is On-Demand."""
    for item in message.relationships:
        if item.association_type != AssociationType.IS_SNAPSHOT_OF:
            continue
        target = state.registered.get(item.target_object)
        is_document = target is not None and target.object_class is ObjectClass.DOCUMENT_ENTRY
        if target is not None and is_document and target.object_type != schemes.ON_DEMAND:
            yield wrong_association(
                item, f"IsSnapshotOf leads to an On-Demand entry, and {target.entry_uuid} is none"
            )


REGISTRY_RULES = (
    known_patient,
    free_unique_ids,
    free_ids,
    resolved_references,
    approved_ends,
    closed_sets,
    forms,
    patients_across,
    snapshots,
)


def errors_against(message: SubmissionIndex, state: RegistryState) -> Iterator[XdsError]:
    """Every error of every rule of the second stage."""
    return chain.from_iterable(rule(message, state) for rule in REGISTRY_RULES)


def is_self_contained(message: SubmissionIndex) -> bool:
    """Whether the rules want to know nothing but that the patient is active and the message's ids are new."""
    if message.references():
        return False
    return next(errors_against(message, RegistryState(patient_is_active=True)), None) is None


def _registered_ends(
    item: Association, message: SubmissionIndex, state: RegistryState
) -> Iterator[RegisteredObject]:
    for end in (item.source_object, item.target_object):
        registration = state.registered.get(end)
        if registration is not None and message.class_of(end) is None:
            yield registration
