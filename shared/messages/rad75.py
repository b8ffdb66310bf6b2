"""Cross Gateway Retrieve Imaging Document Set [RAD-75]: message semantics (RAD TF-3 4.75.4); RAD-69 with
actions of its own."""

from __future__ import annotations

from dataclasses import replace

from shared.messages.documents import RetrieveDocumentSetResponse
from shared.messages.rad69 import RAD69, RetrieveImagingDocumentSetRequest
from shared.soap.transaction import SoapTransaction

RAD75: SoapTransaction[RetrieveImagingDocumentSetRequest, RetrieveDocumentSetResponse] = replace(
    RAD69,
    number="RAD-75",
    name="Cross Gateway Retrieve Imaging Document Set",
    action="urn:ihe:rad:2011:CrossGatewayRetrieveImagingDocumentSet",
    response_action="urn:ihe:rad:2011:CrossGatewayRetrieveImagingDocumentSetResponse",
)
