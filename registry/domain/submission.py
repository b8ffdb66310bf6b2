"""The rules of a submission, each a generator of errors (ITI TF-3 4.1 and 4.2; ITI TF-2 3.42.4.1.3).

Two stages: what the message says of itself, here, then what the registry knows (`registration`). Every error
of a stage is reported, and the second is not asked when the first found any.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum
from itertools import chain

from shared.ebrim import schemes
from shared.ebrim.identifiers import CX, is_symbolic, nfc
from shared.ebrim.model import (
    Association,
    AssociationType,
    DocumentEntry,
    Folder,
    RegistryObject,
    Submission,
    SubmissionSet,
)
from shared.errors import (
    DuplicateUniqueIdInMessage,
    MetadataError,
    PatientIdDoesNotMatch,
    RegistryDeprecatedDocument,
    UnresolvedReference,
    XdsError,
)

HAS_MEMBER = AssociationType.HAS_MEMBER
#: Types whose target leaves the stage.
REPLACING = frozenset({AssociationType.RPLC, AssociationType.XFRM_RPLC})
#: Types between two DocumentEntries.
RELATIONSHIPS = REPLACING | {
    AssociationType.XFRM,
    AssociationType.APND,
    AssociationType.SIGNS,
    AssociationType.IS_SNAPSHOT_OF,
}
#: Types whose target must be registered already.
OF_REGISTERED = REPLACING | {AssociationType.IS_SNAPSHOT_OF}
METADATA_UPDATE = frozenset({AssociationType.UPDATE_AVAILABILITY_STATUS, AssociationType.SUBMIT_ASSOCIATION})


class ObjectClass(StrEnum):
    """The class of a registered object, as the registry's table spells it."""

    DOCUMENT_ENTRY = "DocumentEntry"
    SUBMISSION_SET = "SubmissionSet"
    FOLDER = "Folder"
    ASSOCIATION = "Association"


class SubmissionIndex:
    """A submission with its objects by id."""

    def __init__(self, submission: Submission) -> None:
        self.submission = submission
        self.submission_set = submission.submission_set
        self.entries = {entry.entry_uuid: entry for entry in submission.document_entries}
        self.folders = {folder.entry_uuid: folder for folder in submission.folders}
        self.associations = {item.entry_uuid: item for item in submission.associations}
        self.memberships = [item for item in submission.associations if item.association_type == HAS_MEMBER]
        self.relationships = [
            item for item in submission.associations if item.association_type in RELATIONSHIPS
        ]
        self.own_members = {
            item.target_object
            for item in self.memberships
            if item.source_object == self.submission_set.entry_uuid
        }

    def class_of(self, entry_uuid: str) -> ObjectClass | None:
        """The class of an object of this message, or None when it is none."""
        if entry_uuid in self.entries:
            return ObjectClass.DOCUMENT_ENTRY
        if entry_uuid == self.submission_set.entry_uuid:
            return ObjectClass.SUBMISSION_SET
        if entry_uuid in self.folders:
            return ObjectClass.FOLDER
        return ObjectClass.ASSOCIATION if entry_uuid in self.associations else None

    def references(self) -> list[str]:
        """The ids of other submissions' objects that associations name, in order."""
        ends = chain.from_iterable(
            (item.source_object, item.target_object) for item in self.submission.associations
        )
        return sorted({end for end in ends if self.class_of(end) is None and not is_symbolic(end)})

    def replaced(self) -> list[str]:
        """The ids of the entries that leave the stage, in order."""
        return sorted(
            {item.target_object for item in self.relationships if item.association_type in REPLACING}
        )


# --- first stage: the message itself ------------------------------------------------------------------


def object_types(message: SubmissionIndex) -> Iterator[XdsError]:
    """ITI-42 registers Stable entries (On-Demand ones come by ITI-61)."""
    for entry in message.entries.values():
        if entry.object_type != schemes.STABLE:
            yield wrong_attribute(entry, "objectType", f"objectType must be {schemes.STABLE} (Stable)")


def repository_attributes(message: SubmissionIndex) -> Iterator[XdsError]:
    """A repository registers with the creation time, hash, size and its own id (ITI TF-3 table 4.2.3.2-1)."""
    for entry in message.entries.values():
        attributes = {
            "creationTime": entry.creation_time,
            "hash": entry.hash,
            "size": None if entry.size is None else "given",
            "repositoryUniqueId": entry.repository_unique_id,
        }
        for name, value in attributes.items():
            if not value:
                yield wrong_attribute(entry, name, f"{name} is missing; a repository must give it")


def service_times(message: SubmissionIndex) -> Iterator[XdsError]:
    """A service does not start after it stopped, at the coarser of both precisions."""
    for entry in message.entries.values():
        start, stop = entry.service_start_time, entry.service_stop_time
        if start and stop and start.is_after(stop):
            yield wrong_attribute(
                entry, "serviceStartTime", f"serviceStartTime {start} is after serviceStopTime {stop}"
            )


def unique_ids(message: SubmissionIndex) -> Iterator[XdsError]:
    """Within one submission every uniqueId appears once."""
    used = Counter(nfc(item.unique_id) for item in identified(message))
    for unique_id, times in used.items():
        if times > 1:
            yield DuplicateUniqueIdInMessage(f"the uniqueId {unique_id} is used {times} times")


def patient_ids(message: SubmissionIndex) -> Iterator[XdsError]:
    """Every entry and folder is about the patient of its submission set."""
    patient = message.submission_set.patient_id
    for item in _contents(message):
        if not same_patient(item.patient_id, patient):
            yield PatientIdDoesNotMatch(
                f"patientId {item.patient_id} differs from {patient} of the submission set",
                location=item.entry_uuid,
            )


def association_types(message: SubmissionIndex) -> Iterator[XdsError]:
    """An association is of a type that ITI TF-3 table 4.2.2-1 knows."""
    for item in message.submission.associations:
        if item.association_type not in list(AssociationType):
            yield wrong_association(
                item, f"associationType {item.association_type} is not known; write its full URN"
            )


def metadata_update(message: SubmissionIndex) -> Iterator[XdsError]:
    """What belongs to Metadata Update has no place in ITI-42."""
    for item in message.submission.associations:
        if item.association_type in METADATA_UPDATE:
            yield wrong_association(item, f"{item.association_type} belongs to ITI-57")
        for slot in item.extra_slots:
            if slot.name in schemes.METADATA_UPDATE_SLOTS:
                yield wrong_association(item, f"the slot {slot.name} belongs to ITI-57")
    for thing in _objects(message):
        if thing.logical_id and thing.logical_id != thing.entry_uuid:
            yield MetadataError(
                "lid differs from id; a new version belongs to ITI-57", location=thing.entry_uuid
            )


def members(message: SubmissionIndex) -> Iterator[XdsError]:
    """Every entry and folder is a member of the submission set."""
    for item in _contents(message):
        if item.entry_uuid not in message.own_members:
            yield MetadataError(
                f"{item.entry_uuid} has no HasMember association from the submission set",
                location=item.entry_uuid,
            )


def folder_memberships(message: SubmissionIndex) -> Iterator[XdsError]:
    """Every membership of a folder is itself a member of the submission set."""
    for item in message.memberships:
        folder = item.source_object != message.submission_set.entry_uuid
        if folder and item.entry_uuid not in message.own_members:
            yield wrong_association(
                item, "the folder membership has no HasMember association from the submission set"
            )


def submission_set_status(message: SubmissionIndex) -> Iterator[XdsError]:
    """SubmissionSetStatus is Original for an entry of the message and Reference for a registered one."""
    for item in message.memberships:
        if item.source_object != message.submission_set.entry_uuid:
            continue
        target = message.class_of(item.target_object)
        if target is ObjectClass.DOCUMENT_ENTRY and item.submission_set_status != schemes.ORIGINAL:
            yield wrong_association(
                item, "SubmissionSetStatus must be Original: the document is in this submission"
            )
        if target is None and item.submission_set_status != schemes.REFERENCE:
            yield wrong_association(
                item, "SubmissionSetStatus must be Reference: the target is not in this submission"
            )


def documentation(message: SubmissionIndex) -> Iterator[XdsError]:
    """A code that documents the relationship does not go with a membership."""
    for item in message.memberships:
        if item.documentation:
            yield wrong_association(item, "a HasMember association carries no association documentation")


def ends_in_message(message: SubmissionIndex) -> Iterator[XdsError]:
    """Symbolic ids name objects of the message; a relationship starts at one, and some types end outside."""
    for item in message.submission.associations:
        for end in (item.source_object, item.target_object):
            if is_symbolic(end) and message.class_of(end) is None:
                yield unresolved(item, end, "is no object of the submission")
    for item in message.relationships:
        if message.class_of(item.source_object) is None and not is_symbolic(item.source_object):
            yield unresolved(item, item.source_object, "must be in the submission: the relationship is its")
        if item.association_type in OF_REGISTERED and item.target_object in message.entries:
            yield unresolved(item, item.target_object, "must be registered before")


def forms_in_message(message: SubmissionIndex) -> Iterator[XdsError]:
    """A membership leads from the submission set or a folder, a relationship from document to document.

    What the set collects are memberships of folders and relationships, and not its own memberships.
    """
    for item in message.memberships:
        target = message.associations.get(item.target_object)
        if target is not None and target.source_object == message.submission_set.entry_uuid:
            yield wrong_association(item, "the membership of a submission set is itself no member of one")
        yield from membership_form(
            item, message.class_of(item.source_object), message.class_of(item.target_object)
        )
    for item in message.relationships:
        yield from relationship_form(item, message.class_of(item.source_object))
        yield from relationship_form(item, message.class_of(item.target_object))


def one_replacement(message: SubmissionIndex) -> Iterator[XdsError]:
    """An entry is replaced once: of two replacements the second would replace a deprecated one."""
    replaced = Counter(
        item.target_object for item in message.relationships if item.association_type in REPLACING
    )
    for target, times in replaced.items():
        if times > 1:
            yield RegistryDeprecatedDocument(f"{target} is replaced {times} times", location=target)


#: What holds for every registration.
COMMON_RULES = (
    service_times,
    unique_ids,
    patient_ids,
    association_types,
    metadata_update,
    members,
    folder_memberships,
    submission_set_status,
    documentation,
    ends_in_message,
    forms_in_message,
    one_replacement,
)
#: What holds for ITI-42.
MESSAGE_RULES = (object_types, repository_attributes, *COMMON_RULES)

Rule = Callable[[SubmissionIndex], Iterable[XdsError]]


def errors_in_message(message: SubmissionIndex, rules: Iterable[Rule] = MESSAGE_RULES) -> Iterator[XdsError]:
    """Every error of every rule of the first stage."""
    return chain.from_iterable(rule(message) for rule in rules)


# --- what rules are made of ---------------------------------------------------------------------------


def same_patient(one: str, other: str) -> bool:
    """Whether two CX name one patient: by id and authority, however they are written."""
    if one == other:
        return True
    try:
        return CX.parse(one) == CX.parse(other)
    except ValueError:
        return False


def _contents(message: SubmissionIndex) -> Iterator[DocumentEntry | Folder]:
    yield from message.submission.document_entries
    yield from message.submission.folders


def identified(message: SubmissionIndex) -> Iterator[DocumentEntry | SubmissionSet | Folder]:
    """The objects that have a uniqueId."""
    yield message.submission_set
    yield from _contents(message)


def _objects(message: SubmissionIndex) -> Iterator[RegistryObject]:
    yield from identified(message)
    yield from message.submission.associations


def membership_form(
    item: Association, source: ObjectClass | None, target: ObjectClass | None
) -> Iterator[XdsError]:
    """What is wrong with the classes that a HasMember association joins; None is not known yet."""
    if source is ObjectClass.FOLDER and target not in (ObjectClass.DOCUMENT_ENTRY, None):
        yield wrong_association(item, f"a folder's member is a document, not a {target}")
    elif source is ObjectClass.SUBMISSION_SET and target is ObjectClass.SUBMISSION_SET:
        yield wrong_association(item, "a submission set is no member of another")
    elif source in (ObjectClass.DOCUMENT_ENTRY, ObjectClass.ASSOCIATION):
        yield wrong_association(
            item, f"HasMember leads from a submission set or a folder, not from a {source}"
        )


def relationship_form(item: Association, end: ObjectClass | None) -> Iterator[XdsError]:
    """What is wrong with the class at one end of a relationship; None is not known yet."""
    if end not in (ObjectClass.DOCUMENT_ENTRY, None):
        yield wrong_association(
            item, f"{item.association_type} leads from document to document, not to a {end}"
        )


def wrong_attribute(entry: DocumentEntry, attribute: str, context: str) -> MetadataError:
    """What is wrong with an attribute of an entry."""
    return MetadataError(context, location=f"{entry.entry_uuid}/{attribute}")


def wrong_association(item: Association, context: str) -> MetadataError:
    """What is wrong with an association."""
    return MetadataError(f"the association {item.entry_uuid}: {context}", location=item.entry_uuid)


def unresolved(item: Association, end: str, reason: str) -> UnresolvedReference:
    """What an association names and nobody knows."""
    return UnresolvedReference(f"the association {item.entry_uuid} names {end}, which {reason}", location=end)
