"""One hardened XML parser, and reading that names what is absent.

The only module that creates parsers (a rule of the linter). Below `PRESCAN_BYTES` the size itself bounds the
harm of hostile input; what is larger must have passed a `XmlGuard` while it arrived.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from xml.parsers import expat

from lxml import etree

from shared.faults import SenderFault

Element = etree._Element

PRESCAN_BYTES = 256 * 1024
_LARGE_BYTES = 32 * 1024
MAX_DEPTH = 100
MAX_ATTRIBUTES = 64
MAX_NAMESPACES = 32
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
    "rmd": "urn:ihe:iti:rmd:2017",
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


_ENCODINGS = frozenset({"UTF-8", "UTF-16", "UTF-16LE", "UTF-16BE", "US-ASCII", "ASCII"})
_DOCTYPE = "a document type declaration (DOCTYPE) is not accepted; send the message without one"
_ENCODING = "an encoding other than UTF-8 and UTF-16 is not accepted; send UTF-8"
_DEPTH = f"elements are nested deeper than {MAX_DEPTH} levels"

# The same limits as the guard's, for a sixth of the price of a walk in Python.
_TOO_DEEP = etree.XPath("boolean(" + "/*" * (MAX_DEPTH + 1) + ")")
_TOO_WIDE = etree.XPath(f"boolean(/descendant::*/@*[{MAX_ATTRIBUTES + 1}])")
_TOO_MANY = etree.XPath(f"count(//*) > {MAX_ELEMENTS}")


def parse(octets: bytes) -> Element:
    """Parse a document, or raise `XmlError`.

    Refuses document type declarations in every encoding, encodings other than UTF-8 and UTF-16, more than
    `MAX_DEPTH` levels, elements with more than `MAX_ATTRIBUTES` attributes and more than `MAX_ELEMENTS`
    elements. Comments are kept: the canonical form of a signed assertion needs them gone by the verifier's
    own rule, not by ours.
    """
    if b"<!DOCTYPE" in octets[:PRESCAN_BYTES]:
        raise XmlError(_DOCTYPE)
    try:
        root = etree.fromstring(octets, _parser())
    except etree.XMLSyntaxError as error:
        raise XmlError(_without_content(error)) from None
    except ValueError:
        raise XmlError("not well-formed XML") from None
    finally:
        _forget_names()
    document = root.getroottree().docinfo
    # The look at the bytes misses UTF-16.
    if document.internalDTD is not None:
        raise XmlError(_DOCTYPE)
    if document.encoding and document.encoding.upper() not in _ENCODINGS:
        raise XmlError(_ENCODING)
    _within_limits(root, octets)
    return root


# libxml2 keeps every name that a thread has ever parsed in a dictionary of that thread: strangers could
# fill the memory with names, and after 100 MB of them nothing would parse. lxml makes a new dictionary when
# it finds none; documents hold on to the one they were made with.
_thread_state = ctypes.PYFUNCTYPE(ctypes.c_void_p)(("PyThreadState_GetDict", ctypes.pythonapi))
_delete_item = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p)(
    ("PyDict_DelItemString", ctypes.pythonapi)
)


def _forget_names() -> None:
    with suppress(KeyError):
        _delete_item(_thread_state(), b"_ParserDictionaryContext")


def _without_content(error: etree.XMLSyntaxError) -> str:
    # libxml2 quotes names of the document; a position is enough for the sender and shows nothing to others.
    if error.code == etree.ErrorTypes.ERR_UNSUPPORTED_ENCODING:  # type: ignore[attr-defined]  # unknown to its stubs
        return _ENCODING
    if error.msg.startswith("Excessive depth"):
        return _DEPTH
    return f"not well-formed XML: line {error.lineno}, column {error.offset}"


def _within_limits(root: Element, octets: bytes) -> None:
    # Every level but the last is opened and closed, and every attribute has its sign: nearly every message
    # has too few of them, in UTF-16 too, and needs no walk. A large one has enough of both.
    large = len(octets) > _LARGE_BYTES
    if (large or octets.count(b"<") > 2 * MAX_DEPTH) and _TOO_DEEP(root):
        raise XmlError(_DEPTH)
    if (large or octets.count(b"=") > MAX_ATTRIBUTES) and _TOO_WIDE(root):
        raise XmlError(f"an element has more than {MAX_ATTRIBUTES} attributes")
    if len(octets) > PRESCAN_BYTES and _TOO_MANY(root):
        raise XmlError(f"more than {MAX_ELEMENTS} elements")


class XmlGuard:
    """Holds the limits over a document that arrives in pieces, before a tree of it is built.

    Feed it in order; what breaks a limit or is not well-formed raises `XmlError`. UTF-8 alone is accepted, so
    that offsets in the bytes are offsets in the document. `opened` is the expanded name (`namespace local`)
    of the element whose start tag was the last thing fed, or empty.
    """

    def __init__(self) -> None:
        self.opened = ""
        self._depth = 0
        self._elements = 0
        self._namespaces = 0
        self._parser = expat.ParserCreate("UTF-8", " ")
        self._parser.ordered_attributes = True
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.StartNamespaceDeclHandler = self._declared
        self._parser.StartDoctypeDeclHandler = self._doctype
        self._parser.XmlDeclHandler = self._declaration

    def feed(self, octets: bytes) -> None:
        """Check the next bytes."""
        self.opened = ""
        self._parse(octets, False)

    def close(self) -> None:
        """Check that the document is complete."""
        self._parse(b"", True)

    def _parse(self, octets: bytes, final: bool) -> None:
        try:
            self._parser.Parse(octets, final)
        except expat.ExpatError as error:
            raise XmlError(f"not well-formed XML: line {error.lineno}, column {error.offset}") from None

    def _start(self, name: str, attributes: list[str]) -> None:
        self._depth += 1
        self._elements += 1
        if self._depth > MAX_DEPTH:
            raise XmlError(_DEPTH)
        if len(attributes) > 2 * MAX_ATTRIBUTES:
            raise XmlError(f"an element has more than {MAX_ATTRIBUTES} attributes")
        if self._elements > MAX_ELEMENTS:
            raise XmlError(f"more than {MAX_ELEMENTS} elements")
        self._namespaces = 0
        self.opened = name

    def _end(self, name: str) -> None:
        self._depth -= 1
        self._namespaces = 0
        self.opened = ""

    def _declared(self, prefix: str | None, uri: str | None) -> None:
        self._namespaces += 1
        if self._namespaces > MAX_NAMESPACES:
            raise XmlError(f"an element declares more than {MAX_NAMESPACES} namespaces")

    def _doctype(self, *declared: object) -> None:
        raise XmlError(_DOCTYPE)

    def _declaration(self, version: str, encoding: str | None, standalone: int) -> None:
        if encoding and encoding.upper() not in ("UTF-8", "US-ASCII", "ASCII"):
            raise XmlError("a message of this size is accepted in UTF-8 alone")


@lru_cache(maxsize=1024)
def qname(prefixed: str) -> str:
    """`rim:Slot` as lxml's `{namespace}Slot`."""
    prefix, _, local = prefixed.partition(":")
    return f"{{{NS[prefix]}}}{local}"


def child(element: Element, prefixed: str) -> Element:
    """The first child of this name (prefixes of `NS`), or a `SenderFault` that names what is absent."""
    only = optional_child(element, prefixed)
    if only is None:
        raise SenderFault(f"{etree.QName(element).localname} has no {prefixed}")
    return only


def optional_child(element: Element, prefixed: str) -> Element | None:
    """The first child of this name (prefixes of `NS`), or None; a tenth of the price of `find`."""
    return next(element.iterchildren(qname(prefixed)), None)


def attribute(element: Element, name: str) -> str:
    """The attribute `name`, or a `SenderFault` that names what is absent."""
    value = element.get(name)
    if value is None:
        raise SenderFault(f"{etree.QName(element).localname} has no attribute {name}")
    return value


def text(element: Element) -> str:
    """All text of `element`, trimmed; comments inside a value do not cut it short."""
    if len(element) == 0:
        return (element.text or "").strip()
    return "".join(str(part) for part in element.itertext(with_tail=True)).strip()


def elements(element: Element) -> Iterator[Element]:
    """The element children, without comments."""
    return element.iterchildren("*")


_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\r": "&#13;"})
_ATTRIBUTE_ESCAPES = str.maketrans(
    {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\r": "&#13;", "\n": "&#10;", "\t": "&#9;"}
)
# Most values hold nothing of that; to look first takes a quarter of the time.
_ESCAPED = re.compile('[&<>"\r]').search
_ESCAPED_IN_ATTRIBUTES = re.compile('[&<>"\r\n\t]').search


def escape(value: str) -> str:
    """`value` as character data."""
    return value.translate(_ESCAPES) if _ESCAPED(value) else value


def escape_each(values: Sequence[str]) -> Sequence[str]:
    """Each of `values` as character data; hundreds of ids are looked at together."""
    together = "".join(values)
    return list(map(escape, values)) if any(chr(sign) in together for sign in _ESCAPES) else values


def escape_attribute(value: str) -> str:
    """`value` as the inside of a double-quoted attribute; white space survives."""
    return value.translate(_ATTRIBUTE_ESCAPES) if _ESCAPED_IN_ATTRIBUTES(value) else value
