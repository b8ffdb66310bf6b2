"""Small synthetic instances, and the real studies where they are."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID

from shared.dicom.uids import EXPLICIT_LE, UNCOMPRESSED

STUDIES = Path(__file__).parents[3] / "shared" / "dicom" / "studies"
VARIANTS = Path(__file__).parents[3] / "shared" / "dicom" / "transfer-syntax-variants"

CT = "1.2.840.10008.5.1.4.1.1.2"
ENHANCED_CT = "1.2.840.10008.5.1.4.1.1.2.1"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
BASIC_TEXT_SR = "1.2.840.10008.5.1.4.1.1.88.11"


def real_files(folder: Path = STUDIES) -> list[Path]:
    """Every file of the real studies."""
    return sorted(folder.rglob("*.dcm"))


def a_ct(**changes: Any) -> Dataset:
    """One CT slice of 4 x 4 pixels of 16 bits; `changes` by keyword, None removes."""
    data_set = Dataset()
    data_set.SpecificCharacterSet = "ISO_IR 192"
    data_set.SOPClassUID = CT
    data_set.SOPInstanceUID = "2.25.13"
    data_set.StudyDate = "20260228"
    data_set.StudyTime = "093000"
    data_set.AccessionNumber = "A123"
    data_set.Modality = "CT"
    data_set.PatientName = "Müller^Jürgen"
    data_set.PatientID = "P1"
    data_set.PatientBirthDate = "19700101"
    data_set.PatientSex = "M"
    data_set.StudyInstanceUID = "2.25.11"
    data_set.SeriesInstanceUID = "2.25.12"
    data_set.SeriesNumber = 3
    data_set.InstanceNumber = 1
    with_pixels(data_set, np.arange(16, dtype=np.uint16).reshape(1, 4, 4))
    return changed(data_set, **changes)


def a_multi_frame(frames: int = 3, **changes: Any) -> Dataset:
    """An enhanced CT of `frames` frames of 16 x 16: below that, encoders have no room."""
    data_set = a_ct(SOPClassUID=ENHANCED_CT, NumberOfFrames=frames)
    with_pixels(data_set, np.arange(256 * frames, dtype=np.uint16).reshape(frames, 16, 16))
    return changed(data_set, **changes)


def a_color_image(**changes: Any) -> Dataset:
    """A secondary capture of 16 x 18 pixels in RGB, pixel by pixel."""
    data_set = a_ct(SOPClassUID=SECONDARY_CAPTURE, Modality="OT")
    with_pixels(data_set, (np.arange(864) % 256).astype(np.uint8).reshape(1, 16, 18, 3))
    return changed(data_set, **changes)


def by_plane(image: Dataset) -> Dataset:
    """A colour image of one frame that is pixel by pixel, with its samples plane by plane."""
    samples = np.frombuffer(image.PixelData, np.uint8).reshape(image.Rows, image.Columns, 3)
    return changed(image, PlanarConfiguration=1, PixelData=samples.transpose(2, 0, 1).tobytes())


def an_sr(**changes: Any) -> Dataset:
    """A text report without pixels."""
    data_set = a_ct(SOPClassUID=BASIC_TEXT_SR, Modality="SR", SOPInstanceUID="2.25.14")
    for keyword in [element.keyword for element in data_set if element.tag.group in (0x0028, 0x7FE0)]:
        delattr(data_set, keyword)
    title = Dataset()
    title.CodeValue, title.CodingSchemeDesignator, title.CodeMeaning = "18748-4", "LN", "Report"
    data_set.ConceptNameCodeSequence = [title]
    return changed(data_set, **changes)


def with_pixels(data_set: Dataset, pixels: np.ndarray) -> None:
    """Give `data_set` native pixels of shape (frames, rows, columns[, 3])."""
    data_set.Rows, data_set.Columns = pixels.shape[1:3]
    data_set.SamplesPerPixel = 3 if pixels.ndim == 4 else 1
    data_set.PhotometricInterpretation = "RGB" if pixels.ndim == 4 else "MONOCHROME2"
    if pixels.ndim == 4:
        data_set.PlanarConfiguration = 0
    data_set.BitsAllocated = data_set.BitsStored = pixels.itemsize * 8
    data_set.HighBit = data_set.BitsStored - 1
    data_set.PixelRepresentation = 0
    data_set.add_new(0x7FE00010, "OB" if pixels.itemsize == 1 else "OW", pixels.tobytes())


def changed(data_set: Dataset, **changes: Any) -> Dataset:
    """Set attributes by keyword; None removes one."""
    for keyword, value in changes.items():
        if value is None:
            delattr(data_set, keyword)
        else:
            setattr(data_set, keyword, value)
    return data_set


def part10(data_set: Dataset, syntax: str = EXPLICIT_LE, *, compress: bool = True) -> bytes:
    """The file of a data set; pixels are compressed when `syntax` says so, unless they are already."""
    data_set.file_meta = FileMetaDataset()
    data_set.file_meta.MediaStorageSOPClassUID = data_set.get("SOPClassUID", "2.25.1")
    data_set.file_meta.MediaStorageSOPInstanceUID = data_set.get("SOPInstanceUID", "2.25.1")
    data_set.file_meta.TransferSyntaxUID = UID(EXPLICIT_LE)
    if syntax in UNCOMPRESSED or not compress:
        data_set.file_meta.TransferSyntaxUID = UID(syntax)
    else:
        data_set.compress(syntax, generate_instance_uid=False)
    file = BytesIO()
    data_set.save_as(file, enforce_file_format=True)
    return file.getvalue()
