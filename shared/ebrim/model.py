"""Metadata values of Document Sharing (ITI TF-3 4.1 and 4.2); names are the standard's, in snake case.

A value may still carry symbolic ids (`entry_uuid` not starting with `urn:uuid:`) while it belongs to a
submission; what a registry stores has none. Strings are as on the wire; typed views of CX, XCN and OID are in
`identifiers`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from functools import total_ordering


class AvailabilityStatus(StrEnum):
    """Status of a registered object."""

    APPROVED = "urn:oasis:names:tc:ebxml-regrep:StatusType:Approved"
    DEPRECATED = "urn:oasis:names:tc:ebxml-regrep:StatusType:Deprecated"


class AssociationType(StrEnum):
    """The association types of ITI TF-3 4.2.2; XDS.b demands full URNs."""

    HAS_MEMBER = "urn:oasis:names:tc:ebxml-regrep:AssociationType:HasMember"
    RPLC = "urn:ihe:iti:2007:AssociationType:RPLC"
    XFRM = "urn:ihe:iti:2007:AssociationType:XFRM"
    APND = "urn:ihe:iti:2007:AssociationType:APND"
    XFRM_RPLC = "urn:ihe:iti:2007:AssociationType:XFRM_RPLC"
    SIGNS = "urn:ihe:iti:2007:AssociationType:signs"
    IS_SNAPSHOT_OF = "urn:ihe:iti:2010:AssociationType:IsSnapshotOf"
    UPDATE_AVAILABILITY_STATUS = "urn:ihe:iti:2010:AssociationType:UpdateAvailabilityStatus"
    SUBMIT_ASSOCIATION = "urn:ihe:iti:2010:AssociationType:SubmitAssociation"


@dataclass(frozen=True, slots=True)
class Code:
    """A coded value; two codes are the same when `value` and `scheme` are."""

    value: str
    scheme: str
    display_name: str = field(default="", compare=False)

    def __str__(self) -> str:
        """`value^^scheme`, the spelling of a code in stored queries."""
        return f"{self.value}^^{self.scheme}"


@total_ordering
@dataclass(frozen=True, slots=True)
class Timestamp:
    """A DTM (ITI TF-3 table 4.2.3.1.7-2): 4 to 14 digits in UTC, with the precision they were given in.

    Two timestamps compare by the earliest second that they can mean.
    """

    digits: str

    @classmethod
    def of(cls, moment: datetime) -> Timestamp:
        """`moment` (aware) to the second."""
        return cls(moment.astimezone(UTC).strftime("%Y%m%d%H%M%S"))

    @property
    def earliest(self) -> str:
        """Fourteen digits; what is absent is filled with the lowest value."""
        return self.digits + "00000101000000"[len(self.digits) :]

    def __str__(self) -> str:
        return self.digits

    def __lt__(self, other: Timestamp) -> bool:
        return self.earliest < other.earliest


@dataclass(frozen=True, slots=True)
class Slot:
    """A named list of values: how ebRIM carries what has no place of its own."""

    name: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Author:
    """One author (ITI TF-3 4.2.3.2.1): XCN, XON, coded or plain strings, XTN, as on the wire."""

    person: str = ""
    institutions: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    specialties: tuple[str, ...] = ()
    telecommunications: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentEntry:
    """One DocumentEntry (ITI TF-3 4.2.3.2).

    `size` is in bytes, `hash` the hexadecimal SHA-1 of the document as sent; both, and `creation_time`, are absent
    from On-Demand entries, `repository_unique_id` may be absent from what a Document Source sends.
    `extra_slots` keeps what the standard does not define, in order. `logical_id` and `version` are the registry's.
    """

    entry_uuid: str
    unique_id: str
    patient_id: str
    class_code: Code
    type_code: Code
    format_code: Code
    healthcare_facility_type_code: Code
    practice_setting_code: Code
    confidentiality_codes: tuple[Code, ...]
    mime_type: str
    language_code: str
    source_patient_id: str
    object_type: str = "urn:uuid:7edca82f-054d-47f2-a032-9b2a5b5186c1"
    creation_time: Timestamp | None = None
    authors: tuple[Author, ...] = ()
    event_codes: tuple[Code, ...] = ()
    title: str = ""
    comments: str = ""
    hash: str = ""
    size: int | None = None
    repository_unique_id: str = ""
    home_community_id: str = ""
    legal_authenticator: str = ""
    service_start_time: Timestamp | None = None
    service_stop_time: Timestamp | None = None
    source_patient_info: tuple[str, ...] = ()
    reference_ids: tuple[str, ...] = ()
    uri: str = ""
    document_availability: str = ""
    extra_slots: tuple[Slot, ...] = ()
    availability_status: AvailabilityStatus = AvailabilityStatus.APPROVED
    logical_id: str = ""
    version: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmissionSet:
    """One SubmissionSet (ITI TF-3 4.2.3.3)."""

    entry_uuid: str
    unique_id: str
    patient_id: str
    source_id: str
    submission_time: Timestamp
    content_type_code: Code
    authors: tuple[Author, ...] = ()
    intended_recipients: tuple[str, ...] = ()
    title: str = ""
    comments: str = ""
    home_community_id: str = ""
    extra_slots: tuple[Slot, ...] = ()
    availability_status: AvailabilityStatus = AvailabilityStatus.APPROVED


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """One Folder (ITI TF-3 4.2.3.4); `last_update_time` is the registry's."""

    entry_uuid: str
    unique_id: str
    patient_id: str
    title: str
    codes: tuple[Code, ...]
    comments: str = ""
    last_update_time: Timestamp | None = None
    home_community_id: str = ""
    extra_slots: tuple[Slot, ...] = ()
    availability_status: AvailabilityStatus = AvailabilityStatus.APPROVED
    logical_id: str = ""
    version: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Association:
    """One Association (ITI TF-3 4.2.2); `submission_set_status` is Original, Reference or empty.

    `association_type` is kept as sent, so that an unknown one can be named in the error.
    """

    entry_uuid: str
    association_type: str
    source_object: str
    target_object: str
    submission_set_status: str = ""
    documentation: tuple[Code, ...] = ()
    extra_slots: tuple[Slot, ...] = ()
    availability_status: AvailabilityStatus = AvailabilityStatus.APPROVED


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """What one ITI-41, 42, 57, 61 or 92 message carries."""

    submission_set: SubmissionSet
    document_entries: tuple[DocumentEntry, ...] = ()
    folders: tuple[Folder, ...] = ()
    associations: tuple[Association, ...] = ()


RegistryObject = DocumentEntry | SubmissionSet | Folder | Association
