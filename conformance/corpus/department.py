"""Orders, reports and documents of a department in HL7 v2, and what can be wrong with them."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from typing import Final

from conformance.corpus.example import Example, mutated
from conformance.corpus.metadata import Change, encode, swap

KIND: Final = "hl7v2-adt"
_PATIENT: Final = "PID|||P1^^^&1.3.6.1.4.1.21367.13.20.1000&ISO||Roe^Rick\r"
_PDF: Final = b64encode(b"%PDF-1.4\n%%EOF\n").decode()


def _header(type: str) -> str:
    return f"MSH|^~\\&|RIS|HOSPITAL|PACS|HOSPITAL|20260301101500||{type}|42|P|2.5.1\r"


ORDER: Final = (
    _header("ORM^O01").replace("2.5.1", "2.3.1") + _PATIENT + "ORC|SC|PO-1|FO-1||CM\r"
    "OBR|1|PO-1|FO-1|CT^CT head^99N\rZDS|2.25.1^RIS^Application^DICOM\r"
)
IMAGING_ORDER: Final = (
    _header("OMI^O23^OMI_O23") + _PATIENT + "ORC|NW|PO-1|FO-1||SC\r"
    "OBR|1|PO-1|FO-1|CT^CT head^99N\rIPC|ACC1|RP1|2.25.1|SPS1|CT\r"
)
REPORT: Final = (
    _header("ORU^R01^ORU_R01") + _PATIENT + "OBR|1|PO-1|FO-1|CT^CT head^99N||||||||||||||ACC1|||||||F\r"
    f"OBX|1|ED|18748-4^Report^LN||RM^application^pdf^Base64^{_PDF}||||||F\r"
)
DOCUMENT: Final = (
    _header("MDM^T06^MDM_T02") + "EVN||20260301101500\r" + _PATIENT + "PV1||O\r"
    "OBR|1|PO-1|FO-1|CT^CT head^99N||||||||||||||ACC1\r"
    "TXA|1|DI|AP|||||||||56^RM^2.999.14^ISO|55^RM^2.999.14^ISO||||LA\r"
    "OBX|1|TX|18748-4^Report^LN||No fracture.||||||F\r"
)

_ORDERS: Final[dict[str, tuple[str, Change]]] = {
    "of nobody": ("HL7V2-026", swap("P1^^^", "^^^")),
    "no ORC": ("HL7V2-027", swap("ORC|", "ZRC|")),
    "an unknown control": ("HL7V2-028", swap("ORC|SC", "ORC|ZZ")),
    "an unknown status": ("HL7V2-029", swap("|CM\r", "|ZZ\r")),
    "no study": ("HL7V2-035", swap("2.25.1^RIS^Application^DICOM", "")),
    "a UID that is none": ("HL7V2-036", swap("2.25.1^", "2.25.x^")),
}
_REPORTS: Final[dict[str, tuple[str, Change]]] = {
    "no OBR": ("HL7V2-030", swap("OBR|", "ZBR|")),
    "an unknown result status": ("HL7V2-031", swap("ACC1|||||||F", "ACC1|||||||Q")),
    "a value of no type": ("HL7V2-037", swap("OBX|1|ED|", "OBX|1||")),
    "an unknown observation status": ("HL7V2-038", swap(f"{_PDF}||||||F", f"{_PDF}||||||?")),
    "a document in no encoding": ("HL7V2-039", swap("Base64^", "base-64^")),
    "data that are no base64": ("HL7V2-039", swap(_PDF, "!")),
    "a PDF that is none": ("HL7V2-040", swap(_PDF, "AAAA")),
}
_DOCUMENTS: Final[dict[str, tuple[str, Change]]] = {
    "no EVN": ("HL7V2-032", swap("EVN||20260301101500\r", "")),
    "no content": ("HL7V2-032", swap("OBX|1|TX|18748-4^Report^LN||No fracture.||||||F\r", "")),
    "no number": ("HL7V2-033", swap("56^RM^2.999.14^ISO", "")),
    "an addendum to nothing": ("HL7V2-033", swap("55^RM^2.999.14^ISO", "")),
    "an unknown completion": ("HL7V2-034", swap("||||LA\r", "||||ZZ\r")),
}


def examples() -> Iterator[Example]:
    """Good and broken messages."""
    yield Example("imaging order", KIND, IMAGING_ORDER.encode())
    yield Example("general order", KIND, IMAGING_ORDER.replace("OMI^O23^OMI_O23", "OMG^O19^OMG_O19").encode())
    yield from mutated(KIND, "order", [ORDER], encode, _ORDERS)
    yield from mutated(KIND, "report", [REPORT], encode, _REPORTS)
    yield from mutated(KIND, "document", [DOCUMENT], encode, _DOCUMENTS)
