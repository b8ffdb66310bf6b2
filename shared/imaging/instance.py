"""One instance as received (PS3.3 C.7)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import NamedTuple


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
