"""One hardened XML parser, and reading that names what is absent.

The only module that creates parsers (a rule of the linter). Below `PRESCAN_BYTES` the size itself bounds the
harm of hostile input; above it a streaming scan must have guarded the bytes first (`shared.soap.mtom`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from lxml import etree

from shared.faults import SenderFault

Element = etree._Element

PRESCAN_BYTES = 256 * 1024
MAX_DEPTH = 100
MAX_ATTRIBUTES = 64
MAX_ELEMENTS = 1_000_000

NS: Mapping[str, str] = {
    "soap": "http://www.w3.org/2003/05/soap-envelope",
    "wsa": "http://www.w3.org/2005/08/addressing",
    "wsse": "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd",
    "xop": "http://www.w3.org/2004/08/xop/include",
    "rim": "urn:oasis:names:tc:ebxml-regrep:xsd:rim:3.0",
    "rs": "urn:oasis:names:tc:ebxml-regrep:xsd:rs:3.0",
    "lcm": "urn:oasis:names:tc:ebxml-regrep:xsd:lcm:3.0",
    "query": "urn:oasis:names:tc:ebxml-regrep:xsd:query:3.0",
    "xds": "urn:ihe:iti:xds-b:2007",
    "xdsi": "urn:ihe:rad:xdsi-b:2009",
    "saml": "urn:oasis:names:tc:SAML:2.0:assertion",
    "ds": "http://www.w3.org/2000/09/xmldsig#",
    "hl7": "urn:hl7-org:v3",
}


class XmlError(ValueError):
    """The bytes are not XML that we accept; the text says why and names no content."""


def _parser() -> etree.XMLParser:
    return etree.XMLParser(
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        dtd_validation=False,
        huge_tree=False,
        remove_pis=True,
        remove_comments=False,
        recover=False,
    )


def parse(octets: bytes) -> Element:
    """Parse a document, or raise `XmlError`.

    Refuses document type declarations in every encoding, more than `MAX_DEPTH` levels and elements with more
    than `MAX_ATTRIBUTES` attributes. Comments are kept: the canonical form of a signed assertion needs them gone
    by the verifier's own rule, not by ours.
    """
    if b"<!DOCTYPE" in octets[:PRESCAN_BYTES]:
        raise XmlError("a document type declaration is not accepted; send the message without one")
    try:
        root = etree.fromstring(octets, _parser())
    except (etree.XMLSyntaxError, ValueError) as error:
        raise XmlError(f"not well-formed XML: {_without_content(str(error))}") from None
    # The look at the bytes misses UTF-16.
    if root.getroottree().docinfo.internalDTD is not None:
        raise XmlError("a document type declaration is not accepted; send the message without one")
    _within_limits(root)
    return root


def _without_content(message: str) -> str:
    # libxml2 quotes names of the document; a position is enough for the sender and shows nothing to others.
    position = message.rfind("line ")
    return message[position:] if position >= 0 else "syntax error"


def _within_limits(root: Element) -> None:
    count, depth = 0, 0
    for event, element in etree.iterwalk(root, events=("start", "end")):
        if event == "end":
            depth -= 1
            continue
        depth += 1
        count += 1
        if depth > MAX_DEPTH:
            raise XmlError(f"elements are nested deeper than {MAX_DEPTH} levels")
        if len(element.attrib) > MAX_ATTRIBUTES:
            raise XmlError(f"an element has more than {MAX_ATTRIBUTES} attributes")
        if count > MAX_ELEMENTS:
            raise XmlError(f"more than {MAX_ELEMENTS} elements")


def qname(prefixed: str) -> str:
    """`rim:Slot` as lxml's `{namespace}Slot`."""
    prefix, _, local = prefixed.partition(":")
    return f"{{{NS[prefix]}}}{local}"


def child(element: Element, path: str) -> Element:
    """The one element at `path` (prefixes of `NS`), or a `SenderFault` that names what is absent."""
    found = element.find(path, dict(NS))
    if found is None:
        raise SenderFault(f"{etree.QName(element).localname} has no {path}")
    return found


def attribute(element: Element, name: str) -> str:
    """The attribute `name`, or a `SenderFault` that names what is absent."""
    value = element.get(name)
    if value is None:
        raise SenderFault(f"{etree.QName(element).localname} has no attribute {name}")
    return value


def text(element: Element) -> str:
    """All text of `element`, trimmed; comments inside a value do not cut it short."""
    return "".join(str(part) for part in element.itertext(with_tail=True)).strip()


def elements(element: Element) -> Iterator[Element]:
    """The element children, without comments."""
    return (node for node in element if isinstance(node.tag, str))


_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\r": "&#13;"})
_ATTRIBUTE_ESCAPES = str.maketrans(
    {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\r": "&#13;", "\n": "&#10;", "\t": "&#9;"}
)


def escape(value: str) -> str:
    """`value` as character data."""
    return value.translate(_ESCAPES)


def escape_attribute(value: str) -> str:
    """`value` as the inside of a double-quoted attribute; white space survives."""
    return value.translate(_ATTRIBUTE_ESCAPES)
