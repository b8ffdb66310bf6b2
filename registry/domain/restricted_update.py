"""The rules of ITI-92 that ITI-57 does not have (supplement Restricted Metadata Update, 3.92.4.1.3)."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from itertools import chain

from registry.domain.metadata_update import (
    RESTRICTED,
    SUBMITTED,
    Codes,
    Update,
    annotated_memberships,
    complete_versions,
    initial_versions,
    memberships,
    metadata,
    not_an_operation,
    one_version_each,
    operations,
    patients_within,
    slot_value,
    wrong_update,
)
from registry.domain.submission import HAS_MEMBER, same_patient
from registry.domain.update_rules import SHARED_RULES, errors_against
from registry.domain.versions import UpdateState, followed
from shared.ebrim import schemes
from shared.ebrim.model import DocumentEntry
from shared.errors import (
    LocalPolicyRestriction,
    MetadataAnnotationError,
    ObjectTypeError,
    PatientIdReconciliationError,
    UnmodifiableMetadata,
    XdsError,
)

#: The attributes that a local policy may fix, by their names in the standard.
ATTRIBUTES: Mapping[str, str] = {
    "author": "authors",
    "classCode": "class_code",
    "comments": "comments",
    "confidentialityCode": "confidentiality_codes",
    "creationTime": "creation_time",
    "eventCodeList": "event_codes",
    "formatCode": "format_code",
    "hash": "hash",
    "healthcareFacilityTypeCode": "healthcare_facility_type_code",
    "languageCode": "language_code",
    "legalAuthenticator": "legal_authenticator",
    "mimeType": "mime_type",
    "practiceSettingCode": "practice_setting_code",
    "referenceIdList": "reference_ids",
    "serviceStartTime": "service_start_time",
    "serviceStopTime": "service_stop_time",
    "size": "size",
    "sourcePatientInfo": "source_patient_info",
    "title": "title",
    "typeCode": "type_code",
    "URI": "uri",
}


# --- first stage ----------------------------------------------------------------------------------------


def first_versions(update: Update, codes: Codes) -> Iterator[XdsError]:
    """A new version names its lineage, or leaves that to its uniqueId."""
    return (error for error in initial_versions(update, codes) if update.values[error.location].logical_id)


def documents_alone(update: Update, codes: Codes) -> Iterator[XdsError]:
    """A restricted update brings new versions of document entries, and nothing else."""
    for folder_id in update.message.folders:
        yield ObjectTypeError(f"the folder {folder_id} cannot be updated by ITI-92", location=folder_id)
    for change in update.status_updates:
        yield UnmodifiableMetadata(
            f"the availabilityStatus of {change.target} cannot be changed by ITI-92",
            location=change.trigger.entry_uuid,
        )
    for trigger in update.submits:
        yield wrong_update(trigger, "ITI-92 submits no association")
    submitted = {trigger.target_object for trigger in update.submits}
    for item in update.message.submission.associations:
        own = item.association_type == HAS_MEMBER and item.source_object == update.submission_set.entry_uuid
        if item.association_type in SUBMITTED and not own and item.entry_uuid not in submitted:
            yield not_an_operation(item, "ITI-92 submits no association")


def operations_alone(update: Update, codes: Codes) -> Iterator[XdsError]:
    """Everything that the submission set holds is a new version, and there is one."""
    submitted = {item.entry_uuid for item in update.message.submission.associations}
    submitted -= {item.entry_uuid for item in update.message.memberships}
    return (error for error in operations(update, codes) if error.location not in submitted)


def propagations(update: Update, codes: Codes) -> Iterator[XdsError]:
    """The associations of an entry come along with its new version."""
    for new in update.new_versions:
        if slot_value(new.membership, schemes.ASSOCIATION_PROPAGATION) == "no":
            yield MetadataAnnotationError(
                f"the HasMember {new.membership.entry_uuid} of {new.value.entry_uuid}: "
                "AssociationPropagation cannot be no in ITI-92",
                location=new.membership.entry_uuid,
            )


MESSAGE_RULES = (
    first_versions,
    one_version_each,
    memberships,
    annotated_memberships,
    propagations,
    complete_versions,
    patients_within,
    metadata,
    documents_alone,
    operations_alone,
)


def errors_in_restricted_update(update: Update) -> Iterator[XdsError]:
    """Every error of every rule of the first stage of ITI-92."""
    return chain.from_iterable(rule(update, RESTRICTED) for rule in MESSAGE_RULES)


# --- second stage ---------------------------------------------------------------------------------------


def _entries(update: Update, state: UpdateState) -> Iterator[tuple[DocumentEntry, DocumentEntry]]:
    for new, latest in followed(update, state):
        if isinstance(new.value, DocumentEntry) and isinstance(latest, DocumentEntry):
            yield new.value, latest


def same_patients(update: Update, state: UpdateState, codes: Codes) -> Iterator[XdsError]:
    """A restricted update does not change the patient."""
    for entry, latest in _entries(update, state):
        if not same_patient(entry.patient_id, latest.patient_id):
            yield PatientIdReconciliationError(
                f"{entry.entry_uuid}: the patientId of {entry.logical_id} is {latest.patient_id} and cannot "
                f"become {entry.patient_id}",
                location=f"{entry.entry_uuid}/patientId",
            )


def unmodifiable(update: Update, state: UpdateState, codes: Codes) -> Iterator[XdsError]:
    """Nor where the document is, whether it can be had, and how its source knows the patient."""
    for entry, latest in _entries(update, state):
        changed = {
            "sourcePatientId": not same_patient(entry.source_patient_id, latest.source_patient_id),
            "repositoryUniqueId": entry.repository_unique_id != latest.repository_unique_id,
            "documentAvailability": _availability(entry) != _availability(latest),
        }
        for name, differs in changed.items():
            if differs:
                yield UnmodifiableMetadata(
                    f"{entry.entry_uuid}: the {name} of {entry.logical_id} cannot be changed by ITI-92",
                    location=f"{entry.entry_uuid}/{name}",
                )


def _availability(entry: DocumentEntry) -> str:
    return entry.document_availability or schemes.ONLINE


def clear_lineages(update: Update, state: UpdateState, codes: Codes) -> Iterator[XdsError]:
    """A uniqueId that stands for a logicalID is that of one lineage, which is updated once."""
    for entry_uuid in sorted(state.ambiguous):
        yield codes.unique_id(
            f"{entry_uuid}: several entries have its uniqueId; name the logicalID in lid", location=entry_uuid
        )
    yield from one_version_each(update, codes)


RULES = (*SHARED_RULES, clear_lineages, same_patients, unmodifiable)


def errors_of_restricted_update(
    update: Update, state: UpdateState, fixed: Collection[str] = ()
) -> Iterator[XdsError]:
    """Every error of every rule of the second stage; `fixed` attributes may not change by local policy."""
    yield from errors_against(update, state, RESTRICTED, RULES)
    for entry, latest in _entries(update, state):
        for name in fixed:
            if getattr(entry, ATTRIBUTES[name]) != getattr(latest, ATTRIBUTES[name]):
                yield LocalPolicyRestriction(
                    f"{entry.entry_uuid}: the policy of this registry forbids to change the {name} of "
                    f"{entry.logical_id}",
                    location=f"{entry.entry_uuid}/{name}",
                )
