"""Patient identity feeds of HL7 v2, and what can be wrong with them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from conformance.corpus.example import Example, mutated
from conformance.corpus.metadata import Change, encode, swap

KIND: Final = "hl7v2-adt"
_ID: Final = "P1^^^&1.3.6.1.4.1.21367.13.20.1000&ISO"

ADMISSION: Final = (
    "MSH|^~\\&|ADT|HOSPITAL|XDS|HIE|20260301101500+0100||ADT^A04|42|P|2.3.1\r"
    "EVN|A04|20260301101500\r"
    f"PID|||{_ID}||Roe^Rick||19700101|M\r"
    "PV1||O\r"
)
MERGE: Final = (
    "MSH|^~\\&|ADT|HOSPITAL|XDS|HIE|20260301101500||ADT^A40^ADT_A39|43|P|2.3.1\r"
    "EVN|A40|20260301101500\r"
    f"PID|||{_ID}||Roe^Rick\r"
    f"MRG|{_ID.replace('P1', 'P0')}\r"
)
ACKNOWLEDGEMENT: Final = "MSH|^~\\&|XDS|HIE|ADT|HOSPITAL|20260301101501||ACK^A04|9|P|2.3.1\rMSA|AA|42\r"

_ADMISSIONS: Final[dict[str, tuple[str, Change]]] = {
    "other separators": ("HL7V2-001", swap("MSH|^~\\&", "MSH|^~\\#")),
    "line feeds": ("HL7V2-002", swap("\r", "\n", 9)),
    "no sending facility": ("HL7V2-003", swap("|HOSPITAL|", "||")),
    "no time": ("HL7V2-004", swap("20260301101500+0100", "")),
    "no event": ("HL7V2-005", swap("ADT^A04", "ADT")),
    "no control id": ("HL7V2-006", swap("|42|", "||")),
    "an unknown processing id": ("HL7V2-007", swap("|P|2.3.1", "|X|2.3.1")),
    "version 2.9": ("HL7V2-008", swap("2.3.1", "2.9")),
    "no EVN": ("HL7V2-009", swap("EVN|A04|20260301101500\r", "")),
    "no PID": ("HL7V2-010", swap("PID|", "PIX|")),
    "a patient without authority": ("HL7V2-011", swap(_ID, "P1")),
    "an authority that is no OID": ("HL7V2-011", swap("1.3.6.1.4.1.21367.13.20.1000", "HOSPITAL")),
    "no name": ("HL7V2-012", swap("Roe^Rick", "")),
    "no PV1": ("HL7V2-013", swap("PV1||O\r", "")),
    "UTF-8 without MSH-18": ("HL7V2-018", swap("Roe", "Röe")),
    "an unknown character set": ("HL7V2-018", swap("|P|2.3.1\r", "|P|2.3.1||||||LATIN\r")),
    "an unknown event": ("HL7V2-020", swap("ADT^A04", "ADT^A60")),
    "another event in EVN": ("HL7V2-021", swap("EVN|A04", "EVN|A01")),
    "a line that is torn": ("HL7V2-024", swap("Roe^Rick", "Roe\r^Rick")),
}
_MERGES: Final[dict[str, tuple[str, Change]]] = {
    "no MRG": ("HL7V2-014", swap(f"MRG|{_ID.replace('P1', 'P0')}\r", "")),
    "an id of another authority": ("HL7V2-015", swap(_ID.replace("P1", "P0"), "P0^^^&1.2.3&ISO")),
    "merged with itself": ("HL7V2-016", swap(_ID.replace("P1", "P0"), _ID)),
    "two pairs": ("HL7V2-017", swap("MRG|", f"MRG|{_ID.replace('P1', 'P9')}\rMRG|")),
}


def examples() -> Iterator[Example]:
    """Good and broken messages."""
    yield from mutated(KIND, "admission", [ADMISSION], encode, _ADMISSIONS)
    yield from mutated(KIND, "merge", [MERGE], encode, _MERGES)
    yield from mutated(
        KIND,
        "acknowledgement",
        [ACKNOWLEDGEMENT],
        encode,
        {
            "an unknown code": ("HL7V2-022", swap("MSA|AA", "MSA|OK")),
            "of nothing": ("HL7V2-023", swap("|42\r", "|\r")),
        },
    )
    yield Example("framed", KIND, b"\x0b" + ADMISSION.encode() + b"\x1c\r")
    yield Example("frame: not ended", KIND, b"\x0b" + ADMISSION.encode(), "HL7V2-019")
    yield Example(
        "frame: a byte order mark", KIND, b"\x0b\xef\xbb\xbf" + ADMISSION.encode() + b"\x1c\r", "HL7V2-025"
    )
