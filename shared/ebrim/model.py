"""Metadata values of Document Sharing (ITI TF-3 4.1 and 4.2); names are the standard's, in snake case.

A value may still carry symbolic ids (`entry_uuid` not starting with `urn:uuid:`) while it belongs to a
submission; what a registry stores has none. Strings are as on the wire; typed views of CX, XCN and OID are in
`identifiers`. A value that XML 1.0 cannot carry is refused when it is made (`UnencodableText`), so that
encoding cannot fail.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Self

_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class UnencodableText(ValueError):
    """A character that XML 1.0 forbids (control characters, lone surrogates); the text names it and no
    content."""


def _encodable(*texts: str) -> None:
    for text in texts:
        # isprintable() runs at the speed of C and clears nearly every value.
        if not text.isprintable() and (match := _FORBIDDEN.search(text)):
            raise UnencodableText(f"U+{ord(match[0]):04X} cannot be written in XML; leave it out")


class LocalizedText(str):
    """A title or comments in named languages: as a text what was said first, in `strings` every pair of
    language and text in its order; a language that was not named is empty.
    """

    __slots__ = ("strings",)
    strings: tuple[tuple[str, str], ...]

    def __new__(cls, *strings: tuple[str, str]) -> Self:
        """The text of at least one string; raises `UnencodableText`."""
        _encodable(*(text for _, text in strings))
        made = super().__new__(cls, strings[0][1])
        made.strings = strings
        return made

    def __getnewargs__(self) -> tuple[tuple[str, str], ...]:  # type: ignore[override]
        """How it is made again from a copy."""
        return self.strings


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

    def __post_init__(self) -> None:
        _encodable(self.value, self.scheme, self.display_name)

    def __str__(self) -> str:
        """`value^^scheme`, the spelling of a code in stored queries."""
        return f"{self.value}^^{self.scheme}"


@dataclass(frozen=True, slots=True)
class Timestamp:
    """A DTM (ITI TF-3 table 4.2.3.1.7-2): 4 to 14 digits in UTC, with the precision they were given in.

    Two timestamps are equal when precision and digits are; they are ordered by the earliest second that they
    can mean. Whether the digits are a date of the calendar is told by `identifiers.is_dtm`.
    """

    digits: str

    def __post_init__(self) -> None:
        if not (self.digits.isascii() and self.digits.isdigit() and 4 <= len(self.digits) <= 14):
            raise ValueError("a time is YYYY[MM[DD[hh[mm[ss]]]]] in digits")

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

    def __le__(self, other: Timestamp) -> bool:
        return self.earliest <= other.earliest

    def __gt__(self, other: Timestamp) -> bool:
        return self.earliest > other.earliest

    def __ge__(self, other: Timestamp) -> bool:
        return self.earliest >= other.earliest

    def is_after(self, other: Timestamp) -> bool:
        """Tell whether this is later at the coarser of both precisions: 2024 is not after 20240305."""
        shared = min(len(self.digits), len(other.digits))
        return self.digits[:shared] > other.digits[:shared]


@dataclass(frozen=True, slots=True)
class Slot:
    """A named list of values: how ebRIM carries what has no place of its own."""

    name: str
    values: tuple[str, ...]

    def __post_init__(self) -> None:
        _encodable(self.name, *self.values)


@dataclass(frozen=True, slots=True, kw_only=True)
class Author:
    """One author (ITI TF-3 4.2.3.2.1): XCN, XON, coded or plain strings, XTN, as on the wire."""

    person: str = ""
    institutions: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    specialties: tuple[str, ...] = ()
    telecommunications: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _encodable(self.person, *self.institutions, *self.roles, *self.specialties, *self.telecommunications)


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentEntry:
    """One DocumentEntry (ITI TF-3 4.2.3.2).

    `size` is in bytes, `hash` the hexadecimal SHA-1 of the document as sent; both, and `creation_time`, are
    absent from On-Demand entries, `repository_unique_id` may be absent from what a Document Source sends.
    `extra_slots` keeps what the standard does not define, in order. `logical_id` and `version` are the
    registry's.
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

    def __post_init__(self) -> None:
        _encodable(
            self.entry_uuid,
            self.unique_id,
            self.patient_id,
            self.mime_type,
            self.language_code,
            self.source_patient_id,
            self.object_type,
            self.title,
            self.comments,
            self.hash,
            self.repository_unique_id,
            self.home_community_id,
            self.legal_authenticator,
            self.uri,
            self.document_availability,
            self.logical_id,
            *self.source_patient_info,
            *self.reference_ids,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmissionSet:
    """One SubmissionSet (ITI TF-3 4.2.3.3); a `logical_id` other than `entry_uuid` belongs to Metadata
    Update."""

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
    logical_id: str = ""

    def __post_init__(self) -> None:
        _encodable(
            self.entry_uuid,
            self.unique_id,
            self.patient_id,
            self.source_id,
            self.title,
            self.comments,
            self.home_community_id,
            self.logical_id,
            *self.intended_recipients,
        )


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

    def __post_init__(self) -> None:
        _encodable(
            self.entry_uuid,
            self.unique_id,
            self.patient_id,
            self.title,
            self.comments,
            self.home_community_id,
            self.logical_id,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Association:
    """One Association (ITI TF-3 4.2.2); `submission_set_status` is Original, Reference or empty.

    `association_type` and `submission_set_status` are kept as sent, so that a wrong one can be named in the
    error. The slots of Metadata Update (`schemes.METADATA_UPDATE_SLOTS`) stand in `extra_slots`.
    """

    entry_uuid: str
    association_type: str
    source_object: str
    target_object: str
    submission_set_status: str = ""
    documentation: tuple[Code, ...] = ()
    home_community_id: str = ""
    extra_slots: tuple[Slot, ...] = ()
    availability_status: AvailabilityStatus = AvailabilityStatus.APPROVED
    logical_id: str = ""

    def __post_init__(self) -> None:
        _encodable(
            self.entry_uuid,
            self.association_type,
            self.source_object,
            self.target_object,
            self.submission_set_status,
            self.home_community_id,
            self.logical_id,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """What one ITI-41, 42, 57, 61 or 92 message carries."""

    submission_set: SubmissionSet
    document_entries: tuple[DocumentEntry, ...] = ()
    folders: tuple[Folder, ...] = ()
    associations: tuple[Association, ...] = ()


RegistryObject = DocumentEntry | SubmissionSet | Folder | Association
