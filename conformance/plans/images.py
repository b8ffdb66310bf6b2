"""The study that probes ask for, and how it is stored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Final
from uuid import uuid4

from pydicom.dataset import Dataset

from conformance.instances import Image, an_image
from conformance.plans import dimse
from conformance.plans.message import Reply
from conformance.plans.probe import NotOffered, expect, expect_equal
from conformance.plans.stand import Stand

#: The option of an imaging source that takes images by the web.
STOW_RS: Final = "STOW-RS"
#: Whose study it is that is brought into a system before it is tested.
THE_PATIENT: Final = "PROBE-1"
_ROOT: Final = "2.25.309731964921085117410230246190537165347"


@dataclass(frozen=True, slots=True)
class Study:
    """Two series: the first of three instances, the second of one; `frames` is a multi-frame instance and
    `compressed` one in RLE, each a study of its own."""

    images: tuple[Image, ...]
    frames: Image
    compressed: Image

    @property
    def files(self) -> tuple[Image, ...]:
        """Everything that is stored."""
        return (*self.images, self.frames, self.compressed)

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


def a_study(patient: str, oid: Callable[[], str]) -> Study:
    """The study that most probes ask for, with UIDs that `oid` gives."""
    study, first, second = (oid() for _ in range(3))
    images = (
        *(an_image(study, first, number, patient=patient, uid=oid()) for number in (1, 2, 3)),
        an_image(study, second, 4, patient=patient, uid=oid()),
    )
    frames = an_image(oid(), oid(), 5, patient=patient, frames=3, uid=oid())
    return Study(images, frames, an_image(oid(), oid(), 6, patient=patient, rle=True, uid=oid()))


def the_study() -> Study:
    """The same under fixed ids, for systems that it is brought into beforehand, by whatever way they have."""
    numbers = count(1)
    return a_study(THE_PATIENT, lambda: f"{_ROOT}.{next(numbers)}")


def stored(stand: Stand) -> Study:
    """The study that most probes ask for; it is stored when the first of them needs it, unless it is there."""
    if "study" not in stand.shared:
        stand.shared["study"] = the_study() if stand.target.study_is_there else _stored_now(stand)
    study_stored: Study = stand.shared["study"]
    return study_stored


def _stored_now(stand: Stand) -> Study:
    """By STOW-RS where the system has it, else by C-STORE."""
    target = stand.target
    study = a_study(f"P{uuid4().hex[:10].upper()}", stand.oid)
    if target.endpoints.get("dicomweb") and STOW_RS not in target.without:
        expect_equal(stow(stand, *study.files).status, 200, "the HTTP status of STOW-RS")
    elif target.endpoints.get("dimse"):
        for response in dimse.store(stand, *study.files):
            expect_equal(dimse.status_of(response), dimse.SUCCESS, "the status of C-STORE")
    else:
        raise NotOffered("there is no way to store images: no address of dicomweb with STOW-RS, nor of dimse")
    return study


def expect_same(matches: Dataset, image: Image) -> None:
    """Raise `Unmet` unless the data set is that of the instance; the transfer syntax may be another."""
    right = image.dataset
    for element in right:
        if element.keyword == "PixelData":
            continue
        expect(element.tag in matches, f"{element.keyword} is missing")
        expect_equal(str(matches[element.tag].value), str(element.value), element.keyword)
