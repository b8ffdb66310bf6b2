"""A CDA report as people read it (HL7 CDA R2): who and when, and its narrative blocks as HTML of a few plain
elements. Nothing of the document becomes markup, an attribute or an address.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from lxml import etree
from markupsafe import Markup, escape

from shared.http.problem import Unprocessable
from shared.xml import NS, PRESCAN_BYTES, Element, XmlError, XmlGuard, parse

#: Elements of a narrative block (CDA R2 4.3.5), and what shows them; any other shows its text.
_TAGS: Final = {
    "paragraph": "p",
    "item": "li",
    "caption": "strong",
    "content": "span",
    "sub": "sub",
    "sup": "sup",
    "table": "table",
    "thead": "thead",
    "tbody": "tbody",
    "tfoot": "tfoot",
    "tr": "tr",
    "th": "th",
    "td": "td",
}
_STYLES: Final = {"bold": "strong", "italics": "em", "underline": "u"}
_ROOT: Final = f"{{{NS['hl7']}}}ClinicalDocument"


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A section of a report and those within it; `level` counts from 2, as headings of a page do."""

    level: int
    title: str
    html: Markup


@dataclass(frozen=True, slots=True, kw_only=True)
class ClinicalDocument:
    """A CDA document; `body` is what it wraps, of `media_type`, where it has no sections."""

    title: str
    patient_name: str
    patient_ids: tuple[str, ...]
    birth_date: str
    effective_time: str
    author: str
    sections: tuple[Section, ...]
    media_type: str
    body: bytes


def read_clinical_document(octets: bytes) -> ClinicalDocument:
    """Read a CDA document.

    Raises
    ------
    Unprocessable
        It is none.
    """
    root = _root(octets)
    patient = root.find("hl7:recordTarget/hl7:patientRole", NS)
    media_type, body = _wrapped(root)
    return ClinicalDocument(
        title=_text(root.find("hl7:title", NS)),
        patient_name=_name(patient, "hl7:patient/hl7:name"),
        patient_ids=tuple(_ids(patient)),
        birth_date=_value(patient, "hl7:patient/hl7:birthTime")[:8],
        effective_time=_value(root, "hl7:effectiveTime"),
        author=_name(root, "hl7:author/hl7:assignedAuthor/hl7:assignedPerson/hl7:name"),
        sections=tuple(_sections(root.iterfind("hl7:component/hl7:structuredBody/hl7:component", NS), 2)),
        media_type=media_type,
        body=body,
    )


def _root(octets: bytes) -> Element:
    try:
        if len(octets) > PRESCAN_BYTES:
            guard = XmlGuard()
            guard.feed(octets)
            guard.close()
        root = parse(octets)
    except XmlError as error:
        raise Unprocessable(f"the report cannot be read: {error}") from None
    if root.tag != _ROOT:
        raise Unprocessable("the report is XML, and no CDA document; keep it as a file")
    return root


def _wrapped(root: Element) -> tuple[str, bytes]:
    text = root.find("hl7:component/hl7:nonXMLBody/hl7:text", NS)
    if text is None:
        return "", b""
    media_type = text.get("mediaType", "text/plain").partition(";")[0].strip().lower()
    content = "".join(map(str, text.itertext()))
    if text.get("representation", "TXT").upper() != "B64":
        return media_type, content.encode()
    try:
        return media_type, b64decode("".join(content.split()), validate=True)
    except ValueError:
        raise Unprocessable("the document within the report is not base64") from None


def _sections(components: Iterator[Element], level: int) -> Iterator[Section]:
    for component in components:
        if (section := component.find("hl7:section", NS)) is None:
            continue
        text = section.find("hl7:text", NS)
        yield Section(
            level=min(level, 6),
            title=_text(section.find("hl7:title", NS)),
            html=Markup() if text is None else _children(text),
        )
        yield from _sections(section.iterfind("hl7:component", NS), level + 1)


def _children(element: Element) -> Markup:
    pieces = [escape(element.text or "")]
    for child in element:
        if isinstance(child.tag, str):
            pieces.append(_html(child))
        pieces.append(escape(child.tail or ""))
    return Markup().join(pieces)


def _html(element: Element) -> Markup:
    name = etree.QName(element).localname
    if name == "br":
        return Markup("<br>")
    if name == "renderMultiMedia":
        return Markup("<em>[a picture that is kept beside the report]</em>")
    tag = _TAGS.get(name, "span")
    if name == "list":
        tag = "ol" if element.get("listType") == "ordered" else "ul"
    style = next((_STYLES[one] for one in element.get("styleCode", "").lower().split() if one in _STYLES), "")
    inner = _children(element)
    if style:
        inner = Markup(f"<{style}>{{}}</{style}>").format(inner)  # noqa: S704 - a tag of ours
    return Markup(f"<{tag}>{{}}</{tag}>").format(inner)  # noqa: S704 - a tag of ours


def _text(element: Element | None) -> str:
    return "" if element is None else " ".join("".join(map(str, element.itertext())).split())


def _value(element: Element | None, path: str) -> str:
    target = None if element is None else element.find(path, NS)
    return "" if target is None else target.get("value", "")


def _name(element: Element | None, path: str) -> str:
    target = None if element is None else element.find(path, NS)
    if target is None:
        return ""
    family = " ".join(filter(None, map(_text, target.iterfind("hl7:family", NS))))
    others = " ".join(filter(None, map(_text, target.iterfind("hl7:given", NS))))
    return ", ".join(filter(None, (family, others))) or _text(target)


def _ids(patient: Element | None) -> Iterator[str]:
    for one in () if patient is None else patient.iterfind("hl7:id", NS):
        if extension := one.get("extension"):
            yield extension
