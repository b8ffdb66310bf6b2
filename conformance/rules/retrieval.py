"""Requests and answers that carry documents: ITI-39, 41, 43, 86, RAD-69, 75."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

from conformance.findings import Finding
from conformance.identifiers import MEDIA_TYPE, OID, is_oid_urn
from conformance.readers.xml import Element, local, place, text
from conformance.requirements import finding
from conformance.rules.dicom import UID
from conformance.transactions import XDS, XDSI, Transaction

_REQUEST: Final = ("HomeCommunityId", "RepositoryUniqueId", "DocumentUniqueId")
_ANSWER: Final = (
    "HomeCommunityId", "RepositoryUniqueId", "DocumentUniqueId", "NewRepositoryUniqueId",
    "NewDocumentUniqueId", "mimeType", "Document",
)  # fmt: skip
_WITH_HOME: Final = frozenset({"ITI-39", "RAD-75"})
EXPLICIT_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2.1"


def document_requests(element: Element, transaction: Transaction) -> Iterator[Finding]:
    """A RetrieveDocumentSetRequest or a RemoveDocumentsRequest."""
    requests = [one for one in element if local(one) == "DocumentRequest"]
    if not requests:
        yield finding("XDS-RET-001", place(element), "no DocumentRequest")
    for one in requests:
        yield from document_request(one, transaction)


def document_request(one: Element, transaction: Transaction) -> Iterator[Finding]:
    """One document that is asked for."""
    if not str(one.tag).startswith(XDS):
        yield finding("XDS-RET-003", place(one), "another namespace", str(one.tag))
    names = [local(child) for child in one]
    yield from _order(one, names, _REQUEST, "XDS-RET-002")
    values = {local(child): text(child) for child in one}
    repository, document = values.get("RepositoryUniqueId", ""), values.get("DocumentUniqueId", "")
    if not OID.match(repository):
        yield finding("XDS-RET-004", place(one, "RepositoryUniqueId"), "absent, or no OID", repository)
    if not document:
        yield finding("XDS-RET-005", place(one, "DocumentUniqueId"), "absent")
    yield from _home(one, values, transaction)


def _order(one: Element, names: list[str], order: tuple[str, ...], id: str) -> Iterator[Finding]:
    unknown = [name for name in names if name not in order]
    positions = [order.index(name) for name in names if name in order]
    if unknown or positions != sorted(set(positions)):
        yield finding(
            id, place(one), "other elements, or another order", " ".join(names), right=" ".join(order)
        )


def _home(one: Element, values: dict[str, str], transaction: Transaction) -> Iterator[Finding]:
    home = values.get("HomeCommunityId")
    if home is not None and not is_oid_urn(home):
        yield finding("XDS-RET-006", place(one, "HomeCommunityId"), "no urn:oid:", home)
    if home is None and transaction.number in _WITH_HOME:
        yield finding("XDS-RET-006", place(one, "HomeCommunityId"), f"absent in {transaction.number}")


def document_response(one: Element, transaction: Transaction) -> Iterator[Finding]:
    """One document of an answer."""
    names = [local(child) for child in one]
    yield from _order(one, names, _ANSWER, "XDS-RET-010")
    values = {local(child): text(child) for child in one if local(child) != "Document"}
    for name in ("RepositoryUniqueId", "DocumentUniqueId"):
        if not values.get(name):
            yield finding("XDS-RET-011", place(one, name), "absent")
    media_type = values.get("mimeType", "")
    if not MEDIA_TYPE.match(media_type):
        yield finding("XDS-RET-012", place(one, "mimeType"), "absent, or no media type", media_type)
    if "Document" not in names:
        yield finding("XDS-RET-013", place(one, "Document"), "absent")
    new = values.get("NewDocumentUniqueId")
    if new is not None and new == values.get("DocumentUniqueId"):
        yield finding("XDS-RET-015", place(one, "NewDocumentUniqueId"), "the DocumentUniqueId itself", new)
    if "NewRepositoryUniqueId" in values and new is None:
        yield finding("XDS-RET-015", place(one, "NewDocumentUniqueId"), "absent beside NewRepositoryUniqueId")
    yield from _home(one, values, transaction)
    if transaction.number.startswith("RAD") and media_type != "application/dicom":
        yield finding("XDSI-RET-008", place(one, "mimeType"), "another type", media_type)


def imaging_request(element: Element, transaction: Transaction) -> Iterator[Finding]:
    """A RetrieveImagingDocumentSetRequest (RAD TF-3 4.69.4.1.2)."""
    names = [local(one) for one in element]
    studies = element.findall(f"{XDSI}StudyRequest")
    if not studies:
        yield finding("XDSI-RET-001", place(element), "no StudyRequest")
    if "TransferSyntaxUIDList" in names[:-1]:
        yield finding("XDSI-RET-005", place(element), "another order", " ".join(names))
    for study in studies:
        yield from _uid(study, "studyInstanceUID", "XDSI-RET-001")
        all_series = study.findall(f"{XDSI}SeriesRequest")
        if not all_series:
            yield finding("XDSI-RET-002", place(study), "no SeriesRequest")
        for series in all_series:
            yield from _uid(series, "seriesInstanceUID", "XDSI-RET-002")
            yield from _instances(series, transaction)
    syntaxes = [text(one) for one in element.iterfind(f"{XDSI}TransferSyntaxUIDList/{XDSI}TransferSyntaxUID")]
    at = place(element, "TransferSyntaxUIDList")
    if not syntaxes:
        yield finding("XDSI-RET-004", at, "no TransferSyntaxUID")
    for syntax in syntaxes:
        if not UID.match(syntax):
            yield finding("XDSI-RET-004", at, "no UID", syntax)
    if syntaxes and EXPLICIT_LITTLE_ENDIAN not in syntaxes:
        yield finding("XDSI-RET-007", at, "no Explicit VR Little Endian", " ".join(syntaxes))


def _uid(element: Element, name: str, id: str) -> Iterator[Finding]:
    if not UID.match((element.get(name) or "").strip()):
        yield finding(id, place(element, f"@{name}"), "absent, or no UID", element.get(name) or "")


def _instances(series: Element, transaction: Transaction) -> Iterator[Finding]:
    requests = [one for one in series if local(one) == "DocumentRequest"]
    if not requests:
        yield finding("XDSI-RET-003", place(series), "no DocumentRequest")
    for one in requests:
        yield from document_request(one, transaction)
        uid = next((text(child) for child in one if local(child) == "DocumentUniqueId"), "")
        if uid and not UID.match(uid):
            yield finding("XDSI-RET-006", place(one, "DocumentUniqueId"), "no SOP Instance UID", uid)


def provided(
    element: Element, names: list[str], entries: list[str], documents: list[str]
) -> Iterator[Finding]:
    """A ProvideAndRegisterDocumentSetRequest: its documents and their entries, by id.

    `names` are those of its children in their order, as far as they were not handed out.
    """
    if names.count("SubmitObjectsRequest") != 1:
        yield finding("XDS-PROV-001", place(element), f"{names.count('SubmitObjectsRequest')} of them")
    elif names.index("SubmitObjectsRequest"):
        yield finding("XDS-PROV-001", place(element), "documents before it")
    for id in entries:
        if id not in documents:
            yield finding("XDS-PROV-002", f"ExtrinsicObject[@id={id!r}]", "no Document of its id", id)
    for id, times in Counter(documents).items():
        if id not in entries:
            yield finding("XDS-PROV-003", place(element, f"Document[@id={id!r}]"), "no entry of its id", id)
        if times > 1:
            yield finding("XDS-PROV-004", place(element, f"Document[@id={id!r}]"), f"{times} of one id", id)
