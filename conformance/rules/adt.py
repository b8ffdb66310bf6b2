"""Messages of HL7 v2, framed or not: patient identity feeds (ITI TF-2 3.8, 3.30), those of a department, and
acknowledgements."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from conformance.findings import Finding
from conformance.identifiers import OID
from conformance.judgement import Judgement
from conformance.readers.source import MOST_HELD, Source
from conformance.requirements import finding
from conformance.rules import department

_BOM: Final = b"\xef\xbb\xbf"
_TIME: Final = re.compile(r"\d{4}(?:\d\d){0,5}(?:\.\d{1,4})?(?:[+-]\d{4})?\Z", re.ASCII)
_SEGMENT: Final = re.compile(r"[A-Z][A-Z0-9]{2}\Z")
_CHARACTER_SETS: Final = {
    "": "ascii", "ASCII": "ascii", "8859/1": "latin_1", "8859/2": "iso8859_2", "8859/5": "iso8859_5",
    "8859/7": "iso8859_7", "8859/9": "iso8859_9", "8859/15": "iso8859_15", "UNICODE UTF-8": "utf_8",
    "ISO IR87": "iso2022_jp", "GB 18030-2000": "gb18030", "KS X 1001": "euc_kr", "BIG-5": "big5",
}  # fmt: skip
#: Events of the feeds, and the segments that each needs beside MSH, EVN and PID.
_EVENTS: Final = {
    "A01": ("PV1",), "A04": ("PV1",), "A05": ("PV1",), "A08": ("PV1",), "A28": ("PV1",), "A31": ("PV1",),
    "A40": ("MRG",), "A47": ("MRG",),
}  # fmt: skip
_VERSIONS: Final = ("2.3.1", "2.5", "2.5.1")


class Hl7:
    """A message split by its own separators."""

    def __init__(self, text: str) -> None:
        self.separator = text[3:4] or "|"
        self.component, self.repetition, self.escape, self.subcomponent = [
            *text[4:8],
            *"^~\\&"[len(text[4:8]) :],
        ][:4]
        self.segments = [line for line in text.split("\r") if line]

    def named(self, name: str) -> list[list[str]]:
        """The fields of every segment of a name; those of MSH count as the standard counts them."""
        listed = []
        for segment in self.segments:
            fields = segment.split(self.separator)
            if fields[0] == name:
                listed.append([fields[0], self.separator, *fields[1:]] if name == "MSH" else fields)
        return listed

    def field(self, name: str, number: int) -> str:
        """A field of the first segment of a name; empty when there is none."""
        fields = next(iter(self.named(name)), [])
        return fields[number] if len(fields) > number else ""


def judged(source: Source) -> Judgement:
    """A message of HL7 v2."""
    judgement = Judgement("HL7 v2 message")
    judgement.findings = _message(source, judgement)
    return judgement


def _message(source: Source, judgement: Judgement) -> Iterator[Finding]:
    octets = source.read(0, MOST_HELD)
    if octets.startswith(b"\x0b"):
        octets = octets[1:]
        if not octets.endswith(b"\x1c\r"):
            yield finding("HL7V2-019", "frame", "not ended by 1C 0D", octets[-4:].hex())
        octets = octets.removesuffix(b"\x1c\r").removesuffix(b"\x1c")
    if octets.startswith(_BOM):
        yield finding("HL7V2-025", "frame", "a byte order mark before MSH")
        octets = octets.removeprefix(_BOM)
    octets = octets.lstrip(b"\r\n ")
    if b"\n" in octets:
        yield finding("HL7V2-002", "message", "line feeds between segments")
        octets = octets.replace(b"\r\n", b"\r").replace(b"\n", b"\r")
    first = Hl7(octets.decode("latin_1"))
    codec = _CHARACTER_SETS.get(first.field("MSH", 18).split(first.repetition)[0])
    if codec is None:
        yield finding("HL7V2-018", "MSH-18", "no character set of table 0211", first.field("MSH", 18))
    try:
        text = octets.decode(codec or "latin_1")
    except UnicodeDecodeError:
        yield finding("HL7V2-018", "MSH-18", "text that is not in it", first.field("MSH", 18) or "ASCII")
        text = octets.decode("latin_1")
    message = Hl7(text)
    type = message.field("MSH", 9).split(message.component)
    judgement.title = f"HL7 v2 {'^'.join(type[:2])}"
    yield from _header(message, type)
    if type[0] == "ACK":
        yield from _acknowledgement(message)
    elif type[0] in department.ORDERS | department.REPORTS:
        yield from department.findings(message, type[0], type[1] if len(type) > 1 else "")
    else:
        yield from _feed(message, type)


def _header(message: Hl7, type: list[str]) -> Iterator[Finding]:
    msh = message.segments[0] if message.segments else ""
    if msh[:3] != "MSH" or msh[3:8] != "|^~\\&":
        yield finding("HL7V2-001", "MSH-1", "not MSH|^~\\&", msh[:8])
    for number in (3, 4, 5, 6):
        if not message.field("MSH", number):
            yield finding("HL7V2-003", f"MSH-{number}", "empty")
    if not _TIME.match(message.field("MSH", 7).split(message.component)[0]):
        yield finding("HL7V2-004", "MSH-7", "empty, or no time", message.field("MSH", 7))
    if len(type) < 2:
        yield finding("HL7V2-005", "MSH-9", "no event in the second component", message.field("MSH", 9))
    if not message.field("MSH", 10):
        yield finding("HL7V2-006", "MSH-10", "empty")
    if message.field("MSH", 11).split(message.component)[0] not in ("P", "T", "D"):
        yield finding("HL7V2-007", "MSH-11", "neither P nor T nor D", message.field("MSH", 11))
    version = message.field("MSH", 12).split(message.component)[0]
    if version not in _VERSIONS:
        yield finding("HL7V2-008", "MSH-12", "another version", version)
    for number, segment in enumerate(message.segments, 1):
        name = segment.split(message.separator)[0]
        if not _SEGMENT.match(name):
            yield finding("HL7V2-024", f"segment {number}", "no name of a segment", name)


def _acknowledgement(message: Hl7) -> Iterator[Finding]:
    if message.field("MSA", 1) not in ("AA", "AE", "AR", "CA", "CE", "CR"):
        yield finding("HL7V2-022", "MSA-1", "absent, or another", message.field("MSA", 1))
    if not message.field("MSA", 2):
        yield finding("HL7V2-023", "MSA-2", "empty")


def _feed(message: Hl7, type: list[str]) -> Iterator[Finding]:
    event = type[1] if len(type) > 1 else ""
    if type[0] != "ADT" or event not in _EVENTS:
        yield finding("HL7V2-020", "MSH-9", "no event of a feed", message.field("MSH", 9))
    names = [segment[:3] for segment in message.segments]
    if names[1:2] != ["EVN"]:
        yield finding("HL7V2-009", "segment 2", "no EVN behind MSH", " ".join(names[:4]))
    elif message.field("EVN", 1) not in ("", event):
        yield finding("HL7V2-021", "EVN-1", "not the event of MSH-9", message.field("EVN", 1))
    if "PID" not in names:
        yield finding("HL7V2-010", "PID", "absent")
        return
    for needed in _EVENTS.get(event, ()):
        if needed not in names:
            yield finding("HL7V2-014" if needed == "MRG" else "HL7V2-013", needed, f"absent in {event}")
    yield from _ids(message, "PID", 3, "HL7V2-011")
    if not message.field("PID", 5):
        yield finding("HL7V2-012", "PID-5", "empty")
    if "MRG" in names:
        yield from _merge(message)


def _ids(message: Hl7, name: str, number: int, id: str) -> Iterator[Finding]:
    value = message.field(name, number)
    if not value:
        yield finding(id, f"{name}-{number}", "empty")
        return
    for repetition in value.split(message.repetition):
        components = [*repetition.split(message.component), *("",) * 4]
        parts = components[3].split(message.subcomponent)
        if not components[0] or components[0] == '""':
            yield finding(id, f"{name}-{number}.1", "no id", repetition)
        is_universal = len(parts) == 3 and OID.match(parts[1]) and parts[2] == "ISO"
        if not is_universal and not (len(parts) == 1 and parts[0]):
            yield finding(id, f"{name}-{number}.4", "no assigning authority &OID&ISO", repetition)


def _merge(message: Hl7) -> Iterator[Finding]:
    if len(message.named("MRG")) > 1 or len(message.named("PID")) > 1:
        yield finding("HL7V2-017", "MRG", f"{len(message.named('MRG'))} pairs")
    yield from _ids(message, "MRG", 1, "HL7V2-015")

    def domains(value: str) -> dict[str, str]:
        listed = (one.split(message.component) for one in value.split(message.repetition))
        return {(one[3] if len(one) > 3 else ""): one[0] for one in listed}

    survivors, subsumed = domains(message.field("PID", 3)), domains(message.field("MRG", 1))
    common = survivors.keys() & subsumed.keys()
    if not common:
        yield finding("HL7V2-015", "MRG-1.4", "no authority of PID-3", message.field("MRG", 1))
    for authority in common:
        if survivors[authority] == subsumed[authority]:
            yield finding("HL7V2-016", "MRG-1", "the id of PID-3 itself", message.field("MRG", 1))
