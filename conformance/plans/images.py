"""Studies that are made for probes: small, of known pixels, in several transfer syntaxes."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from uuid import uuid4

from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, RLELossless

from conformance.plans.message import Reply
from conformance.plans.probe import NotOffered, expect, expect_equal
from conformance.plans.stand import Stand

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
    study: str, series: str, number: int, *, patient: str, frames: int = 1, rle: bool = False
) -> Image:
    """One instance of one byte for each pixel; several `frames` make it a multi-frame capture."""
    dataset = Dataset()
    dataset.SOPClassUID = MULTIFRAME if frames > 1 else CT
    dataset.SOPInstanceUID = f"2.25.{uuid4().int}"
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


@dataclass(frozen=True, slots=True)
class Study:
    """Two series: the first of three instances, the second of one; `frames` is a multi-frame instance and
    `compressed` one in RLE, each a study of its own."""

    images: tuple[Image, ...]
    frames: Image
    compressed: Image

    @property
    def uid(self) -> str:
        """Study Instance UID."""
        return self.images[0].study


def stow(stand: Stand, *images: Image, study: str = "", accept: str = "application/dicom+json") -> Reply:
    """STOW-RS of these instances."""
    boundary = f"stow.{uuid4().hex}"
    body = b"".join(
        f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode() + one.octets + b"\r\n"
        for one in images
    )
    url = stand.endpoint("dicomweb").rstrip("/") + "/studies" + (f"/{study}" if study else "")
    return stand.http(
        "POST",
        url,
        body=body + f"--{boundary}--\r\n".encode(),
        headers={
            "Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}',
            "Accept": accept,
        },
    )


def stored(stand: Stand) -> Study:
    """The study that most probes ask for; stored by STOW-RS when the first of them needs it."""
    if "study" not in stand.shared:
        if not stand.target.endpoints.get("dicomweb"):
            raise NotOffered("no address of dicomweb was given, by which images could be stored")
        patient = f"P{uuid4().hex[:10].upper()}"
        study, first, second = (stand.oid() for _ in range(3))
        images = (
            *(an_image(study, first, number, patient=patient) for number in (1, 2, 3)),
            an_image(study, second, 4, patient=patient),
        )
        frames = an_image(stand.oid(), stand.oid(), 5, patient=patient, frames=3)
        compressed = an_image(stand.oid(), stand.oid(), 6, patient=patient, rle=True)
        expect_equal(stow(stand, *images, frames, compressed).status, 200, "the HTTP status of STOW-RS")
        stand.shared["study"] = Study(images, frames, compressed)
    study_stored: Study = stand.shared["study"]
    return study_stored


def expect_same(matches: Dataset, image: Image) -> None:
    """Raise `Unmet` unless the data set is that of the instance; the transfer syntax may be another."""
    right = image.dataset
    for element in right:
        if element.keyword == "PixelData":
            continue
        expect(element.tag in matches, f"{element.keyword} is missing")
        expect_equal(str(matches[element.tag].value), str(element.value), element.keyword)
