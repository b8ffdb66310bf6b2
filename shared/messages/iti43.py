"""Retrieve Document Set [ITI-43]: message semantics (ITI TF-2 3.43.4)."""

from __future__ import annotations

from dataclasses import dataclass

from shared.messages.bounded import Bounded
from shared.messages.documents import (
    XDS,
    DocumentRequest,
    RetrieveDocumentSetResponse,
    decode_retrieve_response,
    document_requests,
    encode_document_requests,
    encode_retrieve_response,
    failure,
)
from shared.soap.mtom import Attachments, MtomBody
from shared.soap.transaction import SoapTransaction
from shared.xml import Element, qname


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrieveDocumentSetRequest(Bounded):
    """The documents that are asked for, one or more, of one repository or several."""

    documents: tuple[DocumentRequest, ...]


def encode_request(request: RetrieveDocumentSetRequest) -> MtomBody:
    """Encode the request; MTOM without parts."""
    listed = encode_document_requests(request.documents)
    head = f'<xds:RetrieveDocumentSetRequest xmlns:xds="{XDS}">'
    return MtomBody(f"{head}{listed}</xds:RetrieveDocumentSetRequest>".encode())


def decode_request(body: Element, _: Attachments) -> RetrieveDocumentSetRequest:
    """Decode the request.

    Raises
    ------
    SenderFault
        No document is asked for, or an id is absent.
    """
    documents, refused = document_requests(body)
    return RetrieveDocumentSetRequest(documents=documents, refused=refused)


ITI43: SoapTransaction[RetrieveDocumentSetRequest, RetrieveDocumentSetResponse] = SoapTransaction(
    number="ITI-43",
    name="Retrieve Document Set",
    action="urn:ihe:iti:2007:RetrieveDocumentSet",
    response_action="urn:ihe:iti:2007:RetrieveDocumentSetResponse",
    body_root=qname("xds:RetrieveDocumentSetRequest"),
    encode_request=encode_request,
    decode_request=decode_request,
    encode_response=encode_retrieve_response,
    decode_response=decode_retrieve_response,
    failure=failure,
    mtom=True,
)
