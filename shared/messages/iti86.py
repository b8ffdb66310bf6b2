"""Remove Documents [ITI-86]: message semantics (supplement Remove Metadata and Documents, 3.86.4)."""

from __future__ import annotations

from dataclasses import dataclass

from shared.errors import Actor
from shared.messages.bounded import Bounded
from shared.messages.documents import XDS, DocumentRequest, document_requests, encode_document_requests
from shared.messages.registry import RegistryResponse, decode_response, failure, response_encoder
from shared.soap.mtom import Attachments, MtomBody
from shared.soap.transaction import SoapTransaction
from shared.xml import NS, Element, qname


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveDocumentsRequest(Bounded):
    """The documents that are to be removed, one or more."""

    documents: tuple[DocumentRequest, ...]


def encode_request(request: RemoveDocumentsRequest) -> MtomBody:
    """Encode `rmd:RemoveDocumentsRequest`, with its namespaces."""
    listed = encode_document_requests(request.documents)
    head = f'<rmd:RemoveDocumentsRequest xmlns:rmd="{NS["rmd"]}" xmlns:xds="{XDS}">'
    return MtomBody(f"{head}{listed}</rmd:RemoveDocumentsRequest>".encode())


def decode_request(body: Element, _: Attachments) -> RemoveDocumentsRequest:
    """Decode the request.

    Raises
    ------
    SenderFault
        No document is named, or an id is absent.
    """
    documents, refused = document_requests(body)
    return RemoveDocumentsRequest(documents=documents, refused=refused)


ITI86: SoapTransaction[RemoveDocumentsRequest, RegistryResponse] = SoapTransaction(
    number="ITI-86",
    name="Remove Documents",
    action="urn:ihe:iti:2017:RemoveDocuments",
    response_action="urn:ihe:iti:2017:RemoveDocumentsResponse",
    body_root=qname("rmd:RemoveDocumentsRequest"),
    encode_request=encode_request,
    decode_request=decode_request,
    encode_response=response_encoder(Actor.REPOSITORY),
    decode_response=decode_response,
    failure=failure,
)
