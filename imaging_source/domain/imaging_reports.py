"""Reports of studies as a department sends them: which document, of which study, and how it stands (RAD TF-2
4.128; HL7 v2 chapters 7 and 9)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from uuid import UUID, uuid5

from shared.ebrim.model import Code

_DERIVED: Final = UUID("5d2a4a0e-6f0a-5a5e-9d43-0d6b1e5f7c21")


class ReportKind(StrEnum):
    """What a document is; the value is its name in settings."""

    PDF = "pdf"
    TEXT = "text"
    CDA = "cda"
    CDA_PDF = "cda-pdf"

    @property
    def mime_type(self) -> str:
        """The mimeType of its entry."""
        return "application/pdf" if self is ReportKind.PDF else "text/xml"


class ReportStatus(StrEnum):
    """What a message says of a report (HL7 tables 0123, 0085 and 0271)."""

    PRELIMINARY = "preliminary"
    FINAL = "final"
    CORRECTED = "corrected"
    CANCELLED = "cancelled"


class UnreadableReport(ValueError):
    """A document is not what it is said to be; the text says why, and repeats nothing of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportedPatient:
    """Whom a message names: an id with its authority's OID, a name by its parts, day of birth and sex."""

    identifier: str
    authority: str
    family: str = ""
    given_name: str = ""
    birth_date: str = ""
    sex: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderNumber:
    """A placer's or filler's order number (EI), with who issued it."""

    value: str
    namespace: str = ""
    oid: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportContent:
    """A document within a message: `octets`, or of kind `TEXT` the `text` that is wrapped yet.

    `unique_id`, `title`, `code` and `effective_time` (TS) are what the document says of itself.
    """

    kind: ReportKind
    octets: bytes = b""
    text: str = ""
    unique_id: str = ""
    title: str = ""
    code: Code | None = None
    effective_time: str = ""

    @property
    def digest(self) -> str:
        """SHA-256 of what was sent."""
        return hashlib.sha256(self.octets or self.text.encode()).hexdigest()


#: Reads a CDA document; raises `UnreadableReport`.
ReadDocument = Callable[[bytes], ReportContent]


@dataclass(frozen=True, slots=True, kw_only=True)
class SentReport:
    """One report of a message.

    `key` names it for as long as it lives, `parent` the report that it is an addendum to, `replaces` one
    whose place it takes, each by what its sender calls it. `number` is its document number (TXA-12) in the
    form of a uniqueId where it has one. `created` is a TS; `author` and `signer` are XCN; the scheme of
    `procedure` is what the message names as such. `confidentiality` are codes of HL7 table 0272.
    """

    key: str
    status: ReportStatus
    study_instance_uid: str = ""
    accession_number: str = ""
    parent: str = ""
    replaces: str = ""
    number: str = ""
    placer: OrderNumber | None = None
    procedure: Code | None = None
    created: str = ""
    author: str = ""
    signer: str = ""
    confidentiality: str = ""
    contents: tuple[ReportContent, ...] = ()


def derived_unique_id(key: str, part: int, digest: str) -> str:
    """A uniqueId (2.25) for a document that has none of its own: the same for the same report and bytes."""
    return f"2.25.{uuid5(_DERIVED, f'{key} {part} {digest}').int}"


class ReportState(StrEnum):
    """What is known of a document of a report.

    `waiting` is not registered yet, `published` is, `replaced` was until a later version took its place or
    was overtaken by one, `withdrawn` is registered no more and will not be; `refused` waits for a person.
    """

    WAITING = "waiting"
    PUBLISHED = "published"
    REPLACED = "replaced"
    WITHDRAWN = "withdrawn"
    REFUSED = "refused"


class ReportObstacle(StrEnum):
    """Why a report is not registered, as far as it is not the registry that says so."""

    NO_STUDY = "no-study"
    NO_MANIFEST = "no-manifest"
    NO_PARENT = "no-parent"
    OTHER_PATIENT = "other-patient"
    ENDED_BY_OTHERS = "ended-by-others"
    GIVEN_AWAY = "given-away"

    @property
    def explanation(self) -> str:
        """In a sentence, with what would help."""
        return _EXPLANATIONS[self]

    @property
    def needs_person(self) -> bool:
        """Whether it will not pass by itself."""
        return self in _FOR_PERSONS


def needs_person(state: ReportState, obstacle: ReportObstacle | None) -> bool:
    """Whether a document of a report is not registered, and will not be by itself."""
    if state is ReportState.WAITING:
        return obstacle is not None and obstacle.needs_person
    return state is ReportState.REFUSED


_FOR_PERSONS: Final = frozenset(
    {ReportObstacle.OTHER_PATIENT, ReportObstacle.ENDED_BY_OTHERS, ReportObstacle.GIVEN_AWAY}
)
_EXPLANATIONS: Final = {
    ReportObstacle.NO_STUDY: (
        "no study is here that it names; it goes by itself when the images come and are published, or xdsi "
        "reports --accept REPORT --study STUDY_UID says which study is meant"
    ),
    ReportObstacle.NO_MANIFEST: (
        "the manifest of its study is not registered (xdsi publish STUDY_UID --status tells why); it goes by "
        "itself when that is"
    ),
    ReportObstacle.NO_PARENT: (
        "the report that it is an addendum to is not registered yet; it goes after that"
    ),
    ReportObstacle.OTHER_PATIENT: (
        "it is set aside: the study is of another patient than PID-3 names; have the department send it "
        "again for the right one, or decide: xdsi reports --accept REPORT takes the study's patient for it, "
        "xdsi reports --withdraw REPORT drops it"
    ),
    ReportObstacle.ENDED_BY_OTHERS: (
        "others deprecated, replaced or removed its entry, which may have been meant; xdsi reports --retry "
        "REPORT registers it again, xdsi reports --withdraw REPORT lets it be"
    ),
    ReportObstacle.GIVEN_AWAY: (
        "others gave its entry to another patient than that of its study's manifest, where it is registered "
        "now; xdsi reports --retry REPORT brings it back to its images, xdsi reports --withdraw REPORT "
        "withdraws it"
    ),
}
