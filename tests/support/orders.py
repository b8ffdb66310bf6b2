"""Messages of a department: orders of HL7 2.3.1 and 2.5.1, and corrections of patients."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence

from tests.support.reports import a_pdf

PATIENT = "P-77^^^NORTH&2.999.10.1&ISO^PI"
IMPRESSION = "OBX|2|TX|19005-8^Impression^LN||No meningioma.||||||F"


def _joined(*segments: str) -> bytes:
    return "".join(f"{segment}\r" for segment in segments if segment).encode()


def orm(
    control: str = "SC",
    status: str = "CM",
    *,
    study: str = "2.25.11",
    accession: str = "",
    patient: str = PATIENT,
    control_id: str = "C1",
) -> bytes:
    """An order status of HL7 2.3.1 (RAD-4, RAD-13), which names its study by ZDS."""
    return _joined(
        f"MSH|^~\\&|RIS|NORTH|XDSI|NORTH|20260302081500||ORM^O01|{control_id}|P|2.3.1||||||UNICODE UTF-8",
        f"PID|||{patient}||Müller^Ilse^^^Dr.||19620417|F",
        "PV1||O",
        f"ORC|{control}|PO-31^EHR|FO-88^RIS||{status}||1^^^20260302100000^^R",
        f"OBR|1|PO-31^EHR|FO-88^RIS|CTHEAD^CT head^99N{14 * '|'}{accession}|RP1001|SPS1||||CT",
        f"ZDS|{study}" if study else "",
    )


def omi(
    control: str = "XO",
    status: str = "CM",
    *,
    study: str = "2.25.11",
    accession: str = "ACC1001",
    patient: str = PATIENT,
    control_id: str = "C1",
) -> bytes:
    """The same of HL7 2.5.1, which names it by IPC."""
    return _joined(
        f"MSH|^~\\&|RIS|NORTH|XDSI|NORTH|20260302081500+0100||OMI^O23^OMI_O23|{control_id}|P|2.5.1|||||DE"
        "|UNICODE UTF-8|de",
        f"PID|||{patient}||Müller^Ilse",
        "PV1||O",
        f"ORC|{control}|PO-31^EHR^2.999.11^ISO|FO-88^RIS^2.999.12^ISO|PG-9|{status}",
        "TQ1|1||||||20260302100000||R^Routine^HL70485",
        "OBR|1|PO-31^EHR^2.999.11^ISO|FO-88^RIS^2.999.12^ISO|CTHEAD^CT head^99N",
        f"IPC|{accession}|RP1001^RIS|{study}|SPS1|CT|CTH^CT head native^99N|CT1|ROOM 3|CT_NORTH",
    )


def adt(event: str, *, patient: str = PATIENT, prior: str = "", control_id: str = "C1") -> bytes:
    """A message about a patient (RAD-12)."""
    return _joined(
        f"MSH|^~\\&|RIS|NORTH|XDSI|NORTH|20260302081500||ADT^{event}|{control_id}|P|2.3.1||||||UNICODE UTF-8",
        f"EVN|{event}|20260302081500",
        f"PID|||{patient}||Müller^Ilse",
        f"MRG|{prior}" if prior else "PV1||O",
    )


def oru(
    status: str = "F",
    *,
    study: str = "2.25.11",
    accession: str = "",
    patient: str = PATIENT,
    control_id: str = "C1",
    filler: str = "FO-88",
    observations: Sequence[str] = (IMPRESSION,),
) -> bytes:
    """A report (RAD-128), which names its study by an observation; by default a text."""
    uid = f"OBX|1|ST|113014^DICOM Study^DCM||{study}||||||O" if study else ""
    return _joined(
        f"MSH|^~\\&|RM|NORTH|XDSI|NORTH|20260302120000||ORU^R01^ORU_R01|{control_id}|P|2.5.1|||||DE"
        "|UNICODE UTF-8|de",
        f"PID|||{patient}||Müller^Ilse||19620417|F",
        f"OBR|1|PO-31^EHR|{filler}^RIS|CTHEAD^CT head^99N{14 * '|'}{accession}{4 * '|'}20260302115500+0100"
        f"{3 * '|'}{status}{7 * '|'}4711&Beck&Olaf",
        uid,
        *observations,
    )


def encapsulated(octets: bytes, media_type: str = "application^pdf", status: str = "F") -> str:
    """A document in an observation."""
    data = b64encode(octets).decode()
    return f"OBX|3|ED|18748-4^Diagnostic imaging study^LN||RM^{media_type}^Base64^{data}||||||{status}"


def mdm(
    event: str = "T02",
    status: str = "LA",
    *,
    accession: str = "ACC1001",
    patient: str = PATIENT,
    control_id: str = "C1",
    number: str = "55^RM^2.999.14^ISO",
    parent: str = "",
    observation: str = "",
) -> bytes:
    """A report as a document with a PDF inside, whose study is named by its accession number."""
    return _joined(
        f"MSH|^~\\&|RM|NORTH|XDSI|NORTH|20260302120000||MDM^{event}^MDM_{event}|{control_id}|P|2.5.1|||||DE"
        "|UNICODE UTF-8|de",
        "EVN||20260302120000",
        f"PID|||{patient}||Müller^Ilse",
        "PV1||O",
        "ORC|RE|PO-31^EHR|FO-88^RIS",
        f"OBR|1|PO-31^EHR|FO-88^RIS|CTHEAD^CT head^99N{14 * '|'}{accession}",
        f"TXA|1|DI|AP|20260302115500||20260302115800|||4711^Beck^Olaf|||{number}|{parent}|PO-31|FO-88||{status}",
        observation or encapsulated(a_pdf("No meningioma.")),
    )
