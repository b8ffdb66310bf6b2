"""What a study tells about the patient and the procedure (PS3.3 C.7)."""

from __future__ import annotations

from dataclasses import dataclass

from shared.ebrim.model import Code
from shared.imaging.instance import Issuer


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestReference:
    """One requested procedure that the study fulfils: an item of Request Attributes, or the study itself."""

    study_instance_uid: str
    accession_number: str = ""
    accession_issuer: Issuer = Issuer()  # noqa: RUF009  # frozen
    placer_order_number: str = ""
    placer_issuer: Issuer = Issuer()  # noqa: RUF009  # frozen
    filler_order_number: str = ""
    filler_issuer: Issuer = Issuer()  # noqa: RUF009  # frozen
    requested_procedure_id: str = ""
    requested_procedure_description: str = ""
    requested_procedure_codes: tuple[Code, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesHeader:
    """What is told of one series; `regions` and `body_parts` are what it shows."""

    series_instance_uid: str
    description: str = ""
    date: str = ""
    time: str = ""
    regions: tuple[Code, ...] = ()
    body_parts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyObjectHeader:
    """What a Key Object Selection Document of a study says of itself: its title, and its description."""

    sop_instance_uid: str
    title: Code
    description: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyHeader:
    """Patient and study attributes of a study, as its instances tell them.

    Values are DICOM's own spelling: names `A^B=ideographic=phonetic`, dates YYYYMMDD, times HHMMSS.FFFFFF
    without conversion, `timezone_offset` as +HHMM or empty. The scheme of a `Code` is the Coding Scheme
    Designator. Where instances differ, the value of the first (by series number, then instance number) that
    has one stands; what may be several is collected in that order, each value once. `accession_numbers` are
    those of the study level and of every request, with their issuers. `other_dates` are dates and times of
    series, acquisitions, contents and performed steps. `series` and `key_objects` tell of each one of the
    study. `misread` tells that some text may not be what was meant: its character set is not named, not
    known, or not the one that it is in.
    """

    study_instance_uid: str
    patient_id: str = ""
    issuer_of_patient_id: Issuer = Issuer()  # noqa: RUF009  # frozen
    other_patient_ids: tuple[tuple[str, Issuer], ...] = ()
    patient_name: str = ""
    patient_birth_date: str = ""
    patient_sex: str = ""
    study_date: str = ""
    study_time: str = ""
    other_dates: tuple[tuple[str, str], ...] = ()
    timezone_offset: str = ""
    referring_physician: str = ""
    study_id: str = ""
    study_description: str = ""
    series_descriptions: tuple[str, ...] = ()
    protocol_names: tuple[str, ...] = ()
    procedure_codes: tuple[Code, ...] = ()
    accession_numbers: tuple[tuple[str, Issuer], ...] = ()
    requests: tuple[RequestReference, ...] = ()
    institution: str = ""
    department: str = ""
    manufacturer: str = ""
    modalities: tuple[str, ...] = ()
    body_parts: tuple[str, ...] = ()
    anatomic_regions: tuple[Code, ...] = ()
    series: tuple[SeriesHeader, ...] = ()
    key_objects: tuple[KeyObjectHeader, ...] = ()
    misread: bool = False
