"""Instances that are made: small, of known pixels, in several transfer syntaxes."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from uuid import uuid4

from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, RLELossless

EXPLICIT = "1.2.840.10008.1.2.1"
IMPLICIT = "1.2.840.10008.1.2"
RLE = "1.2.840.10008.1.2.5"
JPEG_LOSSLESS = "1.2.840.10008.1.2.4.70"
CT = "1.2.840.10008.5.1.4.1.1.2"
MULTIFRAME = "1.2.840.10008.5.1.4.1.1.7.2"
ROWS, COLUMNS = 8, 10


@dataclass(frozen=True, slots=True)
class Image:
    """One instance: its ids, and its file."""

    study: str
    series: str
    uid: str
    octets: bytes
    patient: str

    @property
    def dataset(self) -> Dataset:
        """What is in it."""
        return dcmread(BytesIO(self.octets))


def pixels(number: int, frames: int = 1) -> bytes:
    """Pixels that tell which instance they are of."""
    return bytes((number * 7 + place) % 251 for place in range(ROWS * COLUMNS * frames))


def an_image(
    study: str,
    series: str,
    number: int,
    *,
    patient: str,
    frames: int = 1,
    rle: bool = False,
    uid: str = "",
) -> Image:
    """One instance of one byte for each pixel, with a fresh UID when none is given; several `frames` make
    it a multi-frame capture."""
    dataset = Dataset()
    dataset.SOPClassUID = MULTIFRAME if frames > 1 else CT
    dataset.SOPInstanceUID = uid or f"2.25.{uuid4().int}"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study, series
    dataset.PatientID, dataset.PatientName = patient, "Probe^Rick"
    dataset.PatientBirthDate, dataset.PatientSex = "19560527", "M"
    dataset.StudyDate, dataset.StudyTime, dataset.StudyID = "20240305", "101500", "1"
    dataset.AccessionNumber, dataset.ReferringPhysicianName = f"A{study[-8:]}", "Roe^Ann"
    dataset.Modality = "OT" if frames > 1 else "CT"
    dataset.SeriesNumber, dataset.InstanceNumber = 1, number
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = ROWS, COLUMNS
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation = 7, 0
    if frames > 1:
        dataset.NumberOfFrames = frames
    dataset.PixelData = pixels(number, frames)
    dataset["PixelData"].VR = "OB"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    if rle:
        dataset.compress(RLELossless, generate_instance_uid=False)
    file = BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return Image(study, series, str(dataset.SOPInstanceUID), file.getvalue(), patient)
