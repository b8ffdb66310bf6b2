"""Messages of the SOAP transactions, captured or as bare XML; and metadata without an envelope."""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field, replace
from typing import Final

from conformance import schemes
from conformance.codes import KEY_OBJECT_SELECTION
from conformance.findings import Finding
from conformance.judgement import Judgement
from conformance.readers.dicom import read_dicom
from conformance.readers.http import HttpMessage, Part, same_content_id
from conformance.readers.source import MOST_HELD, Source
from conformance.readers.xml import Element, NotXml, XmlReader, local, place, text
from conformance.requirements import finding
from conformance.rules import (
    envelope,
    feed_v3,
    imaging_metadata,
    packaging,
    response,
    retrieval,
    stored_query,
)
from conformance.rules.metadata.ebrim import OBJECTS, RIM, Use
from conformance.rules.metadata.submission import Submission
from conformance.transactions import (
    HL7,
    LCM,
    QUERY,
    RMD,
    RS,
    XDS,
    XDSI,
    Transaction,
)

_ASSERTION: Final = "{urn:oasis:names:tc:SAML:2.0:assertion}Assertion"
_INCLUDE: Final = "{http://www.w3.org/2004/08/xop/include}Include"
_DOCUMENT: Final = f"{XDS}Document"
_ANSWERED: Final = f"{XDS}DocumentResponse"
_SOAP: Final = frozenset({"application/soap+xml", "multipart/related"})
_APART: Final = (*OBJECTS, f"{RIM}ObjectRef", _ANSWERED, _DOCUMENT)
#: Entries of a submission that are remembered until their documents come.
_MOST_ENTRIES: Final = 5_000
#: Bytes of an instance that tell what it is.
_HEAD: Final = 64 * 1024

_USES: Final = {
    "ITI-41": Use.PROVIDE,
    "ITI-42": Use.REGISTER,
    "ITI-61": Use.ON_DEMAND,
    "ITI-57": Use.UPDATE,
    "ITI-92": Use.UPDATE,
}


@dataclass(slots=True)
class Exchange:
    """What a capture of a request and its answer tells from one to the other."""

    request: Transaction | None = None
    message_id: str = ""
    documents: set[str] = field(default_factory=set)
    syntaxes: frozenset[str] = frozenset()


def judged(source: Source) -> Judgement:
    """A message or metadata as bare XML."""
    judgement = Judgement("XML")
    message = Message(source, (), Exchange())
    judgement.findings = _bare(message, judgement)
    return judgement


def _bare(message: Message, judgement: Judgement) -> Iterator[Finding]:
    yield from message.findings()
    judgement.title = message.title


def captured(message: HttpMessage, exchange: Exchange, judgement: Judgement) -> Iterator[Finding]:
    """A message with its head, SIMPLE or packaged."""
    listed: list[Part] = []
    body = message.body
    if message.media_type.value == "multipart/related":
        listed, broken = packaging.packaged(message)
        yield from packaging.package(message, listed, broken)
        root = packaging.root_of(message, listed)
        if root is None:
            return
        body = root.body
    only = Message(body, listed, exchange, status=message.status)
    yield from only.findings()
    judgement.title = only.title
    if message.media_type.value not in _SOAP:
        exchange.message_id = ""  # who cannot read it does not know what it is called
    if message.headers:
        yield from packaging.head(message, only.transaction, only.action)


class Message:
    """One XML document while it is read: the objects of it pass, and what remains is judged at its end."""

    def __init__(
        self, source: Source, parts: list[Part] | tuple[()], exchange: Exchange, *, status: int = 0
    ) -> None:
        self.title = "XML"
        self.action = ""
        self.transaction: Transaction | None = None
        self._source = source
        self._parts = parts
        self._exchange = exchange
        self._status = status
        self._reader = XmlReader(_APART, (_DOCUMENT,))
        self._submission: Submission | None = None
        self._packages: list[Element] = []
        self._entries: dict[str, Element] = {}
        self._entry_ids: list[str] = []
        self._document_ids: list[str] = []
        self._documents_came_first = False
        self._referenced: set[int] = set()
        self._results = 0
        self._references = 0
        self._answered: set[str] = set()

    def findings(self) -> Iterator[Finding]:
        """Everything that is wrong with the document, in the order of reading."""
        try:
            for piece in self._source.pieces():
                for element in self._reader.feed(piece):
                    yield from self._passed(element)
            for element in self._reader.close():
                yield from self._passed(element)
        except NotXml as error:
            at, _, wrong = str(error).partition(": ")
            yield finding("SOAP-030", at, wrong)
            return
        root = self._reader.root
        if root is not None:
            self._begin(root)
            yield from self._remaining(root)

    # -- while it passes

    def _begin(self, root: Element) -> None:
        """Learn from the headers what the message is, before its first object."""
        if self._submission is not None:
            return
        self.action = envelope.action_of(root) if local(root) == "Envelope" else ""
        self.transaction = envelope.transaction_of(root, self._exchange.request)
        use = _USES.get(self.transaction.number, Use.ANSWER) if self.transaction else Use.ANSWER
        if self.transaction is None and local(root) != "Envelope":
            use = {
                "ProvideAndRegisterDocumentSetRequest": Use.PROVIDE,
                "SubmitObjectsRequest": Use.REGISTER,
                "ExtrinsicObject": Use.PROVIDE,
                "RegistryPackage": Use.PROVIDE,
                "Association": Use.PROVIDE,
            }.get(local(root), Use.ANSWER)
        self._submission = Submission(use)

    def _passed(self, element: Element) -> Iterator[Finding]:
        root = self._reader.root
        if root is None:
            return
        self._begin(root)
        assert self._submission is not None
        if element.tag == f"{RIM}ObjectRef":
            yield from self._object_ref(element)
        elif element.tag == _ANSWERED:
            yield from self._document_response(element)
        elif element.tag == _DOCUMENT:
            yield from self._document(element)
        elif element.tag == f"{RIM}RegistryPackage" and element.find(f"{RIM}Classification") is None:
            self._packages.append(element)
        else:
            yield from self._object(element)

    def _object(self, element: Element) -> Iterator[Finding]:
        assert self._submission is not None
        self._results += 1
        yield from self._submission.add(element)
        if element.tag != f"{RIM}ExtrinsicObject":
            return
        id = element.get("id") or ""
        if imaging_metadata.is_manifest(element):
            yield from imaging_metadata.manifest_entry(element)
        if self._submission.use is Use.PROVIDE:
            self._entry_ids.append(id)
            if len(self._entries) < _MOST_ENTRIES:
                self._entries[id] = element
        home = element.get("home")
        if self.transaction is not None and self.transaction.number == "ITI-38" and not home:
            yield finding("XDS-QUERY-022", place(element, "@home"), "absent in the answer of a gateway")

    def _object_ref(self, element: Element) -> Iterator[Finding]:
        self._results += 1
        self._references += 1
        from conformance.identifiers import UUID

        if not UUID.match(element.get("id") or ""):
            value = element.get("id") or ""
            at = place(element, "@id")
            removal = self.transaction is not None and self.transaction.number == "ITI-62"
            yield finding("XDS-RM-002" if removal else "XDS-META-003", at, "no UUID", value)

    def _document_response(self, element: Element) -> Iterator[Finding]:
        self._results += 1
        transaction = self.transaction or _BARE_ANSWER
        yield from retrieval.document_response(element, transaction)
        uid = text(element.find(f"{XDS}DocumentUniqueId"))
        self._answered.add(uid)
        if self._exchange.documents and uid not in self._exchange.documents:
            yield finding("XDS-RET-019", place(element), "a document that was not asked for", uid)
        document = element.find(_DOCUMENT)
        if document is not None:
            octets = yield from self._content(document)
            if octets is not None and transaction.number.startswith("RAD"):
                yield from self._instance(octets, uid, place(element))
            elif octets is not None and len(octets) <= MOST_HELD:
                yield from _manifest_within(octets.read(0, len(octets)), place(document))

    def _content(self, document: Element) -> Generator[Finding, None, Source | None]:
        """The bytes of a Document as a source; None when there are none."""
        includes = document.findall(_INCLUDE)
        if not includes:
            binary = self._reader.binary_of(document)
            if binary is None or not binary.is_valid:
                yield finding("XDS-RET-013", place(document), "neither an Include nor base64")
                return None
            return Source.of(binary.octets) if binary.octets is not None else None
        if len(document) != 1 or text(document):
            yield finding("SOAP-020", place(document), "something beside the Include", text(document))
        href = includes[0].get("href") or ""
        part = next((one for one in self._parts if same_content_id(href, one.content_id)), None)
        if not href.startswith("cid:") or part is None:
            yield finding("SOAP-019", place(includes[0], "@href"), "no part of this Content-ID", href)
            return None
        self._referenced.add(part.number)
        return part.body

    def _instance(self, octets: Source, uid: str, at: str) -> Iterator[Finding]:
        """An instance of RAD-69: what it says at its beginning."""
        file = read_dicom(octets.read(0, _HEAD))
        if not file.meta.elements:
            yield finding("XDSI-RET-009", at, "no DICOM Part 10 file")
            return
        stated = file.data_set.text(0x00080018) or file.meta.text(0x00020003)
        if stated and uid and stated != uid:
            yield finding(
                "XDSI-RET-009", at, "another instance than DocumentUniqueId says", stated, right=uid
            )
        syntax = file.transfer_syntax
        if self._exchange.syntaxes and syntax not in self._exchange.syntaxes and _has_pixels(file.data_set):
            yield finding("XDSI-RET-010", at, "a transfer syntax that was not listed", syntax)

    def _document(self, element: Element) -> Iterator[Finding]:
        """A document of a submission."""
        id = element.get("id") or ""
        self._document_ids.append(id)
        before = element.itersiblings(f"{LCM}SubmitObjectsRequest", preceding=True)
        if next(before, None) is None:
            self._documents_came_first = True
        source = yield from self._content(element)
        entry = self._entries.pop(id, None)
        if source is None or entry is None:
            return
        digest, size = hashlib.sha1(usedforsecurity=False), 0
        for piece in source.pieces():
            digest.update(piece)
            size += len(piece)
        octets = source.read(0, size) if size <= MOST_HELD else None
        yield from imaging_metadata.document(entry, octets, size, digest.hexdigest())
        if octets is not None:
            yield from _manifest_within(octets, place(element))

    # -- at its end

    def _remaining(self, root: Element) -> Iterator[Finding]:
        assert self._submission is not None
        for label in root.iter(f"{RIM}Classification"):
            if node := label.get("classificationNode"):
                self._submission.labels[label.get("classifiedObject") or ""] = node
        for package in self._packages:
            yield from self._object(package)
        for other in root.iterfind(f".//{RIM}RegistryObjectList/*"):
            if other.tag != f"{RIM}Classification":
                yield finding("XDS-META-001", place(other), "an object of another kind", local(other))
        self._entries.clear()
        if self._submission.summaries and self._submission.use.is_submission:
            if local(root) not in ("ExtrinsicObject", "RegistryPackage", "Association"):
                yield from self._submission.together()
        elif self._submission.summaries:
            yield from self._submission.together()
        if local(root) != "Envelope":
            self.title = f"XDS metadata ({local(root)})"
            yield from self._payload(root, _bare_transaction(root))
            return
        yield from self._enveloped(root)

    def _enveloped(self, root: Element) -> Iterator[Finding]:
        transaction, exchange = self.transaction, self._exchange
        yield from envelope.frame(root)
        if root.tag != f"{envelope.SOAP12}Envelope":
            self.title = "SOAP message"
            return
        yield from envelope.addressing(root, transaction, request_is_known=bool(exchange.message_id))
        yield from envelope.fault(root, self._status)
        only = envelope.body_of(root)
        is_fault = only is not None and only.tag == f"{envelope.SOAP12}Fault"
        self.title = _title(transaction, is_fault=is_fault)
        relates = text(envelope.header(root, "RelatesTo"))
        if exchange.message_id and relates and relates != exchange.message_id:
            at = place(root, "Header/RelatesTo")
            yield finding(
                "SOAP-039", at, "not the MessageID of the request", relates, right=exchange.message_id
            )
        for one in root.iter(_ASSERTION):
            from conformance.rules import assertion

            yield from assertion.assertion(one)
        for part in self._parts[1:]:
            if part.number not in self._referenced:
                yield finding("SOAP-021", f"part {part.number}", "nothing includes it", part.content_id)
        if transaction is None or only is None or is_fault:
            return
        if exchange.request is not None and not transaction.is_request:
            from conformance.transactions import answer_of

            right = answer_of(exchange.request).action
            if transaction.action != right and exchange.request.number != "ITI-44":
                at = place(root, "Header/Action")
                yield finding(
                    "SOAP-044", at, "not the answer of the request", transaction.action, right=right
                )
        if self._status and self._status != 200 and not transaction.is_request:
            yield finding("SOAP-050", "HTTP status", "not 200 for an answer", self._status)
        yield from envelope.body(root, transaction)
        if only.tag == transaction.body:
            yield from self._payload(only, transaction)
        if transaction.is_request:
            exchange.request = transaction
            exchange.message_id = text(envelope.header(root, "MessageID"))

    def _payload(self, element: Element, transaction: Transaction) -> Iterator[Finding]:
        match element.tag:
            case str() as tag if tag == f"{QUERY}AdhocQueryRequest":
                yield from stored_query.request(element, transaction)
            case str() as tag if tag == f"{QUERY}AdhocQueryResponse":
                yield from response.query_answer(element)
                yield from response.response(element, transaction, self._results)
            case str() as tag if tag == f"{RS}RegistryResponse":
                yield from response.response(element, transaction, None)
            case str() as tag if tag == f"{XDS}RetrieveDocumentSetResponse":
                yield from self._retrieved(element, transaction)
            case str() as tag if tag in (
                f"{XDS}RetrieveDocumentSetRequest",
                f"{RMD}RemoveDocumentsRequest",
            ):
                yield from retrieval.document_requests(element, transaction)
                self._remember_documents(element)
            case str() as tag if tag == f"{XDSI}RetrieveImagingDocumentSetRequest":
                yield from retrieval.imaging_request(element, transaction)
                self._remember_documents(element)
            case str() as tag if tag == f"{XDS}ProvideAndRegisterDocumentSetRequest":
                early = ["Document"] if self._documents_came_first else []
                names = [*early, *(local(one) for one in element)]
                yield from retrieval.provided(element, names, self._entry_ids, self._document_ids)
            case str() as tag if tag == f"{LCM}SubmitObjectsRequest":
                if not self._submission or not self._submission.summaries:
                    yield finding("XDS-META-087", place(element), "no object")
            case str() as tag if tag == f"{LCM}RemoveObjectsRequest":
                yield from self._removal(element)
            case str() as tag if tag.startswith(HL7):
                yield from feed_v3.interaction(element)

    def _remember_documents(self, element: Element) -> None:
        uids = (text(one) for one in element.iter(f"{XDS}DocumentUniqueId"))
        self._exchange.documents.update(uid for uid in uids if uid)
        syntaxes = element.iterfind(f"{XDSI}TransferSyntaxUIDList/{XDSI}TransferSyntaxUID")
        self._exchange.syntaxes = frozenset(text(one) for one in syntaxes)

    def _retrieved(self, element: Element, transaction: Transaction) -> Iterator[Finding]:
        status = element.find(f"{RS}RegistryResponse")
        if status is None:
            yield finding("XDS-RET-010", place(element), "no RegistryResponse")
            return
        yield from response.response(status, transaction, self._results)
        if status.get("status") == schemes.SUCCESS and not self._results:
            yield finding("XDS-RET-014", place(element), "Success without a document")
        missing = self._exchange.documents - self._answered
        errors = response.errors_of(status)
        located = {one.get("location") for one in errors}
        contexts = " ".join(one.get("codeContext") or "" for one in errors)
        for uid in sorted(missing):
            if status.get("status") == schemes.SUCCESS or (
                uid not in located and uid not in contexts and transaction.number not in ("RAD-75", "ITI-39")
            ):
                yield finding("XDS-RET-018", place(element), "neither a document nor an error", uid)

    def _removal(self, element: Element) -> Iterator[Finding]:
        if not self._references:
            yield finding("XDS-RM-001", place(element), "no ObjectRef")
        if element.get("deletionScope") is not None or element.find(f"{RIM}AdhocQuery") is not None:
            yield finding("XDS-RM-003", place(element), "a deletionScope or an AdhocQuery")


def _manifest_within(octets: bytes, at: str) -> Iterator[Finding]:
    """A document that is a manifest, by the rules of manifests."""
    if octets[128:132] != b"DICM" or KEY_OBJECT_SELECTION.encode() not in octets[:2048]:
        return
    from conformance.rules import manifest

    for one in manifest.judged(Source.of(octets)).findings:
        yield replace(one, place=f"{at}, document: {one.place}")


def _has_pixels(data_set: object) -> bool:
    return 0x00280010 in data_set  # type: ignore[operator]


_BARE_ANSWER: Final = Transaction("ITI-43", "", "", f"{XDS}RetrieveDocumentSetResponse", True, False, True)


def _bare_transaction(root: Element) -> Transaction:
    """What a body without envelope is likely to be."""
    number = {
        "AdhocQueryRequest": "ITI-18",
        "AdhocQueryResponse": "ITI-18",
        "RetrieveDocumentSetRequest": "ITI-43",
        "RetrieveDocumentSetResponse": "ITI-43",
        "RetrieveImagingDocumentSetRequest": "RAD-69",
        "RemoveObjectsRequest": "ITI-62",
        "RemoveDocumentsRequest": "ITI-86",
    }.get(local(root), "ITI-41")
    return Transaction(number, "", "", str(root.tag), partial=number != "ITI-41")


def _title(transaction: Transaction | None, *, is_fault: bool) -> str:
    if transaction is None:
        return "SOAP fault" if is_fault else "SOAP message"
    direction = "request" if transaction.is_request else "answer"
    return f"{transaction.number} {transaction.name}, {direction}"
