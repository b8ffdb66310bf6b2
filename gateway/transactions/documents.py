"""What ITI-43 and ITI-39 share at a gateway: requests for documents, split and put together."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from gateway.settings import GatewaySettings
from gateway.transactions.references import RequestedDocuments
from gateway.transactions.retrievals import Retrieval
from shared.messages.documents import DocumentRequest
from shared.messages.iti39 import ITI39
from shared.messages.iti43 import ITI43, RetrieveDocumentSetRequest


def named(request: RetrieveDocumentSetRequest) -> Iterator[RequestedDocuments]:
    """The documents of a request."""
    yield RequestedDocuments(request.documents)


def _only(
    request: RetrieveDocumentSetRequest, documents: Collection[DocumentRequest]
) -> RetrieveDocumentSetRequest:
    if len(request.documents) == len(documents):
        return request
    kept = dict.fromkeys(filter(frozenset(documents).__contains__, request.documents))
    return RetrieveDocumentSetRequest(documents=tuple(kept))


DOCUMENTS: Retrieval[RetrieveDocumentSetRequest] = Retrieval(
    inside=ITI43,
    across=ITI39,
    named=named,
    only=_only,
    endpoint=GatewaySettings.repository_endpoint,
)
