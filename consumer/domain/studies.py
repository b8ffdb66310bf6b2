"""What is looked for, and what is shown of what was found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from shared.ebrim.identifiers import CX, is_dtm, unescape
from shared.ebrim.model import Code, DocumentEntry, Timestamp
from shared.ebrim.schemes import ON_DEMAND, REFERENCE_ACCESSION, REFERENCE_STUDY_INSTANCE_UID

DCM = "1.2.840.10008.2.16.4"
_MODALITY_SCHEMES = (DCM, "DCM")
_MOST_MODALITIES = 20


class WrongCriterion(ValueError):
    """A criterion cannot be searched by; `name` is its name, `text` says what would be right."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(f"{name}: {text}")
        self.name = name
        self.text = text


@dataclass(frozen=True, slots=True, kw_only=True)
class Criteria:
    """Whose studies, and which; `since` and `before` are about the start of the service."""

    patient_id: str
    modalities: tuple[str, ...] = ()
    since: Timestamp | None = None
    before: Timestamp | None = None

    @classmethod
    def of(
        cls,
        patient_id: str,
        *,
        affinity_domain: str,
        modalities: Sequence[str] = (),
        since: str = "",
        before: str = "",
    ) -> Self:
        """Read what people and programs write.

        Raises
        ------
        WrongCriterion
            The first that is not as it should be; nothing of its value is repeated.
        """
        return cls(
            patient_id=_patient(patient_id, affinity_domain),
            modalities=_modalities(modalities),
            since=_time("since", since),
            before=_time("before", before),
        )

    @property
    def codes(self) -> tuple[Code, ...]:
        """The modalities as codes of DICOM, under both spellings of their scheme."""
        return tuple(Code(modality, scheme) for modality in self.modalities for scheme in _MODALITY_SCHEMES)


def _patient(text: str, affinity_domain: str) -> str:
    try:
        return str(CX.written(text.strip(), affinity_domain))
    except ValueError:
        raise WrongCriterion(
            "patient_id", "write the patient's id, for example P-1001, or the whole ID^^^&OID&ISO"
        ) from None


def _modalities(texts: Sequence[str]) -> tuple[str, ...]:
    modalities = tuple(text.strip().upper() for text in texts if text.strip())
    if len(modalities) > _MOST_MODALITIES or not all(
        one.isascii() and one.isalnum() and len(one) <= 16 for one in modalities
    ):
        raise WrongCriterion("modalities", "write codes of modalities, for example CT or MR")
    return modalities


def _time(name: str, text: str) -> Timestamp | None:
    digits = text.strip().replace("-", "")
    if not digits:
        return None
    if not is_dtm(digits):
        raise WrongCriterion(name, "write a date as YYYY, YYYY-MM or YYYY-MM-DD")
    return Timestamp(digits)


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundStudy:
    """What is shown of a published study, from the entry of its manifest.

    `on_demand` tells that the manifest is made when it is opened, of what the study has then.
    """

    manifest_id: str
    entry_uuid: str
    repository_unique_id: str
    home_community_id: str
    study_instance_uid: str
    accession_number: str
    title: str
    modalities: tuple[str, ...]
    service_start_time: str
    format_code: str
    mime_type: str
    size: int | None
    availability_status: str
    on_demand: bool
    body_parts: tuple[str, ...] = ()
    institution: str = ""

    @classmethod
    def of(cls, entry: DocumentEntry) -> Self:
        """The study of an entry."""
        return cls(
            manifest_id=entry.unique_id,
            entry_uuid=entry.entry_uuid,
            repository_unique_id=entry.repository_unique_id,
            home_community_id=entry.home_community_id,
            study_instance_uid=_reference(entry, REFERENCE_STUDY_INSTANCE_UID),
            accession_number=_reference(entry, REFERENCE_ACCESSION),
            title=entry.title,
            modalities=tuple(code.value for code in entry.event_codes if code.scheme in _MODALITY_SCHEMES),
            service_start_time=str(entry.service_start_time or ""),
            format_code=str(entry.format_code),
            mime_type=entry.mime_type,
            size=entry.size,
            availability_status=entry.availability_status.rpartition(":")[2],
            on_demand=entry.object_type == ON_DEMAND,
            body_parts=tuple(
                code.display_name or code.value
                for code in entry.event_codes
                if code.scheme not in _MODALITY_SCHEMES
            ),
            institution=institution_of(entry),
        )

    @property
    def began(self) -> tuple[str, str]:
        """Day and time of the start of the service, in UTC as entries have it; empty where it is not so
        precise."""
        digits = self.service_start_time
        return (digits[:8] if len(digits) >= 8 else "", digits[8:14])

    @property
    def date(self) -> str:
        """The start of the service as a date to read: YYYY, YYYY-MM or YYYY-MM-DD."""
        return date_of(self.service_start_time)


def date_of(digits: str) -> str:
    """The day of a DTM, as precise as it is."""
    return "-".join(part for part in (digits[:4], digits[4:6], digits[6:8]) if part)


def institution_of(entry: DocumentEntry) -> str:
    """Where it was made: the name of the first institution that an author names (XON.1); empty for none."""
    institutions = (one for author in entry.authors for one in author.institutions)
    names = (unescape(one.partition("^")[0]).strip() for one in institutions)
    return next(filter(None, names), "")


def _reference(entry: DocumentEntry, kind: str) -> str:
    """The first reference id of this kind, without its authority."""
    for each in entry.reference_ids:
        if each.endswith(f"^{kind}"):
            return each.partition("^")[0]
    return ""
