"""Manifests as other makers write them: Key Object Selection Documents of any references."""

from __future__ import annotations

from io import BytesIO

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset

from shared.dicom.uids import EXPLICIT_LE, KEY_OBJECT_SELECTION

CT = "1.2.840.10008.5.1.4.1.1.2"


def item(**attributes) -> Dataset:
    made = Dataset()
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    return made


def reference(number: int = 1, **attributes) -> Dataset:
    return item(ReferencedSOPClassUID=CT, ReferencedSOPInstanceUID=f"2.25.5{number}", **attributes)


def series(*references: Dataset, uid: str = "2.25.4", **attributes) -> Dataset:
    return item(SeriesInstanceUID=uid, ReferencedSOPSequence=list(references or (reference(),)), **attributes)


def study(*of_series: Dataset, uid: str = "2.25.3", **attributes) -> Dataset:
    return item(StudyInstanceUID=uid, ReferencedSeriesSequence=list(of_series or (series(),)), **attributes)


def a_kos(*studies: Dataset, syntax: str = EXPLICIT_LE, **attributes) -> bytes:
    title = item(CodeValue="113030", CodingSchemeDesignator="DCM", CodeMeaning="Manifest")
    made = item(
        SOPClassUID=KEY_OBJECT_SELECTION,
        SOPInstanceUID="2.25.1",
        StudyInstanceUID="2.25.3",
        PatientID="P1",
        ConceptNameCodeSequence=[title],
        CurrentRequestedProcedureEvidenceSequence=list(studies or (study(),)),
    )
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    made.file_meta = FileMetaDataset()
    made.file_meta.MediaStorageSOPClassUID = KEY_OBJECT_SELECTION
    made.file_meta.MediaStorageSOPInstanceUID = "2.25.1"
    made.file_meta.TransferSyntaxUID = syntax
    file = BytesIO()
    pydicom.dcmwrite(file, made, enforce_file_format=True)
    return file.getvalue()
