"""Cross Gateway Retrieve [ITI-39]: message semantics (ITI TF-2 3.39.4); ITI-43 with actions of its own."""

from __future__ import annotations

from dataclasses import replace

from shared.messages.documents import RetrieveDocumentSetResponse
from shared.messages.iti43 import ITI43, RetrieveDocumentSetRequest
from shared.soap.transaction import SoapTransaction

ITI39: SoapTransaction[RetrieveDocumentSetRequest, RetrieveDocumentSetResponse] = replace(
    ITI43,
    number="ITI-39",
    name="Cross Gateway Retrieve",
    action="urn:ihe:iti:2007:CrossGatewayRetrieve",
    response_action="urn:ihe:iti:2007:CrossGatewayRetrieveResponse",
)
