"""Values of the imaging source: instances and headers without files behind them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from imaging_source.domain.instance import StudyHeader
from imaging_source.domain.manifest import Identity, Place
from shared.dicom.uids import EXPLICIT_LE
from shared.imaging.instance import Instance, Issuer

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
GRAYSCALE_PRESENTATION_STATE = "1.2.840.10008.5.1.4.1.1.11.1"
TWELVE_LEAD_ECG = "1.2.840.10008.5.1.4.1.1.9.1.1"

STUDY = "2.25.500"
SERIES = "2.25.501"
IDENTITY = Identity(
    sop_instance_uid="2.25.1001",
    series_instance_uid="2.25.1000",
    created=datetime(2026, 3, 1, 9, 15, tzinfo=UTC),
)
PLACE = Place(ae_title="ARCHIVE1", location_uid="1.2.3.77", url="https://pacs.example.org/dicomweb")


def an_instance(**changes: Any) -> Instance:
    """One CT image of the study `STUDY`; its file does not exist."""
    values: dict[str, Any] = {
        "study_instance_uid": STUDY,
        "series_instance_uid": SERIES,
        "sop_instance_uid": "2.25.502",
        "sop_class_uid": CT_IMAGE,
        "transfer_syntax_uid": EXPLICIT_LE,
        "file": "absent.dcm",
        "size": 1,
        "sha256": "0" * 64,
        "patient_id": "P1",
        "issuer_of_patient_id": Issuer(),
        "accession_number": "",
        "modality": "CT",
        "series_number": 1,
        "instance_number": 1,
        "number_of_frames": 1,
        "rows": None,
        "columns": None,
        "samples_per_pixel": 1,
        "bits_allocated": None,
        "metadata_size": 0,
        "has_pixels": True,
        "received_at": datetime(2026, 3, 1, 9, 0, tzinfo=UTC),
    }
    return Instance(**(values | changes))


def a_study_header(**changes: Any) -> StudyHeader:
    """A chest CT of one patient, with one accession number."""
    values: dict[str, Any] = {
        "study_instance_uid": STUDY,
        "patient_id": "P1",
        "patient_name": "DOE^JANE^A^DR^PHD",
        "patient_birth_date": "19700101",
        "patient_sex": "F",
        "study_date": "20260228",
        "study_time": "093000.123",
        "timezone_offset": "+0100",
        "study_description": "CT chest",
        "accession_numbers": (("A123", Issuer("", "1.2.3.4", "ISO")),),
        "institution": "Example Hospital",
        "modalities": ("CT",),
        "body_parts": ("CHEST",),
    }
    return StudyHeader(**(values | changes))
