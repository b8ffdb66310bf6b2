"""Reports of a patient, as the registry shows them, and to which study each belongs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Self

from consumer.domain.studies import date_of, institution_of
from shared.ebrim.model import DocumentEntry
from shared.ebrim.schemes import REFERENCE_ACCESSION, REFERENCE_STUDY_INSTANCE_UID

PDF: Final = "application/pdf"
TEXT: Final = "text/plain"
#: CDA is registered under either.
XML: Final = frozenset({"text/xml", "application/xml", "application/hl7-cda+xml"})
_SHOWN: Final = {PDF, TEXT} | XML


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundReport:
    """What is shown of a report before it is opened; `references` are ids that its study has too."""

    title: str
    date: str
    institution: str
    mime_type: str
    references: frozenset[str]

    @classmethod
    def of(cls, entry: DocumentEntry) -> Self:
        """The report of an entry."""
        return cls(
            title=entry.title or entry.type_code.display_name or "Report",
            date=date_of(str(entry.service_start_time or entry.creation_time or "")),
            institution=institution_of(entry),
            mime_type=mime_type_of(entry),
            references=references_of(entry),
        )


def mime_type_of(entry: DocumentEntry) -> str:
    """The type of a document without its parameters."""
    return entry.mime_type.partition(";")[0].strip().lower()


def references_of(entry: DocumentEntry) -> frozenset[str]:
    """The study and the order that an entry names, as they are registered (RAD TF-3 4.68.4.1.2.3)."""
    kinds = (REFERENCE_STUDY_INSTANCE_UID, REFERENCE_ACCESSION)
    return frozenset(one for one in entry.reference_ids if one.rpartition("^")[2] in kinds)


def is_report(entry: DocumentEntry) -> bool:
    """Whether people can read it here."""
    return mime_type_of(entry) in _SHOWN


def of_study(entries: Iterable[DocumentEntry], study: Iterable[DocumentEntry]) -> list[DocumentEntry]:
    """Those of `entries` that name the study, or the order, which the entries of a study name."""
    references = frozenset().union(*map(references_of, study))
    return [one for one in entries if references_of(one) & references]
