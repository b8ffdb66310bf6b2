"""The SOAP transactions that are judged: actions, bodies, encoding."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

XDS: Final = "{urn:ihe:iti:xds-b:2007}"
XDSI: Final = "{urn:ihe:rad:xdsi-b:2009}"
RS: Final = "{urn:oasis:names:tc:ebxml-regrep:xsd:rs:3.0}"
LCM: Final = "{urn:oasis:names:tc:ebxml-regrep:xsd:lcm:3.0}"
QUERY: Final = "{urn:oasis:names:tc:ebxml-regrep:xsd:query:3.0}"
RMD: Final = "{urn:ihe:iti:rmd:2017}"
HL7: Final = "{urn:hl7-org:v3}"

_RESPONSE: Final = f"{RS}RegistryResponse"
_RETRIEVED: Final = f"{XDS}RetrieveDocumentSetResponse"


@dataclass(frozen=True, slots=True)
class Transaction:
    """One direction of a transaction: the request, or its answer."""

    number: str
    name: str
    action: str
    body: str
    mtom: bool = False
    is_request: bool = True
    #: Whether an answer may be a partial success.
    partial: bool = False


def _both(
    number: str,
    name: str,
    action: str,
    body: str,
    answer: str = _RESPONSE,
    *,
    answer_action: str = "",
    mtom: bool = False,
    partial: bool = False,
) -> Iterator[Transaction]:
    yield Transaction(number, name, action, body, mtom)
    yield Transaction(number, name, answer_action or f"{action}Response", answer, mtom, False, partial)


_ITI: Final = "urn:ihe:iti:20"
_SUBMIT: Final = f"{LCM}SubmitObjectsRequest"
_IMAGES: Final = f"{XDSI}RetrieveImagingDocumentSetRequest"

TRANSACTIONS: Final[tuple[Transaction, ...]] = (
    *_both(
        "ITI-18",
        "Registry Stored Query",
        f"{_ITI}07:RegistryStoredQuery",
        f"{QUERY}AdhocQueryRequest",
        f"{QUERY}AdhocQueryResponse",
        partial=True,
    ),
    *_both(
        "ITI-38",
        "Cross Gateway Query",
        f"{_ITI}07:CrossGatewayQuery",
        f"{QUERY}AdhocQueryRequest",
        f"{QUERY}AdhocQueryResponse",
        partial=True,
    ),
    *_both(
        "ITI-39",
        "Cross Gateway Retrieve",
        f"{_ITI}07:CrossGatewayRetrieve",
        f"{XDS}RetrieveDocumentSetRequest",
        _RETRIEVED,
        mtom=True,
        partial=True,
    ),
    *_both(
        "ITI-41",
        "Provide and Register Document Set-b",
        f"{_ITI}07:ProvideAndRegisterDocumentSet-b",
        f"{XDS}ProvideAndRegisterDocumentSetRequest",
        mtom=True,
    ),
    *_both("ITI-42", "Register Document Set-b", f"{_ITI}07:RegisterDocumentSet-b", _SUBMIT),
    *_both(
        "ITI-43",
        "Retrieve Document Set",
        f"{_ITI}07:RetrieveDocumentSet",
        f"{XDS}RetrieveDocumentSetRequest",
        _RETRIEVED,
        mtom=True,
        partial=True,
    ),
    *_both(
        "ITI-51",
        "Multi-Patient Stored Query",
        f"{_ITI}09:MultiPatientStoredQuery",
        f"{QUERY}AdhocQueryRequest",
        f"{QUERY}AdhocQueryResponse",
        partial=True,
    ),
    *_both("ITI-57", "Update Document Set", f"{_ITI}10:UpdateDocumentSet", _SUBMIT),
    *_both(
        "ITI-61",
        "Register On-Demand Document Entry",
        f"{_ITI}10:RegisterOnDemandDocumentEntry",
        _SUBMIT,
        answer_action=f"{_ITI}10:RegisterOnDemandDocumentResponse",
    ),
    *_both("ITI-62", "Remove Metadata", f"{_ITI}10:DeleteDocumentSet", f"{LCM}RemoveObjectsRequest"),
    *_both(
        "ITI-86",
        "Remove Documents",
        f"{_ITI}17:RemoveDocuments",
        f"{RMD}RemoveDocumentsRequest",
        partial=True,
    ),
    *_both("ITI-92", "Restricted Update Document Set", f"{_ITI}18:RestrictedUpdateDocumentSet", _SUBMIT),
    *_both(
        "RAD-69",
        "Retrieve Imaging Document Set",
        "urn:ihe:rad:2009:RetrieveImagingDocumentSet",
        _IMAGES,
        _RETRIEVED,
        answer_action=f"{_ITI}07:RetrieveDocumentSetResponse",
        mtom=True,
        partial=True,
    ),
    *_both(
        "RAD-75",
        "Cross Gateway Retrieve Imaging Document Set",
        "urn:ihe:rad:2011:CrossGatewayRetrieveImagingDocumentSet",
        _IMAGES,
        _RETRIEVED,
        mtom=True,
        partial=True,
    ),
    *(
        Transaction("ITI-44", "Patient Identity Feed HL7 V3", f"urn:hl7-org:v3:{id}", f"{HL7}{id}")
        for id in ("PRPA_IN201301UV02", "PRPA_IN201302UV02", "PRPA_IN201304UV02")
    ),
    Transaction(
        "ITI-44",
        "Patient Identity Feed HL7 V3",
        "urn:hl7-org:v3:MCCI_IN000002UV01",
        f"{HL7}MCCI_IN000002UV01",
        is_request=False,
    ),
)

#: By their actions; the answer of RAD-69 has that of ITI-43, and is known as such by its request alone.
BY_ACTION: Final = {one.action: one for one in reversed(TRANSACTIONS)}


def answer_of(request: Transaction) -> Transaction:
    """The answer that is due to a request."""
    return next(one for one in TRANSACTIONS if one.number == request.number and not one.is_request)
