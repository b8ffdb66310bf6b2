"""Resources in XML (FHIR R4 2.6.1), read into the form that JSON gives them and written from it.

AuditEvent is read by its table (`shared.audit.structure`), of a Bundle each entry. Of a record that came in
XML its octets are kept; nothing is read of its narrative and of what it contains.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from lxml import etree

from shared.audit.structure import AUDIT_EVENT, META, Element, NoResource
from shared.xml import Element as XmlElement
from shared.xml import XmlError, elements, parse

FHIR: Final = "http://hl7.org/fhir"
_XHTML: Final = "http://www.w3.org/1999/xhtml"
_OPEN: Final = Element("any")
_SEVERAL: Final = frozenset({"extension", "modifierExtension", "coding"})
_LEFT_OUT: Final = frozenset({"text", "contained"})
_BEGINNING = re.compile(
    rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml\s[^>]*>\s*)?(?:<!--.*?-->\s*)*<(?:[\w.-]+:)?AuditEvent[\s>]", re.DOTALL
)
_LOOKED_AT = 2_048


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleEntry:
    """One entry of a Bundle: its resource, the octets of that, and what is asked for with it."""

    resource: Mapping[str, Any] | None
    octets: bytes = b""
    request: Mapping[str, Any] = field(default_factory=dict)


def is_audit_event(octets: bytes) -> bool:
    """Whether octets begin as an AuditEvent in XML does, in UTF-8."""
    return _BEGINNING.match(octets, 0, _LOOKED_AT) is not None


# --- reading -----------------------------------------------------------------------------------------


def read_xml(octets: bytes) -> dict[str, Any]:
    """The AuditEvent that XML octets hold; of every other resource its type alone.

    Raises
    ------
    NoResource
        There is no resource in them; the text shows no content.
    """
    return _resource(_root(octets))


def read_bundle(octets: bytes) -> tuple[str, Sequence[BundleEntry]]:
    """The `type` of a Bundle and its entries.

    Raises
    ------
    NoResource
        There is no resource in them, or it is no Bundle; the text shows no content.
    """
    root = _root(octets)
    if _local(root) != "Bundle":
        raise NoResource("no Bundle")
    kind = _child(root, "type")
    entries = tuple(map(_entry, root.iterchildren(f"{{{FHIR}}}entry")))
    return "" if kind is None else kind.get("value", ""), entries


def _entry(element: XmlElement) -> BundleEntry:
    holder, request = _child(element, "resource"), _child(element, "request")
    resource = None if holder is None else next(elements(holder), None)
    if resource is None:
        return BundleEntry(resource=None)
    return BundleEntry(
        resource=_resource(resource),
        octets=etree.tostring(resource, encoding="utf-8", with_tail=False),
        request={} if request is None else {_local(one): one.get("value", "") for one in elements(request)},
    )


def _root(octets: bytes) -> XmlElement:
    try:
        root = parse(octets)
    except XmlError as error:
        raise NoResource(str(error)) from None
    if etree.QName(root).namespace != FHIR:
        raise NoResource(f"no resource: its root is not of {FHIR}")
    return root


def _child(element: XmlElement, name: str) -> XmlElement | None:
    return next(element.iterchildren(f"{{{FHIR}}}{name}"), None)


def _local(element: XmlElement) -> str:
    return str(etree.QName(element).localname)


def _resource(element: XmlElement) -> dict[str, Any]:
    name = _local(element)
    return {"resourceType": name} | (_members(element, AUDIT_EVENT) if name == AUDIT_EVENT.kind else {})


def _members(element: XmlElement, kind: Element) -> dict[str, Any]:
    members: dict[str, Any] = {
        name: element.get(name) for name in ("id", "url") if element.get(name) is not None
    }
    for child in elements(element):
        name = _local(child)
        if name in _LEFT_OUT and kind is AUDIT_EVENT:
            continue
        of_child = META if name == "meta" else kind.members.get(name, _OPEN)
        for member, value in _values(child, name, of_child):
            if of_child.several or (of_child.kind == "any" and name in _SEVERAL):
                members.setdefault(member, []).append(value)
            elif member in members:
                # What stands twice where it may stand once is none, and told so.
                members[member] = [members[member], value]
            else:
                members[member] = value
    return members


def _values(element: XmlElement, name: str, kind: Element) -> Iterator[tuple[str, Any]]:
    """A member, and beside a primitive value what extends it."""
    inner = _members(element, kind)
    value = element.get("value")
    if value is None:
        yield name, inner
        return
    yield name, _primitive(value, kind.kind if kind.kind != "any" else name)
    if inner and not kind.several:
        yield f"_{name}", inner


def _primitive(text: str, kind: str) -> Any:
    if kind in ("boolean", "valueBoolean"):
        return {"true": True, "false": False}.get(text, text)
    return text


# --- writing -----------------------------------------------------------------------------------------


def write_xml(resource: Mapping[str, Any]) -> bytes:
    """A resource in XML: AuditEvents in the order of their table, all else in the order of its members."""
    return etree.tostring(_written(resource), encoding="utf-8", xml_declaration=True)


def _written(resource: Mapping[str, Any]) -> XmlElement:
    kind = AUDIT_EVENT if resource["resourceType"] == AUDIT_EVENT.kind else _OPEN
    element = etree.Element(f"{{{FHIR}}}{resource['resourceType']}", nsmap={None: FHIR})  # type: ignore[dict-item]  # the stubs know no default namespace
    # The id of a resource is an element; everywhere else it is an attribute.
    if "id" in resource:
        _write(element, "id", resource["id"], _OPEN)
    others = {name: value for name, value in resource.items() if name not in ("resourceType", "id")}
    _write_members(element, others, kind)
    return element


def _write_members(element: XmlElement, members: Mapping[str, Any], kind: Element) -> None:
    order = {name: place for place, name in enumerate(kind.members)}
    for name in sorted(members, key=lambda name: order.get(name, len(order))):
        value = members[name]
        if name.startswith("_"):
            continue
        of_member = META if name == "meta" else kind.members.get(name, _OPEN)
        for one in value if isinstance(value, list) else [value]:
            _write(element, name, one, of_member, members.get(f"_{name}"))


def _write(parent: XmlElement, name: str, value: Any, kind: Element, extended: Any = None) -> None:
    if isinstance(value, Mapping) and "resourceType" in value:
        etree.SubElement(parent, f"{{{FHIR}}}{name}").append(_written(value))
        return
    if name == "div" and isinstance(value, str) and (narrative := _narrative(value)) is not None:
        parent.append(narrative)
        return
    element = etree.SubElement(parent, f"{{{FHIR}}}{name}")
    inner = value if isinstance(value, Mapping) else extended if isinstance(extended, Mapping) else {}
    if not isinstance(value, Mapping):
        element.set("value", _text(value))
    attributes = ("id", "url") if name in ("extension", "modifierExtension") else ("id",)
    for attribute in attributes:
        if isinstance(inner.get(attribute), str):
            element.set(attribute, inner[attribute])
    _write_members(element, {key: content for key, content in inner.items() if key not in attributes}, kind)


def _narrative(text: str) -> XmlElement | None:
    try:
        element = parse(text.encode())
    except XmlError:
        return None
    return element if etree.QName(element).namespace == _XHTML else None


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
