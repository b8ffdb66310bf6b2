"""Messages of a department: orders and their status, reports and documents (RAD TF-2 4.4, 4.13, 4.28, 4.128;
HL7 v2.5.1 chapters 4, 7 and 9)."""

from __future__ import annotations

import binascii
import re
from base64 import b64decode
from collections.abc import Iterator, Sequence
from typing import Final, Protocol

from conformance.findings import Finding
from conformance.identifiers import OID
from conformance.requirements import finding

ORDERS: Final = frozenset({"ORM", "OMG", "OMI"})
REPORTS: Final = frozenset({"ORU", "MDM"})
_CONTROLS: Final = frozenset(
    {
        *("NW", "OK", "UA", "CA", "OC", "CR", "UC", "DC", "OD", "DR", "UD", "OE", "OR", "RF"),
        *("AF", "DF", "FU", "HD", "OH", "UH", "HR", "RL", "RR", "RP", "RU", "RO", "RQ", "UM"),
        *("PA", "CH", "XO", "XX", "UX", "XR", "DE", "RE", "SR", "SS", "SC", "SN", "NA", "CN"),
    }
)
_STATUSES: Final = frozenset(("", "A", "CA", "CM", "DC", "ER", "HD", "IP", "RP", "SC"))
_RESULTS: Final = frozenset("OISAPCRFXYZ")
_OBSERVATIONS: Final = frozenset("CDFINOPRSUWX")
_COMPLETIONS: Final = frozenset({"DI", "DO", "IP", "IN", "PA", "AU", "LA"})
_NAMING_PARENT: Final = frozenset(("T06", "T08", "T10"))
_WITH_CONTENT: Final = frozenset(("T02", "T04", "T06", "T08", "T10"))
_OF_STUDY: Final = frozenset(("113014", "Study Instance UID"))
_PARTS_OF_ED: Final = 5
_HEX: Final = re.compile(r"(?:[0-9A-Fa-f]{2})*\Z", re.ASCII)
_PDF: Final = b"%PDF-"
_WITHIN: Final = 1024
_MOST_OF_A_UID: Final = 64

Segment = Sequence[str]


class Segmented(Protocol):
    """A message by its segments."""

    component: str

    def named(self, name: str) -> Sequence[Segment]:
        """The fields of every segment of a name."""
        ...

    def field(self, name: str, number: int) -> str:
        """A field of the first segment of a name; empty when there is none."""
        ...


def findings(message: Segmented, kind: str, event: str) -> Iterator[Finding]:
    """What is wrong with an order, a report or a document."""
    if not message.named("PID") or not message.field("PID", 3).split(message.component)[0]:
        yield finding("HL7V2-026", "PID-3", "no id of a patient")
    if kind in ORDERS:
        yield from _order(message)
    elif kind == "ORU":
        yield from _report(message)
    else:
        yield from _document(message, event)
    yield from _study(message, kind, event)
    for number, observation in enumerate(message.named("OBX"), 1):
        yield from _observation(observation, number, message.component)


def _order(message: Segmented) -> Iterator[Finding]:
    orders = message.named("ORC")
    if not orders:
        yield finding("HL7V2-027", "ORC", "absent")
    if not message.named("OBR"):
        yield finding("HL7V2-027", "OBR", "absent")
    for number, order in enumerate(orders, 1):
        if _at(order, 1) not in _CONTROLS:
            yield finding("HL7V2-028", f"ORC[{number}]-1", "absent, or none of table 0119", _at(order, 1))
        if _at(order, 5) not in _STATUSES:
            yield finding("HL7V2-029", f"ORC[{number}]-5", "none of table 0038", _at(order, 5))


def _report(message: Segmented) -> Iterator[Finding]:
    results = message.named("OBR")
    if not results:
        yield finding("HL7V2-030", "OBR", "absent")
    for number, result in enumerate(results, 1):
        if _at(result, 25) not in _RESULTS:
            yield finding("HL7V2-031", f"OBR[{number}]-25", "absent, or none of table 0123", _at(result, 25))


def _document(message: Segmented, event: str) -> Iterator[Finding]:
    if not message.named("EVN"):
        yield finding("HL7V2-032", "EVN", "absent")
    notices = message.named("TXA")
    if len(notices) != 1:
        yield finding("HL7V2-032", "TXA", f"{len(notices)} of them")
        return
    if not message.field("TXA", 12):
        yield finding("HL7V2-033", "TXA-12", "empty")
    if event in _NAMING_PARENT and not message.field("TXA", 13):
        yield finding("HL7V2-033", "TXA-13", f"empty in {event}")
    if (status := message.field("TXA", 17)) not in _COMPLETIONS:
        yield finding("HL7V2-034", "TXA-17", "absent, or none of table 0271", status)
    if event in _WITH_CONTENT and not message.named("OBX"):
        yield finding("HL7V2-032", "OBX", f"absent in {event}")


def _study(message: Segmented, kind: str, event: str) -> Iterator[Finding]:
    component = message.component
    observed = [
        _at(one, 5) for one in message.named("OBX") if not _OF_STUDY.isdisjoint(_at(one, 3).split(component))
    ]
    fields = [*(_at(one, 3) for one in message.named("IPC")), message.field("ZDS", 1), *observed]
    uids = [uid for field in fields if (uid := field.split(component)[0])]
    for uid in uids:
        if not OID.match(uid) or len(uid) > _MOST_OF_A_UID:
            yield finding("HL7V2-036", "Study Instance UID", "no UID", uid)
    numbers = [message.field("IPC", 1), message.field("OBR", 18), message.field("TXA", 15)]
    # A cancelled document is named by its number, a cancelled result by its order.
    is_cancelled = (kind, event) == ("MDM", "T11") or message.field("OBR", 25) == "X"
    if not uids and not any(numbers) and not is_cancelled:
        yield finding("HL7V2-035", "IPC-3", "neither a Study Instance UID nor an accession number")


def _observation(observation: Segment, number: int, component: str) -> Iterator[Finding]:
    place = f"OBX[{number}]"
    if not _at(observation, 2) and _at(observation, 5):
        yield finding("HL7V2-037", f"{place}-2", "empty, and there is a value")
    if _at(observation, 11) not in _OBSERVATIONS:
        yield finding("HL7V2-038", f"{place}-11", "absent, or none of table 0085", _at(observation, 11))
    if _at(observation, 2) == "ED":
        yield from _encapsulated(_at(observation, 5).split(component, _PARTS_OF_ED - 1), f"{place}-5")


def _encapsulated(parts: Sequence[str], place: str) -> Iterator[Finding]:
    if len(parts) < _PARTS_OF_ED or not parts[1]:
        yield finding("HL7V2-039", place, "not source^type^subtype^encoding^data")
        return
    _, type, subtype, encoding, data = parts
    octets = _octets(encoding, data)
    if octets is None:
        yield finding(
            "HL7V2-039", f"{place}.4", "data that are not in it, or none of A, Hex, Base64", encoding
        )
    elif "pdf" in f"{type}/{subtype}".lower() and _PDF not in octets[:_WITHIN]:
        yield finding("HL7V2-040", f"{place}.5", "no PDF")


def _octets(encoding: str, data: str) -> bytes | None:
    """The data, or None where they are not in the encoding."""
    if encoding == "A":
        return data.encode("utf-8", "replace")
    if encoding == "Hex":
        return bytes.fromhex(data) if _HEX.match(data) else None
    if encoding != "Base64":
        return None
    try:
        return b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        return None


def _at(segment: Segment, number: int) -> str:
    return segment[number] if len(segment) > number else ""
