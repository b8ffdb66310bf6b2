"""XML as a tree that stays small: objects are handed out when they end, and long text is not kept.

The tree is built from the events of expat, which is fed piece by piece; each element knows its line. Document
types are refused, since entities could make a document grow.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final
from xml.parsers import expat

from lxml import etree

from conformance.readers.source import MOST_HELD, Source

Element = etree._Element

#: Characters of a text that are kept.
MOST_TEXT: Final = 256 * 1024
_MOST_DEPTH: Final = 200
_LAST_LINE: Final = 65_535


class NotXml(Exception):
    """The bytes are no XML; the text says where and why."""


@dataclass(frozen=True, slots=True)
class Binary:
    """What a base64 element holds: size in bytes, SHA-1, and the bytes unless they are too many."""

    size: int
    sha1: str
    octets: bytes | None
    is_valid: bool = True


class XmlReader:
    """Feed it bytes; `objects` gives the elements named in `apart` as soon as they end, and forgets them.

    The text of elements named in `binaries` is decoded while it passes: `binary_of` gives what it was.
    `root` is what remains when everything was fed.
    """

    def __init__(self, apart: Iterable[str] = (), binaries: Iterable[str] = ()) -> None:
        self.root: Element | None = None
        self.line = 1
        self._apart = frozenset(apart)
        self._binaries = frozenset(binaries)
        self._digests: dict[Element, Binary] = {}
        self._ended: list[Element] = []
        self._stack: list[Element] = []
        self._text: list[str] = []
        self._length = 0
        self._decoder: _Base64 | None = None
        self._namespaces: dict[str | None, str] = {}
        self._parser = expat.ParserCreate(None, " ")
        self._parser.buffer_text = True
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._characters
        self._parser.StartNamespaceDeclHandler = self._declared
        self._parser.StartDoctypeDeclHandler = self._doctype

    def feed(self, octets: bytes) -> Iterator[Element]:
        """Read the next bytes, and give what ended."""
        self._parse(octets, False)
        yield from self._handed_out()

    def close(self) -> Iterator[Element]:
        """End the document, and give what ended."""
        self._parse(b"", True)
        yield from self._handed_out()

    def binary_of(self, element: Element) -> Binary | None:
        """What an element of `binaries` holds; None when it was none."""
        return self._digests.get(element)

    def _handed_out(self) -> Iterator[Element]:
        ended, self._ended = self._ended, []
        for element in ended:
            yield element
            for below in element.iter():
                self._digests.pop(below, None)
            if (parent := element.getparent()) is not None:
                parent.remove(element)

    def _parse(self, octets: bytes, final: bool) -> None:
        try:
            self._parser.Parse(octets, final)
        except expat.ExpatError as error:
            reason = expat.ErrorString(error.code)
            raise NotXml(f"line {error.lineno}, column {error.offset}: {reason}") from None
        except (ValueError, UnicodeError) as error:
            raise NotXml(f"line {self._parser.CurrentLineNumber}: {error}") from None

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._flush()
        if len(self._stack) >= _MOST_DEPTH:
            raise NotXml(f"line {self._parser.CurrentLineNumber}: elements are nested too deep")
        tag = _qualified(name)
        values = {_qualified(key): value for key, value in attributes.items()}
        namespaces, self._namespaces = self._namespaces, {}
        if self._stack:
            element = etree.SubElement(self._stack[-1], tag, values, namespaces or None)  # type: ignore[arg-type]
        else:
            element = etree.Element(tag, values, namespaces or None)  # type: ignore[arg-type]
            self.root = element
        element.sourceline = min(self._parser.CurrentLineNumber, _LAST_LINE)  # type: ignore[assignment]
        self._stack.append(element)
        if tag in self._binaries:
            self._decoder = _Base64()

    def _end(self, _name: str) -> None:
        self._flush()
        element = self._stack.pop()
        if element.tag in self._binaries and self._decoder is not None:
            if len(element) == 0:
                self._digests[element] = self._decoder.ended()
            self._decoder = None
        if element.tag in self._apart and not any(each.tag in self._apart for each in self._stack):
            self._ended.append(element)

    def _characters(self, text: str) -> None:
        if self._decoder is not None:
            self._decoder.add(text)
        if self._length < MOST_TEXT:
            self._text.append(text)
        self._length += len(text)

    def _flush(self) -> None:
        if not self._text or not self._stack:
            self._text, self._length = [], 0
            return
        text = "".join(self._text)[:MOST_TEXT]
        self._text, self._length = [], 0
        parent = self._stack[-1]
        if len(parent):
            parent[-1].tail = (parent[-1].tail or "") + text
        else:
            parent.text = (parent.text or "") + text

    def _declared(self, prefix: str | None, uri: str | None) -> None:
        if uri:
            self._namespaces[prefix or None] = uri

    def _doctype(self, *_declared: object) -> None:
        raise NotXml(f"line {self._parser.CurrentLineNumber}: a document type declaration")


def document(source: Source) -> Element | None:
    """The root of a document that is held whole; None where nothing came. Raises `NotXml`."""
    reader = XmlReader()
    list(reader.feed(source.read(0, MOST_HELD)))
    list(reader.close())
    return reader.root


class _Base64:
    """Decodes while it passes."""

    def __init__(self) -> None:
        self._rest = ""
        self._digest = hashlib.sha1(usedforsecurity=False)
        self._size = 0
        self._octets: bytearray | None = bytearray()
        self._is_valid = True

    def add(self, text: str) -> None:
        joined = self._rest + "".join(text.split())
        whole = len(joined) // 4 * 4
        self._rest = joined[whole:]
        self._decode(joined[:whole])

    def ended(self) -> Binary:
        self._is_valid = self._is_valid and not self._rest
        octets = bytes(self._octets) if self._octets is not None else None
        return Binary(self._size, self._digest.hexdigest(), octets, self._is_valid)

    def _decode(self, text: str) -> None:
        try:
            octets = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            self._is_valid = False
            return
        self._size += len(octets)
        self._digest.update(octets)
        if self._octets is not None:
            self._octets += octets
            if len(self._octets) > MOST_HELD:
                self._octets = None


@lru_cache(maxsize=1024)
def _qualified(name: str) -> str:
    namespace, _, local = name.rpartition(" ")
    return f"{{{namespace}}}{local}" if namespace else local


def local(element: Element) -> str:
    """The name of an element without namespace."""
    return str(element.tag).rpartition("}")[2]


def place(element: Element, *more: str) -> str:
    """Line and path of an element, from the nearest object on, with what tells it from its siblings."""
    path: list[str] = []
    node: Element | None = element
    while node is not None:
        path.append(_step(node))
        if node.get("id") and local(node) in _OBJECTS:
            break
        node = node.getparent()
    names = "/".join(reversed(path))
    return f"line {element.sourceline}: {'/'.join((names, *more))}"


_OBJECTS: Final = frozenset({"ExtrinsicObject", "RegistryPackage", "Association", "ObjectRef"})


def _step(element: Element) -> str:
    name = local(element)
    if (label := element.get("name")) is not None and name == "Slot":
        return f"Slot[@name={label!r}]"
    if (label := element.get("id")) is not None and name in _OBJECTS:
        return f"{name}[@id={label!r}]"
    parent = element.getparent()
    if parent is None:
        return name
    same = [each for each in parent if each.tag == element.tag]
    return f"{name}[{same.index(element) + 1}]" if len(same) > 1 else name


def text(element: Element | None) -> str:
    """All text of an element, trimmed; empty for None."""
    if element is None:
        return ""
    if len(element) == 0:
        return (element.text or "").strip()
    return "".join(str(part) for part in element.itertext()).strip()
