"""Provide and Register Document Set-b [ITI-41]: message semantics (ITI TF-2 3.41.4).

RAD-68 is this transaction on the wire (RAD TF-3 4.68).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Self

from shared.ebrim.codec import DecodedSubmission, decode_submission
from shared.ebrim.model import Submission
from shared.errors import Actor, MetadataError, XdsError
from shared.messages.documents import XDS, PartReference, document_content
from shared.messages.iti42 import encode_submit_objects
from shared.messages.registry import (
    RegistryResponse,
    decode_response,
    failure,
    response_encoder,
)
from shared.soap.mtom import Attachment, Attachments, Content, MtomBody, include
from shared.soap.transaction import SoapTransaction
from shared.xml import NS, Element, child, escape_attribute, qname

# Of an id that is quoted in an error.
MAX_ID = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvidedDocument:
    """The bytes of one document; `id` is that of its DocumentEntry in the submission, empty when none was
    given.

    `content` is None when the message lacks the part that was referred to.
    """

    id: str
    content: Content | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvideAndRegisterRequest:
    """A submission, or what is wrong with it, and the documents, which may be none."""

    decoded: DecodedSubmission
    documents: tuple[ProvidedDocument, ...] = ()

    @classmethod
    def of(cls, submission: Submission, documents: Iterable[ProvidedDocument]) -> Self:
        """The request that provides `documents` and registers `submission`."""
        return cls(decoded=DecodedSubmission(submission=submission), documents=tuple(documents))


# --- request -----------------------------------------------------------------------------------------


def encode_request(request: ProvideAndRegisterRequest) -> MtomBody:
    """Encode the request with one part for each document.

    Raises
    ------
    ValueError
        The submission or the content of a document is absent.
    """
    parts = [(f"document{number}@xdsi", document) for number, document in enumerate(request.documents, 1)]
    return MtomBody(
        b"".join(
            (
                f'<xds:ProvideAndRegisterDocumentSetRequest xmlns:xds="{XDS}"'
                f' xmlns:lcm="{NS["lcm"]}" xmlns:rim="{NS["rim"]}">'.encode(),
                encode_submit_objects(request.decoded),
                "".join(_document(part, document) for part, document in parts).encode(),
                b"</xds:ProvideAndRegisterDocumentSetRequest>",
            )
        ),
        tuple(_attachments(request, parts)),
    )


def _document(part: str, document: ProvidedDocument) -> str:
    return f'<xds:Document id="{escape_attribute(document.id)}">{include(part)}</xds:Document>'


def _attachments(
    request: ProvideAndRegisterRequest, parts: Iterable[tuple[str, ProvidedDocument]]
) -> Iterator[Attachment]:
    submission = request.decoded.submission
    entries = submission.document_entries if submission is not None else ()
    types = {entry.entry_uuid: entry.mime_type for entry in entries}
    for part, document in parts:
        if document.content is None:
            raise ValueError(f"document {document.id} has no content to send")
        yield Attachment(part, document.content, types.get(document.id, "application/octet-stream"))


def decode_request(body: Element, attachments: Attachments) -> ProvideAndRegisterRequest:
    """Decode the request; errors of the metadata stand in the value.

    Whether documents and entries fit together is the repository's to check: `XDSMissingDocument` and
    `XDSMissingDocumentMetadata` are its errors.

    Raises
    ------
    SenderFault
        There is no SubmitObjectsRequest with a RegistryObjectList, or a Document that is neither empty nor
        exactly one `xop:Include`.
    """
    submitted = child(child(body, "lcm:SubmitObjectsRequest"), "rim:RegistryObjectList")
    elements = body.iterfind(qname("xds:Document"))
    documents = tuple(_provided(document, attachments) for document in elements)
    decoded = decode_submission(submitted)
    repeated = tuple(_repeated(documents))
    return ProvideAndRegisterRequest(
        decoded=replace(decoded, errors=decoded.errors + repeated) if repeated else decoded,
        documents=documents,
    )


def _provided(document: Element, attachments: Attachments) -> ProvidedDocument:
    content = document_content(document, attachments)
    return ProvidedDocument(
        id=document.get("id", ""), content=None if isinstance(content, PartReference) else content
    )


def _repeated(documents: Iterable[ProvidedDocument]) -> Iterator[XdsError]:
    for document_id, times in Counter(document.id for document in documents).items():
        if document_id and times > 1:
            yield MetadataError(
                f"{times} Document elements have the id {document_id[:MAX_ID]}; give each DocumentEntry one",
                location=f"{document_id[:MAX_ID]}/Document",
            )


ITI41: SoapTransaction[ProvideAndRegisterRequest, RegistryResponse] = SoapTransaction(
    number="ITI-41",
    name="Provide and Register Document Set-b",
    action="urn:ihe:iti:2007:ProvideAndRegisterDocumentSet-b",
    response_action="urn:ihe:iti:2007:ProvideAndRegisterDocumentSet-bResponse",
    body_root=qname("xds:ProvideAndRegisterDocumentSetRequest"),
    encode_request=encode_request,
    decode_request=decode_request,
    encode_response=response_encoder(Actor.REPOSITORY),
    decode_response=decode_response,
    failure=failure,
    mtom=True,
)

#: The same on the wire; the trail tells it beside ITI-41 where a manifest is published.
RAD68 = replace(ITI41, number="RAD-68", name="Provide and Register Imaging Document Set - MTOM/XOP")
