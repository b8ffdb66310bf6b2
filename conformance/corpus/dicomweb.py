"""Captures of WADO-RS, QIDO-RS and STOW-RS, and what can be wrong with them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

from conformance.corpus.data_sets import Raw, part10
from conformance.corpus.example import Example, mutated
from conformance.corpus.messages import encode
from conformance.corpus.metadata import Change, all_of, swap

KIND: Final = "http-capture"
_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2.1"
_SERIES: Final = "/dicom-web/studies/2.25.500/series/2.25.501"


def an_instance(syntax: str = _LITTLE_ENDIAN) -> bytes:
    """A small instance as a file."""
    return part10(
        {
            0x00080016: "1.2.840.10008.5.1.4.1.1.2",
            0x00080018: "2.25.5011",
            0x0020000D: "2.25.500",
            0x0020000E: "2.25.501",
            0x00280010: Raw("US", b"\1\0"),
        },
        syntax=syntax,
    )


def _multipart(start: str, octets: bytes, end: str = "--b1--") -> str:
    return (
        f'{start}\r\nContent-Type: multipart/related; type="application/dicom"; boundary=b1\r\n\r\n'
        f"--b1\r\nContent-Type: application/dicom; transfer-syntax={_LITTLE_ENDIAN}\r\n\r\n"
        f"{octets.decode('latin_1')}\r\n{end}\r\n"
    )


def retrieval() -> str:
    """A series by WADO-RS."""
    request = f'GET {_SERIES} HTTP/1.1\r\nAccept: multipart/related; type="application/dicom"\r\n\r\n\n'
    return request + _multipart("HTTP/1.1 200 OK", an_instance())


def an_attribute(vr: str, *values: Any) -> dict[str, Any]:
    """An attribute of the DICOM JSON model."""
    return {"vr": vr, "Value": list(values)} if values else {"vr": vr}


def study() -> dict[str, Any]:
    """A study as QIDO-RS finds it."""
    return {
        "00080020": an_attribute("DA", "20260228"),
        "00080030": an_attribute("TM", "093000"),
        "00080050": an_attribute("SH", "A123"),
        "00080061": an_attribute("CS", "CT"),
        "00080090": an_attribute("PN"),
        "00081190": an_attribute("UR", "https://pacs.example.org/dicom-web/studies/2.25.500"),
        "00100010": an_attribute("PN", {"Alphabetic": "Doe^Jane"}),
        "00100020": an_attribute("LO", "P1"),
        "00100030": an_attribute("DA", "19700101"),
        "00100040": an_attribute("CS", "F"),
        "0020000D": an_attribute("UI", "2.25.500"),
        "00200010": an_attribute("SH"),
        "00201206": an_attribute("IS", 1),
        "00201208": an_attribute("IS", 1),
    }


def search() -> str:
    """A search for studies."""
    request = "GET /dicom-web/studies?PatientID=P1 HTTP/1.1\r\nAccept: application/dicom+json\r\n\r\n\n"
    return f"{request}HTTP/1.1 200 OK\r\nContent-Type: application/dicom+json\r\n\r\n{json.dumps([study()])}"


def _reference(**more: Any) -> dict[str, Any]:
    one = {
        "00081150": an_attribute("UI", "1.2.840.10008.5.1.4.1.1.2"),
        "00081155": an_attribute("UI", "2.25.5011"),
    }
    return one | more


def storage() -> str:
    """An instance that is stored, and another that is not."""
    answer = {
        "00081190": an_attribute("UR", "https://pacs.example.org/dicom-web/studies/2.25.500"),
        "00081198": an_attribute("SQ", _reference(**{"00081197": an_attribute("US", 272)})),
        "00081199": an_attribute(
            "SQ", _reference(**{"00081190": an_attribute("UR", "https://x.example.org/")})
        ),
    }
    request = _multipart("POST /dicom-web/studies HTTP/1.1", an_instance())
    head = "HTTP/1.1 202 Accepted\r\nContent-Type: application/dicom+json\r\n\r\n"
    return f"{request}\n{head}{json.dumps(answer)}"


_RETRIEVALS: Final[dict[str, tuple[str, Change]]] = {
    "a type that is not quoted": (
        "WEB-001",
        swap(
            '200 OK\r\nContent-Type: multipart/related; type="application/dicom"',
            "200 OK\r\nContent-Type: multipart/related; type=application/dicom",
        ),
    ),
    "a part of another type": (
        "WEB-002",
        swap("Content-Type: application/dicom;", "Content-Type: application/octet-stream;"),
    ),
    "a part that is no file": ("WEB-003", swap("DICM", "DICX")),
    "another transfer syntax than group 0002": (
        "WEB-004",
        swap(f"transfer-syntax={_LITTLE_ENDIAN}", "transfer-syntax=1.2.840.10008.1.2.4.70"),
    ),
    "Implicit VR": (
        "WEB-005",
        lambda capture: capture.__setitem__(
            0,
            capture[0].replace(
                an_instance().decode("latin_1"), an_instance("1.2.840.10008.1.2").decode("latin_1")
            ),
        ),
    ),
    "Implicit VR as stored": (
        "WEB-008",
        lambda capture: capture.__setitem__(
            0,
            capture[0]
            .replace('"application/dicom"\r\n\r\n', '"application/dicom"; transfer-syntax=*\r\n\r\n', 1)
            .replace(an_instance().decode("latin_1"), an_instance("1.2.840.10008.1.2").decode("latin_1")),
        ),
    ),
    "no closing boundary": ("WEB-006", swap("--b1--", "")),
    "an instance of another series": ("WEB-007", swap("series/2.25.501", "series/2.25.502")),
    "a transfer syntax that was not asked for": (
        "WEB-009",
        swap(
            '"application/dicom"\r\n\r\n',
            '"application/dicom"; transfer-syntax=1.2.840.10008.1.2.4.70\r\n\r\n',
        ),
    ),
    "no Accept": ("WEB-010", swap('Accept: multipart/related; type="application/dicom"\r\n', "Host: x\r\n")),
    "an Accept that is not quoted": (
        "WEB-011",
        swap(
            'Accept: multipart/related; type="application/dicom"',
            "Accept: multipart/related; type=application/dicom",
        ),
    ),
    "a study that is no UID": ("WEB-012", swap("studies/2.25.500", "studies/study1")),
    "no part": (
        "WEB-013",
        lambda capture: capture.__setitem__(0, capture[0].partition("--b1\r\n")[0] + "--b1--\r\n"),
    ),
}
_SEARCHES: Final[dict[str, tuple[str, Change]]] = {
    "an object": ("WEB-020", all_of(swap("[{", "{"), swap("}]", "}", 99))),
    "no JSON": ("WEB-020", swap("[{", "[{{")),
    "a keyword as name": ("WEB-021", swap('"00080020"', '"StudyDate"')),
    "tags out of order": ("WEB-022", swap('"00080020"', '"00290020"')),
    "an attribute without vr": ("WEB-023", swap('"vr": "DA", ', "")),
    "two forms of a value": ("WEB-024", swap('"vr": "DA", ', '"vr": "DA", "InlineBinary": "AAAA", ')),
    "a person name as text": ("WEB-025", swap('{"Alphabetic": "Doe^Jane"}', '"Doe^Jane"')),
    "a number in text": ("WEB-025", swap('"P1"', "1")),
    "group 0002": ("WEB-026", swap('"00080020"', '"00020010"')),
    "an empty array of values": ("WEB-027", swap('["P1"]', "[]")),
    "no Patient ID": ("WEB-030", swap('"00100020": {"vr": "LO", "Value": ["P1"]}, ', "")),
    "nothing as an array": ("WEB-032", swap(json.dumps([study()]), "[]")),
    "nothing as 404": ("WEB-033", swap("200 OK", "404 Not Found")),
    "plain JSON": ("WEB-034", swap("Content-Type: application/dicom+json", "Content-Type: application/json")),
}
_STORAGES: Final[dict[str, tuple[str, Change]]] = {
    "200 with failures": ("WEB-040", swap("202 Accepted", "200 OK")),
    "nothing about instances": (
        "WEB-041",
        all_of(swap('"00081198"', '"0008119B"'), swap('"00081199"', '"0008119C"')),
    ),
    "an instance without class": ("WEB-042", swap('"00081150"', '"00081151"')),
    "a failure without reason": ("WEB-043", swap('"00081197"', '"00081196"')),
    "an instance without Retrieve URL": (
        "WEB-044",
        swap(', "00081190": {"vr": "UR", "Value": ["https://x.example.org/"]}', ""),
    ),
    "a body of another type": ("WEB-045", swap("multipart/related;", "multipart/form-data;")),
    "409 with what is stored": ("WEB-046", swap("202 Accepted", "409 Conflict")),
}


def examples() -> Iterator[Example]:
    """Good and broken captures."""
    yield from mutated(KIND, "WADO-RS", [retrieval()], encode, _RETRIEVALS)
    yield from mutated(KIND, "QIDO-RS", [search()], encode, _SEARCHES)
    yield from mutated(KIND, "STOW-RS", [storage()], encode, _STORAGES)
    yield Example("DICOM JSON", "dicom-json", json.dumps([study()]).encode())
