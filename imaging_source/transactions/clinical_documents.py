"""CDA R2 documents of reports: what is read of one, and one that wraps a text (IHE RAD TF-3 4.68; XDS-SD)."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from typing import Final

from imaging_source.domain.imaging_reports import (
    ReportContent,
    ReportedPatient,
    ReportKind,
    UnreadableReport,
)
from shared.ebrim.identifiers import is_unique_id
from shared.ebrim.model import Code
from shared.xml import NS, PRESCAN_BYTES, Element, XmlError, XmlGuard, escape, escape_attribute, parse

_ROOT: Final = f"{{{NS['hl7']}}}ClinicalDocument"


def read_clinical_document(octets: bytes) -> ReportContent:
    """What a CDA document says of itself.

    Raises
    ------
    UnreadableReport
        It is none, or beyond the limits of XML that is read here.
    """
    try:
        if len(octets) > PRESCAN_BYTES:
            guard = XmlGuard()
            guard.feed(octets)
            guard.close()
        root = parse(octets)
    except XmlError:
        raise UnreadableReport("the report is no well-formed XML within the limits") from None
    if root.tag != _ROOT:
        raise UnreadableReport("the report is XML, and no ClinicalDocument of CDA R2")
    return ReportContent(
        kind=_kind(root),
        octets=octets,
        unique_id=_unique_id(root),
        title=_text(root.find("hl7:title", NS)),
        code=_code(root.find("hl7:code", NS)),
        effective_time=_attribute(root.find("hl7:effectiveTime", NS), "value"),
    )


def _kind(root: Element) -> ReportKind:
    body = root.find("hl7:component/hl7:nonXMLBody/hl7:text", NS)
    if body is None:
        if root.find("hl7:component/hl7:structuredBody", NS) is None:
            raise UnreadableReport("the ClinicalDocument has neither structuredBody nor nonXMLBody")
        return ReportKind.CDA
    media_type = body.get("mediaType", "text/plain").partition(";")[0].strip().lower()
    return ReportKind.CDA_PDF if media_type == "application/pdf" else ReportKind.TEXT


def _unique_id(root: Element) -> str:
    """ClinicalDocument.id as a uniqueId: root, or root^extension (ITI TF-3 4.2.3.2.26)."""
    identifier = root.find("hl7:id", NS)
    own, extension = _attribute(identifier, "root"), _attribute(identifier, "extension")
    unique_id = f"{own}^{extension}" if extension else own
    return unique_id if own and len(unique_id) <= 128 and is_unique_id(unique_id) else ""


def _code(element: Element | None) -> Code | None:
    parts = [_attribute(element, name) for name in ("code", "codeSystem", "displayName")]
    return Code(*parts) if all(parts) else None


def _attribute(element: Element | None, name: str) -> str:
    return "" if element is None else element.get(name, "").strip()


def _text(element: Element | None) -> str:
    return "" if element is None else " ".join("".join(map(str, element.itertext())).split())


# --- wrapping -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class WrappedText:
    """A text with what a CDA header says of it; `created` is DTM in UTC, `custodian` an institution and its
    OID, which may be empty."""

    unique_id: str
    title: str
    code: Code
    confidentiality: Code
    language: str
    created: str
    patient: ReportedPatient
    author_family: str
    author_given: str
    custodian: tuple[str, str]
    text: str


def wrap_text(wrapped: WrappedText) -> bytes:
    """The text as a CDA R2 document with a non-XML body (`urn:ihe:rad:TEXT`)."""
    patient = wrapped.patient
    zone = "+0000" if len(wrapped.created) > len("YYYYMMDD") else ""
    time = f'value="{wrapped.created}{zone}"'
    sex = (
        f'<administrativeGenderCode code="{patient.sex}" codeSystem="2.16.840.1.113883.5.1"/>'
        if patient.sex in ("F", "M", "UN")
        else '<administrativeGenderCode nullFlavor="UNK"/>'
    )
    born = (
        f'<birthTime value="{escape_attribute(patient.birth_date)}"/>'
        if patient.birth_date
        else '<birthTime nullFlavor="UNK"/>'
    )
    name, oid = wrapped.custodian
    custodian_id = f'<id root="{escape_attribute(oid)}"/>' if oid else '<id nullFlavor="UNK"/>'
    document = f"""<?xml version="1.0" encoding="UTF-8"?>
<ClinicalDocument xmlns="{NS["hl7"]}">
<typeId root="2.16.840.1.113883.1.3" extension="POCD_HD000040"/>
<id root="{escape_attribute(wrapped.unique_id)}"/>
{_coded("code", wrapped.code)}
<title>{escape(wrapped.title)}</title>
<effectiveTime {time}/>
{_coded("confidentialityCode", wrapped.confidentiality)}
<languageCode code="{escape_attribute(wrapped.language)}"/>
<recordTarget><patientRole>
<id root="{escape_attribute(patient.authority)}" extension="{escape_attribute(patient.identifier)}"/>
<patient>
{_name(patient.family, patient.given_name)}{sex}{born}
</patient></patientRole></recordTarget>
<author><time {time}/><assignedAuthor><id nullFlavor="UNK"/><assignedPerson>
{_name(wrapped.author_family, wrapped.author_given)}
</assignedPerson></assignedAuthor></author>
<custodian><assignedCustodian><representedCustodianOrganization>{custodian_id}
<name>{escape(name)}</name></representedCustodianOrganization></assignedCustodian></custodian>
<component><nonXMLBody><text mediaType="text/plain" representation="B64">
{b64encode(wrapped.text.encode()).decode()}
</text></nonXMLBody></component>
</ClinicalDocument>
"""
    return document.encode()


def _coded(name: str, code: Code) -> str:
    return (
        f'<{name} code="{escape_attribute(code.value)}" codeSystem="{escape_attribute(code.scheme)}" '
        f'displayName="{escape_attribute(code.display_name)}"/>'
    )


def _name(family: str, given_name: str) -> str:
    if not (family or given_name):
        return '<name nullFlavor="UNK"/>'
    given_part = f"<given>{escape(given_name)}</given>" if given_name else ""
    return f"<name>{given_part}<family>{escape(family)}</family></name>"
