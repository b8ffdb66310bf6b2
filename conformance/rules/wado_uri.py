"""WADO-URI as captured (RAD-55; PS3.18 9): a request by parameters, and the one object that answers it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from conformance.findings import Finding
from conformance.judgement import Judgement
from conformance.readers.dicom import IMPLICIT_LITTLE_ENDIAN, read_dicom
from conformance.readers.http import HttpMessage
from conformance.requirements import finding
from conformance.rules.dicom import UID

_DICOM: Final = "application/dicom"
_AT: Final = "HTTP request line"
_HEAD: Final = 64 * 1024
_IDS: Final = ("studyUID", "seriesUID", "objectUID")
#: What draws an image, and means nothing for a DICOM file.
_RENDERING: Final = frozenset(
    {"rows", "columns", "region", "windowCenter", "windowWidth", "frameNumber", "imageQuality", "annotation"}
    | {"presentationUID", "presentationSeriesUID", "iccprofile"}
)
_DEFINED: Final = _RENDERING | {
    *_IDS,
    *("requestType", "contentType", "charset", "anonymize", "transferSyntax", "accept"),
}
_MEDIA_TYPE: Final = re.compile(r"[\w.+-]+/[\w.+*-]+|\*/\*", re.ASCII)


def _whole(least: int, most: int) -> Callable[[str], bool]:
    return lambda text: text.isascii() and text.isdecimal() and least <= int(text[:10]) <= most


def _decimal(text: str) -> bool:
    return re.fullmatch(r"[+-]?\d+(\.\d*)?([eE][+-]?\d+)?", text, re.ASCII) is not None


def _region(text: str) -> bool:
    corners = text.split(",")
    if len(corners) != 4 or not all(map(_decimal, corners)):
        return False
    left, top, right, bottom = map(float, corners)
    return 0 <= left < right <= 1 and 0 <= top < bottom <= 1


_FORMS: Final[Mapping[str, tuple[Callable[[str], bool], str]]] = {
    "rows": (_whole(1, 2**31), "no number of pixels"),
    "columns": (_whole(1, 2**31), "no number of pixels"),
    "frameNumber": (_whole(1, 2**31), "no number from 1 on"),
    "imageQuality": (_whole(1, 100), "no number from 1 to 100"),
    "windowCenter": (_decimal, "no decimal number"),
    "windowWidth": (_decimal, "no decimal number"),
    "region": (_region, "not left,top,right,bottom between 0 and 1"),
    "anonymize": (lambda text: text == "yes", "another value than yes"),
    "presentationUID": (lambda text: UID.match(text) is not None, "no UID"),
    "presentationSeriesUID": (lambda text: UID.match(text) is not None, "no UID"),
}


@dataclass(slots=True)
class UriExchange:
    """What a request tells of its answer: its parameters by name, and which media types it takes."""

    parameters: dict[str, list[str]] = field(default_factory=dict)
    accept: str = ""

    def first(self, name: str) -> str:
        """The first value of a parameter, or empty."""
        return next(iter(self.parameters.get(name, ())), "")

    @property
    def media_types(self) -> list[str]:
        """Those of contentType, in its order."""
        listed = [one.partition(";")[0].strip().lower() for one in self.first("contentType").split(",")]
        return [one for one in listed if one]


def is_wado_uri(message: HttpMessage, exchange: UriExchange) -> bool:
    """Whether a message is one of WADO-URI, by its parameters, or by the request before it."""
    if message.method:
        return re.search(r"[?&](?:requestType=|objectUID=)", message.target, re.IGNORECASE) is not None
    return bool(exchange.parameters)


def captured(message: HttpMessage, exchange: UriExchange, judgement: Judgement) -> Iterator[Finding]:
    """A request or an answer."""
    if message.method:
        judgement.title = "WADO-URI request"
        exchange.accept = message.headers.get("accept") or ""
        for name, value in parse_qsl(urlsplit(message.target).query, keep_blank_values=True):
            exchange.parameters.setdefault(name, []).append(value)
        yield from _request(message, exchange)
        return
    judgement.title = "WADO-URI answer"
    if message.status == 200:
        yield from _answer(message, exchange)


def _request(message: HttpMessage, exchange: UriExchange) -> Iterator[Finding]:
    if message.method != "GET":
        yield finding("WURI-001", _AT, "another method than GET", message.method)
    if exchange.first("requestType") != "WADO":
        value = exchange.first("requestType")
        yield finding("WURI-002", f"{_AT}, requestType", "absent, or another value", value)
    for name in _IDS:
        value = exchange.first(name)
        if not UID.match(value):
            yield finding("WURI-003", f"{_AT}, {name}", "absent" if not value else "no UID", value)
    for name, values in exchange.parameters.items():
        at = f"{_AT}, {name}"
        if len(values) > 1:
            yield finding("WURI-004", at, f"{len(values)} times", " ".join(values))
        if name not in _DEFINED:
            yield finding("WURI-005", at, "not defined", name)
        elif name in _FORMS and not _FORMS[name][0](values[0]):
            yield finding("WURI-006", at, _FORMS[name][1], values[0])
    yield from _types(exchange)
    yield from _rendering(exchange)


def _types(exchange: UriExchange) -> Iterator[Finding]:
    for value in exchange.media_types:
        if not _MEDIA_TYPE.fullmatch(value):
            yield finding("WURI-007", f"{_AT}, contentType", "no media type", value)
    syntax = exchange.first("transferSyntax")
    if "transferSyntax" not in exchange.parameters:
        return
    at = f"{_AT}, transferSyntax"
    if _DICOM not in exchange.media_types:
        yield finding("WURI-008", at, "of something else than application/dicom", syntax)
    if not UID.match(syntax) or syntax == IMPLICIT_LITTLE_ENDIAN:
        yield finding("WURI-008", at, "no UID that may be asked for", syntax)


def _rendering(exchange: UriExchange) -> Iterator[Finding]:
    if exchange.media_types == [_DICOM]:
        for name in exchange.parameters.keys() & _RENDERING:
            yield finding("WURI-009", f"{_AT}, {name}", "of a DICOM file", exchange.first(name))
    elif "anonymize" in exchange.parameters:
        yield finding(
            "WURI-009", f"{_AT}, anonymize", "of what is no DICOM file", exchange.first("anonymize")
        )
    window = exchange.parameters.keys() & {"windowCenter", "windowWidth"}
    if len(window) == 1:
        yield finding("WURI-010", _AT, f"{next(iter(window))} without the other", " ".join(window))


def _answer(message: HttpMessage, exchange: UriExchange) -> Iterator[Finding]:
    media_type = message.media_type
    if media_type.value.startswith("multipart/"):
        yield finding("WURI-020", "HTTP Content-Type", "a package, and not one object", media_type.raw)
    acceptable = exchange.media_types or [one.partition(";")[0].strip() for one in exchange.accept.split(",")]
    if not any(_covers(one.lower(), media_type.value) for one in acceptable if one):
        value = f"{media_type.value}, and asked for was {', '.join(acceptable)}"
        yield finding("WURI-021", "HTTP Content-Type", "a media type that was not asked for", value)
    if media_type.value != _DICOM:
        return
    file = read_dicom(message.body.read(0, _HEAD))
    if not file.meta.elements:
        yield finding("WURI-022", "HTTP body", "no DICOM file")
        return
    for name, number in (("studyUID", 0x0020000D), ("seriesUID", 0x0020000E), ("objectUID", 0x00080018)):
        uid, right = file.data_set.text(number), exchange.first(name)
        if uid and right and uid != right:
            yield finding("WURI-023", "HTTP body", f"another {name} than was asked for", uid, right=right)
    syntax = exchange.first("transferSyntax")
    if syntax and file.transfer_syntax != syntax:
        yield finding("WURI-024", "HTTP body", "another transfer syntax", file.transfer_syntax, right=syntax)


def _covers(acceptable: str, media_type: str) -> bool:
    kind = acceptable.partition("/")[0]
    return acceptable in ("*/*", media_type) or (
        acceptable == f"{kind}/*" and media_type.startswith(f"{kind}/")
    )
