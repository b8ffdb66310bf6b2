"""One instance as received, and what its study tells about the patient and the procedure (PS3.3 C.7)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from shared.ebrim.model import Code


@dataclass(frozen=True, slots=True)
class Issuer:
    """Who issued an identifier: a local name, or a universal id with its type (`ISO` for an OID)."""

    local: str = ""
    universal_id: str = ""
    universal_id_type: str = ""


class Instance(NamedTuple):
    """One SOP instance; a tuple, because a study has hundreds and a tuple is made in a tenth of the time.

    `file` names the file as received, but for what stands before its data set; `size` bytes of it with the
    lower-case hexadecimal `sha256`. `patient_id` is the department's Patient ID (0010,0020), not the affinity
    domain's. Numbers are None where the instance has none or what it has is not a number. `received_at` is
    aware and in UTC.
    """

    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    size: int
    sha256: str
    patient_id: str
    accession_number: str
    modality: str
    series_number: int | None
    instance_number: int | None
    number_of_frames: int
    rows: int | None
    columns: int | None
    samples_per_pixel: int
    bits_allocated: int | None
    metadata_size: int
    file: str
    issuer_of_patient_id: Issuer
    has_pixels: bool
    received_at: datetime

    @property
    def path(self) -> Path:
        """`file` as a path."""
        return Path(self.file)

    @property
    def decoded_size(self) -> int:
        """Length in bytes of the pixel data without compression; 0 without pixels."""
        if not (self.has_pixels and self.rows and self.columns and self.bits_allocated):
            return 0
        samples = self.rows * self.columns * self.samples_per_pixel * self.number_of_frames
        return (samples * self.bits_allocated + 7) // 8


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestReference:
    """One requested procedure that the study fulfils: an item of Request Attributes, or the study itself."""

    study_instance_uid: str
    accession_number: str = ""
    accession_issuer: Issuer = Issuer()
    placer_order_number: str = ""
    placer_issuer: Issuer = Issuer()
    filler_order_number: str = ""
    filler_issuer: Issuer = Issuer()
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
    issuer_of_patient_id: Issuer = Issuer()
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
