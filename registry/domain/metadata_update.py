"""Updates of metadata as operations, and the rules of the message itself (supplement XDS Metadata Update,
3.57.4.1.3; supplement Restricted Metadata Update, 3.92.4.1.3).

A message is a SubmissionSet with operations: new versions of document entries and folders, changes of status,
and associations between what is registered. The rules of ITI-57 and ITI-92 are nearly the same, their codes
are not (`Codes`). What the registry knows is asked in a second stage (`update_rules`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

from registry.domain.submission import (
    HAS_MEMBER,
    RELATIONSHIPS,
    ObjectClass,
    SubmissionIndex,
    association_types,
    documentation,
    same_patient,
    service_times,
    wrong_attribute,
)
from shared.ebrim import schemes
from shared.ebrim.identifiers import is_symbolic
from shared.ebrim.model import Association, AssociationType, AvailabilityStatus, DocumentEntry, Folder
from shared.errors import (
    InvalidRequest,
    MetadataAnnotationError,
    MetadataIdentifierError,
    MetadataUpdateError,
    MetadataUpdateOperationError,
    ObjectTypeError,
    PatientIdReconciliationError,
    SubmissionError,
    UnmodifiableMetadata,
    XdsError,
)

Versioned = DocumentEntry | Folder

#: The Slots of a HasMember that brings a new version, and those of a change of status.
_ANNOTATIONS = frozenset({schemes.PREVIOUS_VERSION, schemes.ASSOCIATION_PROPAGATION})
_STATUSES = frozenset({schemes.ORIGINAL_STATUS, schemes.NEW_STATUS})
#: What SubmitAssociation may lead to.
SUBMITTED = frozenset({HAS_MEMBER, *RELATIONSHIPS})
_YES_OR_NO = ("yes", "no")
_MAX_DIGITS = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class Codes:
    """The errors by which a transaction answers where ITI-57 and ITI-92 differ."""

    initial_version: type[SubmissionError]
    no_membership: type[SubmissionError]
    annotation: type[SubmissionError]
    unique_id: type[SubmissionError]
    object_type: tuple[type[SubmissionError], ...]


UPDATE = Codes(
    initial_version=MetadataUpdateError,
    no_membership=MetadataUpdateError,
    annotation=MetadataUpdateOperationError,
    unique_id=MetadataUpdateError,
    object_type=(MetadataUpdateError,),
)
RESTRICTED = Codes(
    initial_version=InvalidRequest,
    no_membership=MetadataAnnotationError,
    annotation=MetadataAnnotationError,
    unique_id=MetadataIdentifierError,
    object_type=(ObjectTypeError, UnmodifiableMetadata),
)


# --- operations -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class NewVersion:
    """A new version of a document entry or folder, with the HasMember that brings it."""

    value: Versioned
    membership: Association

    @property
    def previous_version(self) -> int | None:
        """The number of the version that it follows; None when it is absent or no number."""
        return _number(slot_value(self.membership, schemes.PREVIOUS_VERSION))

    @property
    def propagates(self) -> bool:
        """Whether it takes over the associations of the version that it follows."""
        return slot_value(self.membership, schemes.ASSOCIATION_PROPAGATION) != "no"


@dataclass(frozen=True, slots=True)
class StatusUpdate:
    """A change of the availabilityStatus of what `trigger` leads to."""

    trigger: Association

    @property
    def target(self) -> str:
        """The id of the object."""
        return self.trigger.target_object

    @property
    def original_status(self) -> str:
        """The status that the object must have."""
        return slot_value(self.trigger, schemes.ORIGINAL_STATUS)

    @property
    def new_status(self) -> str:
        """The status that it shall have."""
        return slot_value(self.trigger, schemes.NEW_STATUS)


@dataclass(frozen=True, slots=True)
class NewAssociation:
    """An association between registered objects, with the trigger that submits it."""

    association: Association
    trigger: Association


class Update:
    """A message with its operations."""

    def __init__(self, message: SubmissionIndex) -> None:
        self.message = message
        self.submission_set = message.submission_set
        self.values: dict[str, Versioned] = {**message.entries, **message.folders}
        self.status_updates = [
            StatusUpdate(item) for item in self._of_type(AssociationType.UPDATE_AVAILABILITY_STATUS)
        ]
        self.submits = self._of_type(AssociationType.SUBMIT_ASSOCIATION)
        self._memberships: dict[str, list[Association]] = {}
        for item in message.memberships:
            if item.source_object == self.submission_set.entry_uuid:
                self._memberships.setdefault(item.target_object, []).append(item)

    def _of_type(self, association_type: AssociationType) -> list[Association]:
        return [
            item for item in self.message.submission.associations if item.association_type == association_type
        ]

    def memberships_of(self, entry_uuid: str) -> list[Association]:
        """The HasMember associations from the submission set to an object of the message."""
        return self._memberships.get(entry_uuid, [])

    @cached_property
    def new_versions(self) -> list[NewVersion]:
        """The new versions, each with its first membership."""
        return [
            NewVersion(value, memberships[0])
            for value in self.values.values()
            if (memberships := self.memberships_of(value.entry_uuid))
        ]

    @cached_property
    def new_associations(self) -> list[NewAssociation]:
        """The associations that a trigger submits."""
        return [
            NewAssociation(association, trigger)
            for trigger in self.submits
            if (association := self.message.associations.get(trigger.target_object)) is not None
            and association.association_type in SUBMITTED
        ]

    @cached_property
    def logical_ids(self) -> list[str]:
        """The lineages of the new versions, in order."""
        return sorted({value.logical_id for value in self.values.values()})


def slot_value(association: Association, name: str) -> str:
    """The value of a Slot of an association; empty when there is none, or several."""
    for slot in association.extra_slots:
        if slot.name == name and len(slot.values) == 1:
            return slot.values[0].strip()
    return ""


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS else None


# --- rules: new versions --------------------------------------------------------------------------------


def initial_versions(update: Update, codes: Codes) -> Iterator[XdsError]:
    """What is updated names its lineage: the logicalID of a version that is registered."""
    for value in update.values.values():
        if not value.logical_id or value.logical_id == value.entry_uuid:
            yield codes.initial_version(
                f"{value.entry_uuid} is a first version; name the logicalID of the one to update in lid",
                location=value.entry_uuid,
            )


def one_version_each(update: Update, codes: Codes) -> Iterator[XdsError]:
    """A message brings one new version of an object."""
    used = Counter(value.logical_id for value in update.values.values() if value.logical_id)
    for logical_id, times in used.items():
        if times > 1:
            yield MetadataUpdateOperationError(
                f"the message brings {times} new versions of {logical_id}; give one", location=logical_id
            )


def memberships(update: Update, codes: Codes) -> Iterator[XdsError]:
    """Each new version is a member of the submission set, once."""
    for entry_uuid in update.values:
        associations = update.memberships_of(entry_uuid)
        if not associations:
            yield codes.no_membership(
                f"{entry_uuid} has no HasMember association from the submission set", location=entry_uuid
            )
        elif len(associations) > 1:
            yield codes.annotation(
                f"{entry_uuid} has {len(associations)} HasMember associations from the submission set;"
                " give one",
                location=entry_uuid,
            )


def annotated_memberships(update: Update, codes: Codes) -> Iterator[XdsError]:
    """The HasMember of a new version says which version it follows, and whether associations come along."""
    for new in update.new_versions:
        for wrong in _wrong_annotations(new):
            yield codes.annotation(
                f"the HasMember {new.membership.entry_uuid} of {new.value.entry_uuid}: {wrong}",
                location=new.membership.entry_uuid,
            )


def _wrong_annotations(new: NewVersion) -> Iterator[str]:
    if new.previous_version is None:
        yield "PreviousVersion must be one number, that of the version to follow"
    propagation = _given(new.membership, schemes.ASSOCIATION_PROPAGATION)
    if propagation and slot_value(new.membership, schemes.ASSOCIATION_PROPAGATION) not in _YES_OR_NO:
        yield "AssociationPropagation must be yes or no"
    original = isinstance(new.value, DocumentEntry)
    if original and new.membership.submission_set_status != schemes.ORIGINAL:
        yield "SubmissionSetStatus must be Original"
    yield from (f"the Slot {name} has no place here" for name in foreign_slots(new.membership, _ANNOTATIONS))


def _given(association: Association, name: str) -> bool:
    return any(slot.name == name for slot in association.extra_slots)


def foreign_slots(association: Association, names: frozenset[str]) -> list[str]:
    """The Slots of an association that are none of `names`: what it asks for is then not understood."""
    return [slot.name for slot in association.extra_slots if slot.name not in names]


def complete_versions(update: Update, codes: Codes) -> Iterator[XdsError]:
    """A new version is a whole entry; an On-Demand one has no creationTime, hash and size."""
    for entry in update.message.entries.values():
        content = {
            "creationTime": entry.creation_time is not None,
            "hash": bool(entry.hash),
            "size": entry.size is not None,
        }
        stable = entry.object_type == schemes.STABLE
        for name, content_of_id in content.items():
            if content_of_id != stable:
                wrong = "is missing" if stable else "has no place in an On-Demand entry"
                yield wrong_attribute(entry, name, f"{entry.entry_uuid}: {name} {wrong}")
        if not entry.repository_unique_id:
            yield wrong_attribute(
                entry, "repositoryUniqueId", f"{entry.entry_uuid}: repositoryUniqueId is missing"
            )


def patients_within(update: Update, codes: Codes) -> Iterator[XdsError]:
    """A new version is about the patient of its submission set."""
    patient = update.submission_set.patient_id
    for value in update.values.values():
        if not same_patient(value.patient_id, patient):
            yield PatientIdReconciliationError(
                f"{value.entry_uuid} is about {value.patient_id}, the submission set about {patient}",
                location=value.entry_uuid,
            )


def metadata(update: Update, codes: Codes) -> Iterator[XdsError]:
    """Times, types and documentation are as in any submission."""
    for rule in (service_times, association_types, documentation):
        yield from rule(update.message)


# --- rules: the other operations ------------------------------------------------------------------------


def operations(update: Update, codes: Codes) -> Iterator[XdsError]:
    """Everything in the message is part of an operation, and there is one."""
    submitted = Counter(trigger.target_object for trigger in update.submits)
    for item in update.message.submission.associations:
        if item.association_type == HAS_MEMBER and item.source_object == update.submission_set.entry_uuid:
            if item.target_object not in update.values:
                yield not_an_operation(
                    item, f"the HasMember leads to {item.target_object}, which is no new version"
                )
        elif item.association_type in SUBMITTED and submitted[item.entry_uuid] != 1:
            yield not_an_operation(item, "one SubmitAssociation must lead to it")
    if not (update.values or update.message.submission.associations):
        yield MetadataUpdateOperationError(
            f"the submission set {update.submission_set.entry_uuid} comes without any operation",
            location=update.submission_set.entry_uuid,
        )


def not_an_operation(item: Association, why: str) -> MetadataUpdateOperationError:
    """An association that belongs to no operation."""
    return MetadataUpdateOperationError(f"the association {item.entry_uuid}: {why}", location=item.entry_uuid)


def triggers(update: Update, codes: Codes) -> Iterator[XdsError]:
    """An operation is triggered by the submission set of the message, and by its own Slots alone."""
    for trigger in update.submits:
        yield from _foreign(trigger, foreign_slots(trigger, frozenset()))
    for change in update.status_updates:
        yield from _foreign(change.trigger, foreign_slots(change.trigger, _STATUSES))
    for new in update.new_associations:
        # Extra metadata is its own.
        slots = foreign_slots(new.association, frozenset())
        yield from _foreign(
            new.association, [name for name in slots if name in schemes.METADATA_UPDATE_SLOTS]
        )
    for trigger in (*update.submits, *(change.trigger for change in update.status_updates)):
        if trigger.source_object != update.submission_set.entry_uuid:
            yield wrong_update(trigger, "it must lead from the submission set of the message")


def _foreign(item: Association, names: Iterable[str]) -> Iterator[XdsError]:
    return (not_an_operation(item, f"the Slot {name} has no place here") for name in names)


def wrong_update(item: Association, why: str) -> MetadataUpdateError:
    """An operation that is against the rules."""
    return MetadataUpdateError(
        f"the {item.association_type} {item.entry_uuid} to {item.target_object}: {why}",
        location=item.entry_uuid,
    )


def status_values(update: Update, codes: Codes) -> Iterator[XdsError]:
    """A change of status names two statuses, of the two that there are."""
    for change in update.status_updates:
        for name, status in (
            (schemes.ORIGINAL_STATUS, change.original_status),
            (schemes.NEW_STATUS, change.new_status),
        ):
            if status not in list(AvailabilityStatus):
                yield wrong_update(change.trigger, f"{name} must be one of {', '.join(AvailabilityStatus)}")


def status_targets(update: Update, codes: Codes) -> Iterator[XdsError]:
    """Within the message, a change of status is about a new version or a new association."""
    changed = Counter(change.target for change in update.status_updates)
    submitted = {new.association.entry_uuid for new in update.new_associations}
    for change in update.status_updates:
        target = change.target
        within = update.message.class_of(target) is not None
        if within and target not in update.values and target not in submitted:
            yield wrong_update(change.trigger, "the status of that object cannot be changed")
        if not within and is_symbolic(target):
            yield wrong_update(change.trigger, "there is no such object in the message")
        if changed[target] > 1:
            yield not_an_operation(change.trigger, f"the status of {target} is changed more than once")


def submitted_associations(update: Update, codes: Codes) -> Iterator[XdsError]:
    """SubmitAssociation leads to an association of the message, which leads from registered objects to
    registered objects, or to new versions that take no associations along.
    """
    for trigger in update.submits:
        item = update.message.associations.get(trigger.target_object)
        if item is None or item.association_type not in SUBMITTED:
            yield wrong_update(trigger, "it must lead to a membership or relationship of the message")
    propagating = {new.value.entry_uuid for new in update.new_versions if new.propagates}
    for new in update.new_associations:
        for end in (new.association.source_object, new.association.target_object):
            if end in propagating:
                yield not_an_operation(
                    new.association,
                    f"{end} takes its associations along; set AssociationPropagation to no for it",
                )
            yield from _wrong_end(update, new, end)


def _wrong_end(update: Update, new: NewAssociation, end: str) -> Iterator[XdsError]:
    of_message = update.message.class_of(end)
    if of_message in (ObjectClass.SUBMISSION_SET, ObjectClass.ASSOCIATION):
        yield wrong_update(new.association, f"{end} is no document and no folder")
    elif of_message is None and is_symbolic(end):
        yield wrong_update(new.association, f"{end} must be the UUID of a registered object")


UPDATE_RULES = (
    initial_versions,
    one_version_each,
    memberships,
    annotated_memberships,
    complete_versions,
    patients_within,
    metadata,
    operations,
    triggers,
    status_values,
    status_targets,
    submitted_associations,
)


def errors_in_update(update: Update) -> Iterator[XdsError]:
    """Every error of every rule of the first stage of ITI-57."""
    return chain.from_iterable(rule(update, UPDATE) for rule in UPDATE_RULES)
