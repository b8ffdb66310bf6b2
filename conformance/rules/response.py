"""Answers of ebRS: status, errors, and what goes along with them (ITI TF-3 4.2.4)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from conformance import schemes
from conformance.findings import Finding
from conformance.readers.xml import Element, local, place, text
from conformance.requirements import finding
from conformance.transactions import RS, Transaction

_STATUSES: Final = (schemes.SUCCESS, schemes.FAILURE, schemes.PARTIAL_SUCCESS)

_P: Final = frozenset({"ITI-41"})
_R: Final = frozenset({"ITI-42", "ITI-57", "ITI-61", "ITI-92"})
_SQ: Final = frozenset({"ITI-18", "ITI-38", "ITI-51"})
_RS: Final = frozenset({"ITI-43", "ITI-39", "RAD-69", "RAD-75"})
_ANY: Final = _P | _R | _SQ | _RS | {"ITI-62", "ITI-86"}
_GATEWAYS: Final = _SQ | _RS | _R | {"ITI-86"}

#: Codes of the tables, and the transactions in which each is defined (ITI TF-3 table 4.2.4.1-2).
CODES: Final[dict[str, frozenset[str]]] = {
    "DocumentQueued": _P,
    "InvalidDocumentContent": _P,
    "LocalPolicyRestrictionError": _ANY,
    "PartialAppendContentNotProcessed": _P,
    "PartialFolderContentNotProcessed": _P,
    "PartialRelationshipContentNotProcessed": _P,
    "PartialReplaceContentNotProcessed": _P,
    "PartialTransformNotProcessed": _P,
    "PartialTransformReplaceNotProcessed": _P,
    "ReferencesExistException": frozenset({"ITI-62"}),
    "UnavailableRecipient": _P,
    "UnknownRecipient": _P,
    "UnmodifiableMetadataError": frozenset({"ITI-92", "ITI-57"}),
    "UnresolvedReferenceException": _P | _R | {"ITI-62"},
    "XDSDocumentUniqueIdError": _RS | {"ITI-86"},
    "XDSDuplicateUniqueIdInRegistry": _P | _R,
    "XDSExtraMetadataNotSaved": _P | _R,
    "XDSInvalidRequestException": frozenset({"ITI-92", "ITI-57"}),
    "XDSMetadataAnnotationError": frozenset({"ITI-92", "ITI-57"}),
    "XDSMetadataIdentifierError": frozenset({"ITI-92", "ITI-57"}),
    "XDSMetadataUpdateError": frozenset({"ITI-57", "ITI-92"}),
    "XDSMetadataUpdateOperationError": frozenset({"ITI-57", "ITI-92"}),
    "XDSMetadataVersionError": frozenset({"ITI-57", "ITI-92"}),
    "XDSMissingDocument": _P,
    "XDSMissingDocumentMetadata": _P,
    "XDSMissingHomeCommunityId": _GATEWAYS,
    "XDSNonIdenticalHash": _P | _R,
    "XDSNonIdenticalSize": _P | _R,
    "XDSObjectTypeError": frozenset({"ITI-92", "ITI-57"}),
    "XDSPatientIDReconciliationError": frozenset({"ITI-57", "ITI-92"}),
    "XDSPatientIdDoesNotMatch": _P | _R,
    "XDSRegistryBusy": _ANY,
    "XDSRegistryDeprecatedDocumentError": _P | _R,
    "XDSRegistryDuplicateUniqueIdInMessage": _P | _R,
    "XDSRegistryError": _ANY,
    "XDSRegistryMetadataError": _P | _R | {"ITI-62"},
    "XDSRegistryNotAvailable": _P,
    "XDSRegistryOutOfResources": _ANY,
    "XDSRemoveDocumentsError": frozenset({"ITI-86"}),
    "XDSReplaceFailed": frozenset(),
    "XDSRepositoryBusy": _P | _RS | {"ITI-86"},
    "XDSRepositoryDuplicateUniqueIdInMessage": _P,
    "XDSRepositoryError": _P | _RS | {"ITI-86"},
    "XDSRepositoryMetadataError": _P,
    "XDSRepositoryOutOfResources": _P | _RS | {"ITI-86"},
    "XDSResultNotSinglePatient": _SQ | _RS,
    "XDSStoredQueryMissingParam": _SQ,
    "XDSStoredQueryParamNumber": _SQ,
    "XDSTooManyResults": _SQ,
    "XDSUnavailableCommunity": _GATEWAYS,
    "XDSUnknownCommunity": _GATEWAYS,
    "XDSUnknownPatientId": _P | _R | _SQ,
    "XDSUnknownRepositoryId": _RS | {"ITI-86"},
    "XDSUnknownStoredQuery": _SQ,
    "XDSUnreferencedObjectException": frozenset({"ITI-62"}),
}

_BY_HOME: Final = frozenset({"ITI-39", "RAD-75", "ITI-38"})
_BY_DOCUMENT: Final = frozenset({"ITI-43", "RAD-69", "ITI-86"})


def errors_of(response: Element) -> list[Element]:
    """Every RegistryError of an answer."""
    return list(response.iterfind(f"{RS}RegistryErrorList/{RS}RegistryError"))


def response(element: Element, transaction: Transaction, results: int | None) -> Iterator[Finding]:
    """An element with status and errors; `results` counts what goes along, None where nothing can."""
    status = element.get("status") or ""
    yield from _status(element, transaction, status)
    listed = element.find(f"{RS}RegistryErrorList")
    errors = errors_of(element)
    if listed is not None and not errors:
        yield finding("XDS-RESP-003", place(listed), "an empty list of errors")
    for error in errors:
        yield from _error(error, transaction)
    severe = [error for error in errors if error.get("severity") != schemes.WARNING]
    if status == schemes.SUCCESS and severe:
        value = severe[0].get("errorCode") or ""
        yield finding("XDS-RESP-007", place(severe[0]), "an error beside Success", value)
    if status == schemes.FAILURE and not severe:
        yield finding("XDS-RESP-008", place(element), "Failure without an error")
    if listed is not None and (highest := listed.get("highestSeverity")):
        right = schemes.ERROR if severe else schemes.WARNING
        if highest != right:
            at = place(listed, "@highestSeverity")
            yield finding("XDS-RESP-011", at, "not the worst severity", highest, right=right)
    if status == schemes.PARTIAL_SUCCESS and (not severe or results == 0):
        lacking = "errors" if not severe else "results"
        yield finding("XDS-RESP-013", place(element), f"a partial success without {lacking}")
    if status == schemes.FAILURE and results:
        yield finding("XDS-RESP-016", place(element), f"Failure with {results} results")


def _status(element: Element, transaction: Transaction, status: str) -> Iterator[Finding]:
    at = place(element, "@status")
    if status not in _STATUSES:
        right = schemes.PARTIAL_SUCCESS if status.endswith("PartialSuccess") else ""
        yield finding("XDS-RESP-001", at, "absent, or none of the three", status, right=right)
    elif status == schemes.PARTIAL_SUCCESS and not transaction.partial:
        yield finding("XDS-RESP-002", at, f"a partial success of {transaction.number}", status)


def _error(error: Element, transaction: Transaction) -> Iterator[Finding]:
    code = error.get("errorCode") or ""
    if not code:
        yield finding("XDS-RESP-004", place(error, "@errorCode"), "absent")
    elif code not in CODES:
        yield finding("XDS-RESP-009", place(error, "@errorCode"), "in no table", code)
    elif transaction.number not in CODES[code]:
        wrong = f"not defined for {transaction.number}"
        yield finding("XDS-RESP-014", place(error, "@errorCode"), wrong, code)
    if not error.get("codeContext"):
        yield finding("XDS-RESP-005", place(error, "@codeContext"), "absent")
    if error.get("severity") not in (schemes.ERROR, schemes.WARNING):
        yield finding("XDS-RESP-006", place(error, "@severity"), "another value", error.get("severity") or "")
    if text(error) or len(error):
        yield finding("XDS-RESP-010", place(error), "content within the error", text(error))
    yield from _location(error, transaction)


def _location(error: Element, transaction: Transaction) -> Iterator[Finding]:
    location = error.get("location") or ""
    if transaction.number in _BY_DOCUMENT and not location:
        yield finding("XDS-RESP-012", place(error, "@location"), "absent; the DocumentUniqueId is due")
    if transaction.number in _BY_HOME and not location.startswith("urn:oid:"):
        yield finding("XDS-RESP-012", place(error, "@location"), "no homeCommunityId", location)


def query_answer(element: Element) -> Iterator[Finding]:
    """The frame of an AdhocQueryResponse."""
    names = [local(child) for child in element]
    if "RegistryObjectList" not in names:
        yield finding("XDS-RESP-015", place(element), "no RegistryObjectList")
    order = ["ResponseSlotList", "RegistryErrorList", "RegistryObjectList"]
    positions = [order.index(name) for name in names if name in order]
    if positions != sorted(positions):
        yield finding("XDS-RESP-017", place(element), "another order", " ".join(names))
