"""The study that probes ask for, and how it is stored."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import uuid4

from pydicom.dataset import Dataset

from conformance.instances import Image, an_image
from conformance.plans.message import Reply
from conformance.plans.probe import NotOffered, expect, expect_equal
from conformance.plans.stand import Stand


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
