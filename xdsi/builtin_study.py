"""A small study for a first try: a CT of a ball in a cylinder, made when it is needed."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

PATIENT_ID = "DEMO-1001"
CT_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
_ROWS = 256
_SLICES = 24
_SPACING_MM = 2.0


def write_study(folder: Path) -> list[Path]:
    """Write the study's files into `folder` and return them; every call makes new UIDs."""
    folder.mkdir(parents=True, exist_ok=True)
    study, series = generate_uid(prefix=None), generate_uid(prefix=None)
    frame_of_reference = generate_uid(prefix=None)
    paths = []
    for number in range(1, _SLICES + 1):
        image = _slice(number, study, series, frame_of_reference)
        path = folder / f"{number:03}.dcm"
        image.save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths


def _slice(number: int, study: str, series: str, frame_of_reference: str) -> Dataset:
    image = Dataset()
    image.SpecificCharacterSet = "ISO_IR 192"
    image.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    image.SOPClassUID = CT_IMAGE_STORAGE
    image.SOPInstanceUID = generate_uid(prefix=None)
    now = datetime.now()
    image.StudyDate = image.SeriesDate = image.ContentDate = f"{now:%Y%m%d}"
    image.StudyTime = image.SeriesTime = image.ContentTime = f"{now:%H%M%S}"
    image.AccessionNumber = "DEMO-A1"
    image.Modality = "CT"
    image.Manufacturer = "xdsi"
    image.InstitutionName = "Hospital North"
    image.ReferringPhysicianName = "Roe^Ann"
    image.StudyDescription = "CT of a phantom"
    image.SeriesDescription = "Axial"
    image.PatientName = "Phantom^Phoebe"
    image.PatientID = PATIENT_ID
    image.PatientBirthDate = "19700101"
    image.PatientSex = "F"
    image.BodyPartExamined = "CHEST"
    image.PatientPosition = "HFS"
    image.SliceThickness = _SPACING_MM
    image.KVP = 120
    image.StudyInstanceUID = study
    image.SeriesInstanceUID = series
    image.StudyID = "1"
    image.SeriesNumber = 1
    image.AcquisitionNumber = 1
    image.InstanceNumber = number
    image.ImagePositionPatient = [-128, -128, number * _SPACING_MM]
    image.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    image.FrameOfReferenceUID = frame_of_reference
    image.PositionReferenceIndicator = ""
    image.SamplesPerPixel = 1
    image.PhotometricInterpretation = "MONOCHROME2"
    image.Rows = image.Columns = _ROWS
    image.PixelSpacing = [1, 1]
    image.BitsAllocated = 16
    image.BitsStored = 12
    image.HighBit = 11
    image.PixelRepresentation = 0
    image.RescaleIntercept = -1024
    image.RescaleSlope = 1
    image.PixelData = _phantom(number).tobytes()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
    return image


def _phantom(number: int) -> np.ndarray:
    """Stored values of one slice: water in air, and a ball of bone in it."""
    y, x = np.mgrid[:_ROWS, :_ROWS] - _ROWS / 2
    pixels = np.full((_ROWS, _ROWS), 24, dtype=np.uint16)
    pixels[x**2 + y**2 < 110**2] = 1024
    depth = (number - _SLICES / 2) * 4
    pixels[(x - 20) ** 2 + y**2 + depth**2 < 48**2] = 1900
    noise = np.random.default_rng(number).integers(0, 30, pixels.shape, dtype=np.uint16)
    return pixels + noise
