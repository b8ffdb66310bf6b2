"""Documents inline as base64: moved to files, an `xop:Include` left in their place (XOP 1.0, 2.1).

A sender may optimise all, some or no documents. Decoders of messages meet `xop:Include` alone:
`InlineScanner` does it for XML that is too large to hold, `extract` for a tree. A document is an element
`Document` of `urn:ihe:iti:xds-b:2007`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

from lxml import etree

from shared.faults import SenderFault
from shared.http.base64_text import Base64Decoder
from shared.http.raw_asgi import BodyTooLarge
from shared.soap.folding import MOST_BYTES, with_references_folded
from shared.soap.mtom import INCLUDE, Received, include
from shared.soap.spooling import MAX_DOCUMENT_BYTES, Sink, forget
from shared.xml import NS, Element, XmlError, XmlGuard, elements

MAX_XML_BYTES = 8 * 1024**2
_DOCUMENT = f"{NS['xds']} Document"
_TAG = re.compile(rb"<(?:[^\s<>/!?:]{1,256}:)?Document(?=[\s/>])")
# In every such tag, and sooner looked for.
_IN_TAG = re.compile(rb"Document[\s/>]")
_TAG_BEGINS = 300
_MAX_TAG_BYTES = 64 * 1024
# Serializers of some platforms write the line ends of base64 as references.
_BLANK_REFERENCE = re.compile(rb"&#(?:0*(?:9|10|13|32)|[xX]0*(?:9|[aA]|[dD]|20));")
_REFERENCE_BYTES = 12
_STRING = etree.XPath("string()")


def _content_id() -> str:
    return f"inline.{uuid4().hex}"


class _Text:
    """The base64 of one document, on its way to a file that is made when there is any."""

    def __init__(self, new_sink: Callable[[], Sink]) -> None:
        self._new_sink = new_sink
        self._sink: Sink | None = None
        self._decoder = Base64Decoder("a Document")

    def feed(self, text: bytes) -> None:
        if b"&" in text:
            text = _BLANK_REFERENCE.sub(b"", text)
        octets = self._decoder.feed(text)
        if octets:
            if self._sink is None:
                self._sink = self._new_sink()
            self._sink.write(octets)

    def finish(self) -> Received | None:
        """What the text held; None when it was white space alone."""
        self._decoder.close()
        return self._sink.finish() if self._sink else None

    def discard(self) -> None:
        if self._sink:
            self._sink.discard()


class InlineScanner:
    """Takes the XML of a message in pieces and gives it back without its inline documents.

    Works within one thread at a time and blocks it. Holds the limits of `shared.xml.XmlGuard` over the whole
    and `max_xml_bytes` over what is left without documents. Documents go to `attachments`, whose holder
    removes their files; without `folder` they stay where they are and count as XML.

    A request for a study is looked at when it is complete, with its references folded: the guard would look
    at each of thousands of elements. Whoever has documents, or more than can be folded, is looked at while
    he sends.
    """

    def __init__(
        self,
        folder: Path | None,
        attachments: dict[str, Received],
        *,
        max_xml_bytes: int = MAX_XML_BYTES,
        max_document_bytes: int = MAX_DOCUMENT_BYTES,
    ) -> None:
        self._folder = folder
        self._attachments = attachments
        self._max_xml_bytes = max_xml_bytes
        self._max_document_bytes = max_document_bytes
        self._guard = XmlGuard()
        self._is_guarded = False
        self._xml = bytearray()
        self._pending = b""
        self._text: _Text | None = None

    def feed(self, octets: bytes) -> None:
        """Take the next bytes.

        Raises
        ------
        XmlError
            They are not XML that we accept.
        SenderFault
            A document is not base64.
        BodyTooLarge
            The XML, or a document, is larger than its limit.
        """
        self._pending += octets
        while self._text_of_document(self._text) if self._text else self._markup():
            pass

    def close(self) -> bytes:
        """The whole XML, without its documents; fails as `feed` does."""
        if self._text is None:
            self._pass_but(len(self._pending))
        xml = bytes(self._xml)
        if not self._is_guarded and _passes(with_references_folded(xml)):
            return xml
        # The positions that are told are those of the message.
        self._guard_as_it_comes()
        self._guard.close()
        return xml

    def discard(self) -> None:
        """Give up the document that is half read."""
        if self._text:
            self._text.discard()

    def _pass(self, octets: bytes) -> None:
        if not octets:
            return
        if len(self._xml) + len(octets) > self._max_xml_bytes:
            raise BodyTooLarge(self._max_xml_bytes)
        if self._is_guarded:
            self._guard.feed(octets)
        self._xml += octets
        if len(self._xml) > MOST_BYTES:
            self._guard_as_it_comes()

    def _guard_as_it_comes(self) -> None:
        if not self._is_guarded:
            self._is_guarded = True
            self._guard.feed(bytes(self._xml))

    def _markup(self) -> bool:
        has_tag = self._folder is not None and _IN_TAG.search(self._pending) is not None
        tag = _TAG.search(self._pending) if has_tag else None
        if tag is None:
            self._pass_but(self._incomplete_tag())
            return False
        end = self._pending.find(b">", tag.end())
        if end < 0:
            if len(self._pending) - tag.start() > _MAX_TAG_BYTES:
                raise XmlError(f"a start tag is longer than {_MAX_TAG_BYTES} bytes")
            self._pass_but(tag.start())
            return False
        self._guard_as_it_comes()
        # Apart, so that the guard tells whether this, and no comment that looks like it, opened a document.
        self._pass(self._pending[: tag.start()])
        self._pass(self._pending[tag.start() : end + 1])
        self._pending = self._pending[end + 1 :]
        if self._guard.opened == _DOCUMENT:
            self._text = _Text(self._new_sink)
        return True

    def _new_sink(self) -> Sink:
        assert self._folder is not None
        return Sink(self._folder, max_bytes=self._max_document_bytes)

    def _incomplete_tag(self) -> int:
        at = self._pending.rfind(b"<", max(0, len(self._pending) - _TAG_BEGINS))
        return at if at >= 0 and self._pending.find(b">", at) < 0 else len(self._pending)

    def _pass_but(self, keep: int) -> None:
        self._pass(self._pending[:keep])
        self._pending = self._pending[keep:]

    def _text_of_document(self, text: _Text) -> bool:
        end = self._pending.find(b"<")
        if end < 0 or len(self._pending) < end + 2:
            keep = end if end >= 0 else self._incomplete_reference()
            text.feed(self._pending[:keep])
            self._pending = self._pending[keep:]
            return False
        text.feed(self._pending[:end])
        self._pending = self._pending[end:]
        if received := text.finish():
            self._keep(received)
        self._text = None
        return True

    def _keep(self, received: Received) -> None:
        content_id = _content_id()
        self._attachments[content_id] = received
        if not self._pending.startswith(b"</"):
            raise SenderFault(
                "a Document holds more than base64 text; send the text alone, or one xop:Include"
            )
        self._pass(include(content_id).encode())

    def _incomplete_reference(self) -> int:
        at = self._pending.rfind(b"&", max(0, len(self._pending) - _REFERENCE_BYTES))
        return at if at >= 0 and self._pending.find(b";", at) < 0 else len(self._pending)


def _passes(octets: bytes) -> bool:
    """Whether a whole message keeps the limits of the guard."""
    guard = XmlGuard()
    try:
        guard.feed(octets)
        guard.close()
    except XmlError:
        return False
    return True


def extract(root: Element, folder: Path) -> dict[str, Received]:
    """Move the documents that stand in the tree `root` as base64 to files, by content id; blocks.

    A document without any text is one of zero bytes.

    Raises
    ------
    SenderFault
        A document is not base64, or holds text beside an element; no file remains.
    """
    documents: dict[str, Received] = {}
    try:
        for document in root.iter(f"{{{NS['xds']}}}Document"):
            if _is_reference(document):
                continue
            text = str(_STRING(document))
            if next(elements(document), None) is None:
                content_id = _content_id()
                documents[content_id] = _decode(text, folder)
                _replace(document, content_id)
            elif text.strip():
                raise SenderFault(
                    "a Document holds text beside an element; send base64 alone, or one xop:Include"
                )
    except BaseException:
        for received in documents.values():
            forget(received)
        raise
    return documents


def _is_reference(document: Element) -> bool:
    """Whether the element holds an `xop:Include` and no blank beside it, as nearly all do."""
    if len(document) != 1 or document.text:
        return False
    (only,) = document
    return only.tag == INCLUDE and not only.tail


def _decode(text: str, folder: Path) -> Received:
    sink = Sink(folder)
    try:
        decoder = Base64Decoder("a Document")
        sink.write(decoder.feed(text.encode("ascii", "replace")))
        decoder.close()
        return sink.finish()
    except BaseException:
        sink.discard()
        raise


def _replace(document: Element, content_id: str) -> None:
    for node in list(document):
        document.remove(node)
    document.text = None
    etree.SubElement(document, INCLUDE).set("href", f"cid:{content_id}")
