"""Studies to test with: those that are made here, and the real ones where they are.

Both lie as `study/series/instance.dcm`; a test that asks for `studies` runs on each of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate

from shared.dicom.uids import (
    DEFLATED_LE,
    EXPLICIT_LE,
    IMPLICIT_LE,
    JPEG_2000_LOSSLESS,
    JPEG_LOSSLESS_SV1,
    JPEG_LS_LOSSLESS,
    RLE,
)
from tests.support.dicom import STUDIES, VARIANTS, a_color_image, a_ct, an_sr, part10, real_files, with_pixels

_SIDE = 64
_UID = "2.25.7700"


@dataclass(frozen=True)
class Studies:
    """Studies below `folder`; one whose instances are plain, one in implicit VR, and one of JPEG, by their
    UIDs; `variants` has the same images below each of some transfer syntaxes."""

    folder: Path
    variants: Path
    plain: str
    implicit: str
    jpeg: str

    @property
    def files(self) -> list[Path]:
        """Every instance."""
        return real_files(self.folder)

    @property
    def uids(self) -> list[str]:
        """The studies."""
        return sorted(path.name for path in self.folder.iterdir())

    def study(self, uid: str) -> Path:
        """The folder of one."""
        return self.folder / uid

    def variant(self, syntax: str) -> list[Path]:
        """The images in a transfer syntax."""
        return real_files(self.variants / syntax)

    def plain_twin(self, path: Path) -> Path:
        """The same image without compression."""
        return (
            self.variants
            / EXPLICIT_LE
            / path.relative_to(self.variants).relative_to(path.relative_to(self.variants).parts[0])
        )


REAL = Studies(
    folder=STUDIES,
    variants=VARIANTS,
    plain="1.3.6.1.4.1.21367.201599.1.201604020955010",
    implicit="1.3.6.1.4.1.21367.201599.1.201604020954059",
    jpeg="1.3.6.1.4.1.21367.201599.1.201604021949024",
)


@pytest.fixture(scope="session", params=["made here", "real"])
def studies(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Studies:
    """The studies that are made here, then the real ones."""
    if request.param == "made here":
        return made_studies(tmp_path_factory.mktemp("studies"))
    if not STUDIES.is_dir():
        pytest.skip("the real studies are not here; those that are made here were tested")
    return REAL


def made_studies(folder: Path) -> Studies:
    """Write studies of several modalities, makers, character sets and transfer syntaxes."""
    made = Studies(
        folder=folder / "studies",
        variants=folder / "variants",
        plain=f"{_UID}.1",
        implicit=f"{_UID}.2",
        jpeg=f"{_UID}.3",
    )
    for number in range(1, 4):
        keep(made.folder, part10(a_slice(made.plain, number)), made.plain, number)
        keep(made.folder, part10(a_slice(made.implicit, number, **MR), IMPLICIT_LE), made.implicit, number)
        keep(made.folder, lossless_jpeg(a_slice(made.jpeg, number)), made.jpeg, number)
    others = (
        part10(named(f"{_UID}.4", 1, a_color_image(PatientID="P4", ContentDate="20260228"), "4.1")),
        part10(a_slice(f"{_UID}.4", 2, series="4.2", PatientID="P4"), JPEG_LS_LOSSLESS),
        part10(a_slice(f"{_UID}.4", 3, series="4.3", PatientID="P4"), JPEG_2000_LOSSLESS),
        part10(a_slice(f"{_UID}.4", 4, series="4.4", PatientID="P4"), RLE),
    )
    for number, octets in enumerate(others, 1):
        keep(made.folder, octets, f"{_UID}.4", number, series=f"{_UID}.4.{number}")
    keep(made.folder, part10(a_report(f"{_UID}.5", 1)), f"{_UID}.5", 1)
    keep(made.folder, part10(a_report(f"{_UID}.5", 2), DEFLATED_LE), f"{_UID}.5", 2)
    for syntax in (EXPLICIT_LE, JPEG_LOSSLESS_SV1, JPEG_LS_LOSSLESS, JPEG_2000_LOSSLESS):
        for number in range(1, 3):
            image = a_slice(f"{_UID}.6", number)
            octets = lossless_jpeg(image) if syntax == JPEG_LOSSLESS_SV1 else part10(image, syntax)
            keep(made.variants / syntax, octets, f"{_UID}.6", number)
    return made


MR: dict[str, Any] = {
    "SOPClassUID": "1.2.840.10008.5.1.4.1.1.4",
    "Modality": "MR",
    "SpecificCharacterSet": "ISO_IR 100",
    "PatientName": "Åström^Óscar",
    "PatientID": "P2",
}


def keep(folder: Path, octets: bytes, study: str, number: int, *, series: str = "") -> None:
    """Write one instance where its UIDs say."""
    path = folder / study / (series or f"{study}.1") / f"{study}.1.{number}.dcm"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(octets)


def named(study: str, number: int, data_set: Dataset, series: str) -> Dataset:
    """`data_set` with UIDs of its own."""
    data_set.StudyInstanceUID = study
    data_set.SeriesInstanceUID = f"{_UID}.{series}"
    data_set.SOPInstanceUID = f"{study}.1.{number}"
    data_set.InstanceNumber = number
    return data_set


def a_slice(study: str, number: int, *, series: str = "", **changes: Any) -> Dataset:
    """A slice of 64 x 64, with what other makers write: private elements, nested sequences, a time zone."""
    series = series or study.removeprefix(f"{_UID}.") + ".1"
    image = named(study, number, a_ct(**changes), series)
    y, x = np.mgrid[:_SIDE, :_SIDE]
    with_pixels(image, ((x * 3 + y * y // 7 + number * 11) % 4096).astype(np.uint16)[None])
    image.BitsStored, image.HighBit = 12, 11
    image.TimezoneOffsetFromUTC = "+0100"
    image.ImageType = ["DERIVED", "SECONDARY", "AXIAL"]
    image.PixelSpacing = [0.5, 0.5]
    block = image.private_block(0x0029, "XDSI TESTS", create=True)
    block.add_new(0x01, "LO", "of a maker's own")
    block.add_new(0x02, "OB", bytes(range(256)) * 8)
    purpose, source = Dataset(), Dataset()
    purpose.CodeValue, purpose.CodingSchemeDesignator, purpose.CodeMeaning = "121320", "DCM", "Uncompressed"
    source.ReferencedSOPClassUID = image.SOPClassUID
    source.ReferencedSOPInstanceUID = f"{_UID}.99.{number}"
    source.PurposeOfReferenceCodeSequence = [purpose]
    image.SourceImageSequence = [source]
    return image


def a_report(study: str, number: int) -> Dataset:
    """A text report in Greek, of its patient's own."""
    report = named(study, number, an_sr(PatientID="P5", PatientName="Διονυσιος^Α"), "5.1")
    item = Dataset()
    item.RelationshipType, item.ValueType, item.TextValue = "CONTAINS", "TEXT", "χωρίς ευρήματα"
    report.ContentSequence = [item]
    return report


def lossless_jpeg(image: Dataset) -> bytes:
    """The file in lossless JPEG (SV1)."""
    encoded = _ljpeg(image.PixelData, image.Rows, image.Columns, image.BitsStored)
    image.PixelData = encapsulate([encoded])
    image["PixelData"].VR = "OB"
    return part10(image, JPEG_LOSSLESS_SV1, compress=False)


@cache
def _ljpeg(octets: bytes, rows: int, columns: int, bits: int) -> bytes:
    pixels = np.frombuffer(octets, np.uint16).reshape(rows, columns)
    encoded: bytes = imagecodecs.jpeg_encode(pixels, bitspersample=bits, lossless=True, predictor=1)
    return encoded
