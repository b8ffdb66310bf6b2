"""Captures of WADO-URI, and what can be wrong with them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from conformance.corpus.dicomweb import KIND, an_instance
from conformance.corpus.example import Example, mutated
from conformance.corpus.messages import encode
from conformance.corpus.metadata import Change, swap

_IDS: Final = "studyUID=2.25.500&seriesUID=2.25.501&objectUID=2.25.5011"


def retrieval() -> str:
    """An instance as a DICOM file."""
    request = (
        f"GET /wado?requestType=WADO&{_IDS}&contentType=application%2Fdicom HTTP/1.1\r\nAccept: */*\r\n\r\n\n"
    )
    return f"{request}HTTP/1.1 200 OK\r\nContent-Type: application/dicom\r\n\r\n" + an_instance().decode(
        "latin_1"
    )


def picture() -> str:
    """An instance as a JPEG."""
    drawn = (
        "rows=64&columns=64&region=0,0,0.5,1&windowCenter=40&windowWidth=400&frameNumber=1&imageQuality=80"
    )
    request = (
        f"GET /wado?requestType=WADO&{_IDS}&contentType=image/jpeg&{drawn} HTTP/1.1\r\nAccept: */*\r\n\r\n\n"
    )
    return f"{request}HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\n\r\n\xff\xd8\xff\xd9"


_RETRIEVALS: Final[dict[str, tuple[str, Change]]] = {
    "a POST": ("WURI-001", swap("GET ", "POST ")),
    "another requestType": ("WURI-002", swap("requestType=WADO", "requestType=wado-uri")),
    "no study": ("WURI-003", swap("studyUID=2.25.500&", "")),
    "an object that is no UID": ("WURI-003", swap("objectUID=2.25.5011", "objectUID=image1")),
    "a series twice": ("WURI-004", swap("seriesUID=2.25.501", "seriesUID=2.25.501&seriesUID=2.25.502")),
    "a parameter that nobody defines": ("WURI-005", swap("&contentType", "&quality=80&contentType")),
    "anonymize=true": ("WURI-006", swap("&contentType", "&anonymize=true&contentType")),
    "a contentType that is none": ("WURI-007", swap("application%2Fdicom", "dicom")),
    "Implicit VR asked for": ("WURI-008", swap("%2Fdicom", "%2Fdicom&transferSyntax=1.2.840.10008.1.2")),
    "a window of a file": ("WURI-009", swap("%2Fdicom", "%2Fdicom&windowCenter=40&windowWidth=400")),
    "a package": (
        "WURI-020",
        swap("Content-Type: application/dicom", 'Content-Type: multipart/related; type="application/dicom"'),
    ),
    "a JPEG": ("WURI-021", swap("Content-Type: application/dicom", "Content-Type: image/jpeg")),
    "no file": ("WURI-022", swap("DICM", "DICX")),
    "another object": ("WURI-023", swap("objectUID=2.25.5011", "objectUID=2.25.5012")),
    "another transfer syntax": ("WURI-024", swap("%2Fdicom", "%2Fdicom&transferSyntax=1.2.840.10008.1.2.5")),
}
_PICTURES: Final[dict[str, tuple[str, Change]]] = {
    "no rows": ("WURI-006", swap("rows=64", "rows=0")),
    "a quality of 101": ("WURI-006", swap("imageQuality=80", "imageQuality=101")),
    "a region that ends before it begins": ("WURI-006", swap("0,0,0.5,1", "0.5,0,0.2,1")),
    "a transfer syntax of a picture": ("WURI-008", swap("&rows", "&transferSyntax=1.2.840.10008.1.2.1&rows")),
    "an anonymous picture": ("WURI-009", swap("&rows", "&anonymize=yes&rows")),
    "half a window": ("WURI-010", swap("&windowWidth=400", "")),
}


def examples() -> Iterator[Example]:
    """Good and broken captures."""
    yield from mutated(KIND, "WADO-URI", [retrieval()], encode, _RETRIEVALS)
    yield from mutated(KIND, "WADO-URI of a picture", [picture()], encode, _PICTURES)
