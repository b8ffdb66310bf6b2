"""DICOMweb as captured: WADO-RS, QIDO-RS, STOW-RS, and the DICOM JSON model (PS3.18 8, 10, annex F)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from conformance.findings import Finding
from conformance.judgement import Judgement
from conformance.readers.dicom import (
    EXPLICIT_BIG_ENDIAN,
    EXPLICIT_LITTLE_ENDIAN,
    IMPLICIT_LITTLE_ENDIAN,
    read_dicom,
)
from conformance.readers.http import HttpMessage, MediaType, Part, parts
from conformance.readers.json import Node, NotJson, read_json
from conformance.readers.source import Source
from conformance.requirements import finding
from conformance.rules.dicom import UID
from conformance.tags import ATTRIBUTES

_PATH: Final = re.compile(
    r"/studies(?:/(?P<study>[^/]+))?(?:/series(?:/(?P<series>[^/]+))?)?"
    r"(?:/instances(?:/(?P<instance>[^/]+))?)?(?:/(?P<resource>[^/]+)(?:/.*)?)?\Z"
)
_SEARCH: Final = re.compile(r"/(?:studies|series|instances)\Z")
_HEAD: Final = 64 * 1024
_JSON: Final = "application/dicom+json"
_TAG: Final = re.compile(r"[0-9A-F]{8}\Z")
_VRS: Final = frozenset(
    """AE AS AT CS DA DS DT FD FL IS LO LT OB OD OF OL OV OW PN SH SL SQ SS ST SV TM UC UI UL UN UR US UT UV
    """.split()  # noqa: SIM905 - so it is read as PS3.5 lists it
)
_NUMBERS: Final = frozenset({"FL", "FD", "SL", "SS", "UL", "US"})
_STUDY: Final = (
    0x00080020, 0x00080030, 0x00080050, 0x00080061, 0x00080090, 0x00100010, 0x00100020, 0x00100030,
    0x00100040, 0x0020000D, 0x00200010, 0x00201206, 0x00201208,
)  # fmt: skip
_SERIES: Final = (0x00080060, 0x0020000E, 0x00200011)
_INSTANCE: Final = (0x00080016, 0x00080018, 0x00200013)


@dataclass(slots=True)
class WebExchange:
    """What a request tells of its answer."""

    method: str = ""
    path: str = ""
    accept: str = ""

    @property
    def target(self) -> dict[str, str]:
        """The UIDs and the resource that the path names."""
        match = _PATH.search(self.path)
        return {name: value for name, value in (match.groupdict() if match else {}).items() if value}

    @property
    def is_search(self) -> bool:
        """Whether the request is QIDO-RS."""
        return self.method == "GET" and _SEARCH.search(self.path) is not None and "/metadata" not in self.path


def is_dicomweb(message: HttpMessage, exchange: WebExchange) -> bool:
    """Whether a message is one of DICOMweb, by its path, its media type, or its request."""
    path = urlsplit(message.target).path if message.method else exchange.path
    if message.method == "POST" and message.media_type.value == "application/json":
        return False  # others have studies, too
    if re.search(r"/(?:studies|series|instances)(?:/|\Z)", path):
        return True
    media_type = message.media_type
    type = media_type.parameters.get("type", "")
    return "dicom" in media_type.value or type.startswith("application/dicom")


def captured(message: HttpMessage, exchange: WebExchange, judgement: Judgement) -> Iterator[Finding]:
    """A request or an answer of DICOMweb."""
    if message.method:
        exchange.method, exchange.path = message.method, urlsplit(message.target).path
        exchange.accept = message.headers.get("accept") or ""
        judgement.title = _title(exchange, "request")
        yield from _request(message, exchange)
        return
    judgement.title = _title(exchange, "answer")
    if message.status >= 400 or message.status in (204, 304):
        if exchange.is_search and message.status == 404:
            yield finding("WEB-033", "HTTP status", "404 for a search", message.status)
        if exchange.method != "POST" or not len(message.body):
            return
    media_type = message.media_type
    if media_type.value == "multipart/related":
        yield from _package(message, exchange)
    elif media_type.value in (_JSON, "application/json"):
        yield from _json_answer(message, exchange)
    elif media_type.value == "application/dicom":
        yield from _instance(message.body, media_type, "HTTP body", exchange)
    elif exchange.is_search or (exchange.method == "POST" and message.status < 400):
        yield finding("WEB-034", "HTTP Content-Type", "another media type", media_type.raw)


def _title(exchange: WebExchange, direction: str) -> str:
    kind = "STOW-RS" if exchange.method == "POST" else "QIDO-RS" if exchange.is_search else "WADO-RS"
    return f"{kind} {direction}"


def _request(message: HttpMessage, exchange: WebExchange) -> Iterator[Finding]:
    target = exchange.target
    for name in ("study", "series", "instance"):
        uid = target.get(name)
        if uid is not None and not UID.match(uid):
            yield finding("WEB-012", "HTTP request line", f"no UID of the {name}", uid)
    if exchange.method == "GET" and not exchange.accept:
        yield finding("WEB-010", "HTTP Accept", "absent")
    if re.search(r"type=application/", exchange.accept):
        yield finding("WEB-011", "HTTP Accept", "type is not quoted", exchange.accept)
    if exchange.method == "POST":
        media_type = message.media_type
        type = media_type.parameters.get("type", "")
        if media_type.value != "multipart/related" or not type.startswith("application/dicom"):
            yield finding("WEB-045", "HTTP Content-Type", "another media type", media_type.raw)
        else:
            yield from _package(message, exchange)


def _package(message: HttpMessage, exchange: WebExchange) -> Iterator[Finding]:
    media_type = message.media_type
    type = media_type.parameters.get("type", "")
    if not type or "type" in media_type.unquoted:
        yield finding("WEB-001", "HTTP Content-Type", "type is absent, or not quoted", media_type.raw)
    number = 0
    try:
        for part in parts(message.body, media_type.parameters.get("boundary", "")):
            number = part.number
            yield from _part(part, type, exchange)
    except ValueError as error:
        yield finding("WEB-006", "multipart body", str(error))
        return
    if not number:
        yield finding("WEB-013", "multipart body", "no part")


def _part(part: Part, type: str, exchange: WebExchange) -> Iterator[Finding]:
    media_type = MediaType.of(part.headers.get("content-type") or "")
    at = f"part {part.number}"
    if media_type.value != type.partition(";")[0]:
        yield finding(
            "WEB-002", f"{at}, Content-Type", "not the type of the whole", media_type.raw, right=type
        )
    if media_type.value == "application/dicom":
        yield from _instance(part.body, media_type, at, exchange)


def _instance(body: Source, media_type: MediaType, at: str, exchange: WebExchange) -> Iterator[Finding]:
    file = read_dicom(body.read(0, _HEAD))
    if not file.meta.elements or body.read(128, 4) != b"DICM":
        yield finding("WEB-003", at, "no DICOM Part 10 file")
        return
    syntax = file.transfer_syntax
    stated = media_type.parameters.get("transfer-syntax", "")
    if stated and stated != syntax:
        yield finding("WEB-004", at, "not that of group 0002", stated, right=syntax)
    if syntax in (IMPLICIT_LITTLE_ENDIAN, EXPLICIT_BIG_ENDIAN):
        as_stored = exchange.method == "GET" and re.search(r'transfer-syntax="?\*', exchange.accept)
        yield finding("WEB-008" if as_stored else "WEB-005", at, "a transfer syntax of files", syntax)
    if exchange.method == "POST":
        return
    if exchange.accept and not _is_acceptable(syntax, exchange.accept):
        yield finding(
            "WEB-009", at, "a transfer syntax that was not asked for", f"{syntax}: {exchange.accept}"
        )
    target = exchange.target
    for name, number in (("study", 0x0020000D), ("series", 0x0020000E), ("instance", 0x00080018)):
        uid = file.data_set.text(number) or (file.meta.text(0x00020003) if number == 0x00080018 else "")
        if uid and target.get(name) and uid != target[name]:
            yield finding("WEB-007", at, f"an instance of another {name}", uid, right=target[name])


def _is_acceptable(syntax: str, accept: str) -> bool:
    stated = re.findall(r'transfer-syntax="?([\d.*]+)', accept)
    ranges = [one.strip() for one in accept.split(",")]
    default = any("transfer-syntax" not in one for one in ranges)
    lossy = syntax.startswith("1.2.840.10008.1.2.4.") and default
    return "*" in stated or syntax in stated or (default and syntax == EXPLICIT_LITTLE_ENDIAN) or lossy


# --- JSON --------------------------------------------------------------------------------------------


def judged(source: Source) -> Judgement:
    """A document of the DICOM JSON model alone."""
    judgement = Judgement("DICOM JSON")
    judgement.findings = _alone(source)
    return judgement


def _alone(source: Source) -> Iterator[Finding]:
    yield from _model(source)


def _json_answer(message: HttpMessage, exchange: WebExchange) -> Iterator[Finding]:
    if message.media_type.value != _JSON:
        yield finding("WEB-034", "HTTP Content-Type", "another media type", message.media_type.raw)
    head = message.body.read(0, 4096)
    if exchange.method == "POST" or (
        not exchange.method and head.lstrip()[:1] == b"{" and b'"0008119' in head
    ):
        yield from _stored(message)
        return
    yield from _model(message.body)
    try:
        root = read_json(message.body, "$")
    except NotJson:
        return
    objects = root.value if isinstance(root.value, list) else []
    if exchange.is_search:
        if not objects:
            yield finding("WEB-032", "HTTP body", "an empty array")
        level = exchange.path.rpartition("/")[2]
        needed = {"studies": _STUDY, "series": _SERIES, "instances": _INSTANCE}[level]
        for at, one in enumerate(objects):
            if isinstance(one, dict):
                yield from _required(one, needed, f"$[{at}]")


def _required(one: dict[str, object], needed: tuple[int, ...], at: str) -> Iterator[Finding]:
    for number in needed:
        if f"{number:08X}" not in one:
            name = ATTRIBUTES.get(number, ("", f"{number:08X}"))[1]
            yield finding("WEB-030", f"{at}.{number:08X}", f"{name} is absent")


def _model(source: Source) -> Iterator[Finding]:
    try:
        root = read_json(source, "$")
    except NotJson as error:
        at, _, wrong = str(error).partition(": ")
        yield finding("WEB-020", at, wrong)
        return
    listed = root.value if isinstance(root.value, list) else None
    if listed is None:
        yield finding("WEB-020", "$", "no array", type(root.value).__name__)
        listed = [root.value]
    for position, one in enumerate(listed):
        yield from _data_set(one, f"$[{position}]")


def _data_set(one: object, at: str) -> Iterator[Finding]:
    if not isinstance(one, dict):
        yield finding("WEB-020", at, "no object", one)
        return
    names = list(one)
    if names != sorted(names):
        yield finding("WEB-022", at, "tags do not ascend", " ".join(names))
    for name, attribute in one.items():
        here = f"{at}.{name}"
        if not _TAG.match(name):
            yield finding("WEB-021", here, "no tag of eight upper-case digits", name)
        elif name.startswith("0002"):
            yield finding("WEB-026", here, "an element of group 0002")
        if not isinstance(attribute, dict) or str(attribute.get("vr")) not in _VRS:
            yield finding("WEB-023", here, "no vr", attribute)
            continue
        yield from _attribute(attribute, here)


def _attribute(attribute: dict[str, object], at: str) -> Iterator[Finding]:
    forms = [name for name in ("Value", "BulkDataURI", "InlineBinary") if name in attribute]
    if len(forms) > 1:
        yield finding("WEB-024", at, "more than one form of value", " ".join(forms))
    if "Value" not in attribute:
        return
    vr, values = str(attribute["vr"]), attribute["Value"]
    if not isinstance(values, list) or not values:
        yield finding("WEB-027", f"{at}.Value", "no array, or an empty one", values)
        return
    for position, value in enumerate(values):
        here = f"{at}.Value[{position}]"
        if vr == "SQ":
            yield from _data_set(value, here)
        elif vr == "PN":
            if value is not None and not (isinstance(value, dict) and set(value) <= _GROUPS):
                yield finding("WEB-025", here, "no object of a person name", value)
        elif vr in _NUMBERS and value is not None and not isinstance(value, int | float):
            yield finding("WEB-025", here, f"no number in {vr}", value)
        elif vr not in _NUMBERS | {"IS", "DS", "SV", "UV"} and isinstance(value, int | float | dict):
            yield finding("WEB-025", here, f"no text in {vr}", value)


_GROUPS: Final = {"Alphabetic", "Ideographic", "Phonetic"}


def _stored(message: HttpMessage) -> Iterator[Finding]:
    """The answer of STOW-RS: one object."""
    try:
        root = read_json(message.body, "$")
    except NotJson as error:
        yield finding("WEB-020", "HTTP body", str(error))
        return
    document = Node(root.value[0], "$[0]") if isinstance(root.value, list) and root.value else root
    yield from _data_set(document.value, document.path)
    stored, failed = (document.child(name).children("Value") for name in ("00081199", "00081198"))
    if not stored and not failed and "0008119A" not in document:
        yield finding("WEB-041", document.path, "neither stored nor failed instances")
    if message.status == 200 and failed:
        yield finding("WEB-040", "HTTP status", f"200 though {len(failed)} instances failed", 200)
    if message.status in (400, 409) and stored:
        wrong = f"{message.status} though {len(stored)} instances are stored"
        yield finding("WEB-046", "HTTP status", wrong, message.status)
    for item in (*stored, *failed):
        for name in ("00081150", "00081155"):
            if not item.child(name).children("Value"):
                yield finding("WEB-042", f"{item.path}.{name}", "absent")
    for item in stored:
        if "00081190" not in item:
            yield finding("WEB-044", f"{item.path}.00081190", "no Retrieve URL")
    for item in failed:
        if not item.child("00081197").children("Value"):
            yield finding("WEB-043", f"{item.path}.00081197", "no Failure Reason")
