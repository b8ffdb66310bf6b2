"""Addresses and answers of DICOMweb."""

from __future__ import annotations

from collections.abc import Sequence
from email import message_from_bytes
from email.policy import HTTP
from io import BytesIO
from typing import Any

from pydicom import dcmread
from pydicom.dataset import Dataset

from conformance.envelopes import parameter
from conformance.instances import Image
from conformance.plans.images import Study
from conformance.plans.message import Reply
from conformance.plans.probe import expect_equal
from conformance.plans.stand import Stand

WEB = ("dicomweb",)
DICOM_PARTS = 'multipart/related; type="application/dicom"'


def at(stand: Stand, *path: str) -> str:
    """An address of the DICOMweb service."""
    return "/".join((stand.endpoint("dicomweb").rstrip("/"), *path))


def of_study(image: Image | Study) -> tuple[str, ...]:
    """The path of a study."""
    return ("studies", image.uid if isinstance(image, Study) else image.study)


def of_instance(image: Image) -> tuple[str, ...]:
    """The path of an instance."""
    return ("studies", image.study, "series", image.series, "instances", image.uid)


def get(stand: Stand, path: Sequence[str], accept: str = DICOM_PARTS, query: str = "") -> Reply:
    """A GET of the DICOMweb service; without Accept when it is empty."""
    url = at(stand, *path) + (f"?{query}" if query else "")
    return stand.http("GET", url, headers={"Accept": accept} if accept else {"Accept": ""})


def parts_of(reply: Reply) -> list[tuple[str, bytes]]:
    """The parts of a multipart answer: media type and octets."""
    expect_equal(reply.media_type, "multipart/related", "the media type")
    boundary = parameter(reply.content_type, "boundary").encode()
    matches = []
    for piece in (b"\r\n" + reply.content).split(b"\r\n--" + boundary)[1:-1]:
        head, _, octets = piece.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        headers = message_from_bytes(head + b"\r\n\r\n", policy=HTTP)
        matches.append((str(headers.get("Content-Type", "")), octets))
    return matches


def instances_of(reply: Reply) -> list[Dataset]:
    """The instances of a WADO-RS answer."""
    expect_equal(reply.status, 200, "the HTTP status")
    return [dcmread(BytesIO(octets)) for _, octets in parts_of(reply)]


def uids_of(matches: Sequence[Dataset]) -> list[str]:
    """Their SOP Instance UIDs, sorted."""
    return sorted(str(one.SOPInstanceUID) for one in matches)


JSON = "application/dicom+json"


def value(match: dict[str, Any], tag: str) -> Any:
    """The first value of an attribute of a match; None without."""
    return next(iter(match.get(tag, {}).get("Value", [])), None)
