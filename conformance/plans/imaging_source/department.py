"""Messages of the department over MLLP: orders and their status (RAD-4, RAD-13), patients (RAD-12), reports (RAD-28,
RAD-128, MDM), and what becomes of a report."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from uuid import uuid4

from lxml import etree

from conformance.envelopes import NAMES, Element
from conformance.plans import metadata, repository
from conformance.plans.imaging_source.manifest import published
from conformance.plans.probe import Plan, Unmet, expect, expect_equal
from conformance.plans.stand import Stand
from conformance.schemes import REFERENCE_IDS

PLAN = Plan("imaging-source", needs=("department",))
_OPTION: Final = "Department Messages"
_REPORTS: Final = "Report Publication"
_ACK: Final = "ITI TF-2 C.2.3"
_REGISTRY: Final = ("registry", "repository")


@dataclass(frozen=True, slots=True)
class Sent:
    """A message as it is sent, and its control id."""

    text: str
    control: str


@dataclass(frozen=True, slots=True)
class Subject:
    """Whose a message is: patient id (CX or as the department writes it), study and accession number."""

    patient: str
    study: str = ""
    accession: str = ""


def _sent(kind: str, *segments: str, version: str = "2.5.1", control: str = "") -> Sent:
    control = control or uuid4().hex[:20]
    now = datetime.now(UTC).strftime("%Y%m%d%H%M%S")
    header = f"MSH|^~\\&|PROBE|CONFORMANCE|PACS|XDS|{now}||{kind}|{control}|P|{version}||||||UNICODE UTF-8"
    return Sent("".join(f"{one}\r" for one in (header, *filter(None, segments))), control)


def _patient(subject: Subject) -> str:
    return f"PID|||{subject.patient}||Probe^Rick||19560527|M"


def _request(subject: Subject, status: str = "", code: str = "CT") -> str:
    return f"OBR|1|PO-{code}|FO-{code}|{code}^CT of a probe^99PROBE{14 * '|'}{subject.accession}{7 * '|'}{status}".rstrip(
        "|"
    )


def _orm(subject: Subject) -> Sent:
    zds = f"ZDS|{subject.study}^PROBE^Application^DICOM"
    return _sent(
        "ORM^O01",
        _patient(subject),
        "PV1||O",
        "ORC|SC|PO-1|FO-1||IP",
        _request(subject),
        zds,
        version="2.3.1",
    )


def _omi(subject: Subject, kind: str = "OMI^O23^OMI_O23") -> Sent:
    ipc = f"IPC|{subject.accession}|RP1|{subject.study}|SPS1|CT"
    return _sent(kind, _patient(subject), "PV1||O", "ORC|NW|PO-1|FO-1||SC", _request(subject), ipc)


def _omg(subject: Subject) -> Sent:
    return _omi(subject, "OMG^O19^OMG_O19")


def _oru(subject: Subject, status: str = "P", *, words: str = "", code: str = "CT") -> Sent:
    uid = f"OBX|1|ST|113014^DICOM Study^DCM||{subject.study}||||||O" if subject.study else ""
    text = f"OBX|2|TX|19005-8^Impression^LN||{words}||||||{status}" if words else ""
    return _sent("ORU^R01^ORU_R01", _patient(subject), _request(subject, status, code), uid, text)


def _mdm(subject: Subject) -> Sent:
    pdf = b64encode(b"%PDF-1.4\n%%EOF\n").decode()
    return _sent(
        "MDM^T02^MDM_T02",
        "EVN||20260301101500",
        _patient(subject),
        "PV1||O",
        _request(subject),
        f"TXA|1|DI|AP{9 * '|'}{uuid4().int % 10**9}^PROBE^2.999.14^ISO{5 * '|'}DI",
        f"OBX|1|ED|18748-4^Report^LN||PROBE^application^pdf^Base64^{pdf}||||||P",
    )


def _adt(subject: Subject) -> Sent:
    return _sent("ADT^A08^ADT_A01", "EVN|A08|20260301101500", _patient(subject), "PV1||O")


_KINDS: Final[Mapping[str, Callable[[Subject], Sent]]] = {
    "ORM^O01": _orm,
    "OMG^O19": _omg,
    "OMI^O23": _omi,
    "ORU^R01": _oru,
    "MDM^T02": _mdm,
    "ADT^A08": _adt,
}


def _subject(stand: Stand) -> Subject:
    """Somebody whose study nobody has: orders come before images."""
    return Subject(stand.patient_id(), stand.oid(), f"A{uuid4().hex[:12].upper()}")


def _acknowledged(stand: Stand, message: Sent) -> tuple[list[str], list[str]]:
    """MSH and MSA of the acknowledgement, as the standard counts their fields."""
    segments = [line.split("|") for line in stand.mllp("department", message.text).split("\r") if line]
    headers, answers = ([one for one in segments if one[0] == name] for name in ("MSH", "MSA"))
    if not headers or not answers:
        raise Unmet("the acknowledgement has no MSH and MSA")
    msh, msa = ["MSH", "|", *headers[0][1:]], answers[0]
    expect(len(msa) > 2, "MSA has no code and control id")
    if message.control:
        expect_equal(msa[2], message.control, "MSA-2")
    return msh, msa


def _expect_taken(stand: Stand, message: Sent) -> None:
    _, msa = _acknowledged(stand, message)
    expect_equal(msa[1], "AA", "MSA-1")


def _expect_refused(stand: Stand, message: Sent, *codes: str) -> None:
    _, msa = _acknowledged(stand, message)
    expect(msa[1] in (codes or ("AE", "AR")), f"MSA-1 is {msa[1]!r}")
    expect(len(msa) > 3 and msa[3], "MSA-3 says nothing of why")


for _number, (_name, _message) in enumerate(_KINDS.items(), 1):

    def _taken(stand: Stand, message: Callable[[Subject], Sent] = _message) -> None:
        _expect_taken(stand, message(_subject(stand)))

    PLAN.add(
        f"IMG-HL7-10{_number}",
        "RAD TF-2 4.4, 4.12, 4.13, 4.128",
        f"{_name} is acknowledged with AA and its control id, though its study is not there",
        _taken,
        option=_OPTION,
    )


@PLAN.requires("IMG-HL7-111", _ACK, option=_OPTION)
def _(stand: Stand) -> None:
    """The acknowledgement goes back: its sender is who was addressed, and the receiver who sent."""
    msh, _ = _acknowledged(stand, _orm(_subject(stand)))
    expect_equal(msh[3:7], ["PACS", "XDS", "PROBE", "CONFORMANCE"], "MSH-3 to MSH-6")
    expect(msh[9].startswith("ACK"), f"MSH-9 is {msh[9]!r}")


@PLAN.requires("IMG-HL7-112", _ACK, option=_OPTION)
def _(stand: Stand) -> None:
    """The acknowledgement is of the version of its message."""
    subject = _subject(stand)
    for message, version in ((_orm(subject), "2.3.1"), (_omi(subject), "2.5.1")):
        msh, _ = _acknowledged(stand, message)
        expect_equal(msh[12].partition("^")[0], version, "MSH-12")


@PLAN.requires("IMG-HL7-113", "HL7 2.5.1 2.9.2", option=_OPTION)
def _(stand: Stand) -> None:
    """A message that comes again is acknowledged as before."""
    message = _orm(_subject(stand))
    _expect_taken(stand, message)
    _expect_taken(stand, message)


@PLAN.requires("IMG-HL7-121", "HL7 2.5.1 2.9.3", option=_OPTION)
def _(stand: Stand) -> None:
    """A message of another type is rejected with AR."""
    subject = _subject(stand)
    _expect_refused(stand, _sent("SIU^S12^SIU_S12", "SCH|1", _patient(subject)), "AR")


@PLAN.requires("IMG-HL7-122", "HL7 2.5.1 2.9.3", option=_OPTION)
def _(stand: Stand) -> None:
    """A message of a version of another family is rejected with AR."""
    subject = _subject(stand)
    _expect_refused(stand, _sent("ORM^O01", _patient(subject), "ORC|SC|1|1||IP", version="3.0"), "AR")


@PLAN.requires("IMG-HL7-123", "RAD TF-2 4.4.4.1.2", option=_OPTION)
def _(stand: Stand) -> None:
    """An order of nobody is refused, with the reason."""
    subject = _subject(stand)
    message = _sent("OMI^O23^OMI_O23", "ORC|NW|1|1||SC", f"IPC|{subject.accession}|RP1|{subject.study}")
    _expect_refused(stand, message)


@PLAN.requires("IMG-HL7-124", "RAD TF-2 4.4.4.1.2", option=_OPTION)
def _(stand: Stand) -> None:
    """An order that names no study is refused, with the reason."""
    subject = _subject(stand)
    _expect_refused(stand, _sent("OMI^O23^OMI_O23", _patient(subject), "ORC|NW|1|1||SC", "OBR|1|1|1|CT"))


@PLAN.requires("IMG-HL7-125", "HL7 table 0119", option=_OPTION)
def _(stand: Stand) -> None:
    """An order with a control that there is not is refused, with the reason."""
    subject = _subject(stand)
    order = ("ORC|ZZ|1|1||SC", _request(subject), f"ZDS|{subject.study}")
    _expect_refused(stand, _sent("ORM^O01", _patient(subject), *order, version="2.3.1"))


@PLAN.requires("IMG-HL7-126", "ITI TF-2 C.2.1", option=_OPTION)
def _(stand: Stand) -> None:
    """What is no message is answered with AR, and not with silence."""
    _expect_refused(stand, Sent("this is no message\r", ""), "AR")


# --- reports ----------------------------------------------------------------------------------------------


def _of_published(stand: Stand) -> Subject:
    """The patient and the study whose manifest is registered."""
    entry = published(stand).entry
    [source] = entry.xpath("rim:Slot[@name='sourcePatientId']//rim:Value/text()", namespaces=NAMES)
    references = entry.xpath(f"rim:Slot[@name='{REFERENCE_IDS}']//rim:Value/text()", namespaces=NAMES)
    study = next(one.partition("^")[0] for one in map(str, references) if one.endswith("studyInstanceUID"))
    return Subject(str(source), study)


def _registered_for(stand: Stand) -> str:
    scheme = metadata.IDENTIFIERS["document patientId"][0]
    [patient_id] = published(stand).entry.xpath(
        f"rim:ExternalIdentifier[@identificationScheme='{scheme}']/@value", namespaces=NAMES
    )
    return str(patient_id)


def _registered(stand: Stand, words: str, number: int = 1) -> list[Element]:
    """The entries of reports whose documents say `words`; waited for until there are `number`."""

    def look() -> tuple[list[Element]] | None:
        entries = [
            one
            for one in metadata.documents_of(stand, _registered_for(stand))
            if one.get("mimeType") == "text/xml" and words.encode() in _content(stand, one)
        ]
        return (entries,) if len(entries) == number else None

    if (sight := stand.until(look)) is None:
        raise Unmet(
            f"within {stand.target.patience_seconds:g} s there are not {number} such reports registered"
        )
    return sight[0]


def _content(stand: Stand, entry: Element) -> bytes:
    """What a report says: the document, and the text that it wraps."""
    slots = entry.xpath("rim:Slot[@name='repositoryUniqueId']//rim:Value/text()", namespaces=NAMES)
    ids = " ".join(map(str, slots)), metadata.unique_id_of(entry)
    reply = repository.retrieve(stand, ids).expect_success()
    (document,) = reply.all("xds:DocumentResponse/xds:Document")
    return _unwrapped(reply.content_of(document))


def _unwrapped(document: bytes) -> bytes:
    body = etree.fromstring(document).find(".//{urn:hl7-org:v3}nonXMLBody/{urn:hl7-org:v3}text")
    text = "" if body is None else "".join(map(str, body.itertext()))
    is_wrapped = body is not None and body.get("representation") == "B64"
    return document + (b64decode(text) if is_wrapped else text.encode())


@PLAN.requires("IMG-HL7-201", "RAD TF-3 4.68.4.1.2", option=_REPORTS, needs=_REGISTRY)
def _(stand: Stand) -> None:
    """A final report of a study that is published is registered beside its manifest, and names the study."""
    words, subject = f"probe {uuid4().hex}", _of_published(stand)
    _expect_taken(stand, _oru(subject, "F", words=words, code=words[-12:]))
    [report] = _registered(stand, words)
    references = report.xpath(f"rim:Slot[@name='{REFERENCE_IDS}']//rim:Value/text()", namespaces=NAMES)
    expect(any(subject.study in str(one) for one in references), "referenceIdList does not name the study")


@PLAN.requires("IMG-HL7-202", "HL7 2.5.1 2.9.2", option=_REPORTS, needs=_REGISTRY)
def _(stand: Stand) -> None:
    """A report that comes twice is one document."""
    words, subject = f"probe {uuid4().hex}", _of_published(stand)
    for _ in range(2):
        _expect_taken(stand, _oru(subject, "F", words=words, code=words[-12:]))
    _registered(stand, words)


@PLAN.requires("IMG-HL7-203", "HL7 table 0123", option=_REPORTS, needs=_REGISTRY)
def _(stand: Stand) -> None:
    """A corrected report takes the place of the former, and a cancelled one is found no more."""
    words, subject = f"probe {uuid4().hex}", _of_published(stand)
    code = words[-12:]
    _expect_taken(stand, _oru(subject, "F", words=f"{words} former", code=code))
    _registered(stand, f"{words} former")
    _expect_taken(stand, _oru(subject, "C", words=f"{words} corrected", code=code))
    _registered(stand, f"{words} corrected")
    _registered(stand, f"{words} former", 0)
    _expect_taken(stand, _oru(subject, "X", code=code))
    _registered(stand, words, 0)


@PLAN.requires("IMG-HL7-204", "RAD TF-2 4.128", option=_REPORTS, needs=_REGISTRY)
def _(stand: Stand) -> None:
    """A PDF that is none is refused, and registered nowhere."""
    subject = _of_published(stand)
    data = b64encode(b"no PDF").decode()
    message = _sent(
        "ORU^R01^ORU_R01",
        _patient(subject),
        _request(subject, "F", uuid4().hex[:12]),
        f"OBX|1|ST|113014^DICOM Study^DCM||{subject.study}||||||O",
        f"OBX|2|ED|18748-4^Report^LN||PROBE^application^pdf^Base64^{data}||||||F",
    )
    _expect_refused(stand, message, "AE", "AR")
