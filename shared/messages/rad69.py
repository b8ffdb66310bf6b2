"""Retrieve Imaging Document Set [RAD-69]: message semantics (RAD TF-2 4.69.4).

Tolerated in requests: `DocumentRequest` in the namespace of the radiology schema, as one widely used library
writes it; blank transfer syntax UIDs; an absent or empty study or series UID, so that the answer can be an
orderly error.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice, repeat

from shared.errors import XdsError
from shared.faults import SenderFault
from shared.messages.bounded import TOLD, Bounded, counted
from shared.messages.documents import (
    XDS,
    DocumentRequest,
    RetrieveDocumentSetResponse,
    decode_document_requests,
    decode_retrieve_response,
    encode_document_requests,
    encode_retrieve_response,
    failure,
)
from shared.soap.folding import number_folded
from shared.soap.mtom import Attachments, MtomBody
from shared.soap.transaction import SoapTransaction
from shared.xml import NS, Element, escape, escape_attribute, qname, text

_DOCUMENT_REQUESTS = (qname("xds:DocumentRequest"), qname("xdsi:DocumentRequest"))
_COUNTED = {
    "instances": _DOCUMENT_REQUESTS,
    "series": (qname("xdsi:SeriesRequest"),),
    "studies": (qname("xdsi:StudyRequest"),),
    "transfer syntaxes": (qname("xdsi:TransferSyntaxUID"),),
}
#: Instances that one request may ask for, and everything else in it.
MAX_REFERENCES = 5_000

_TRANSFER_SYNTAXES = f"{qname('xdsi:TransferSyntaxUIDList')}/{qname('xdsi:TransferSyntaxUID')}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesRequest:
    """Instances of one series; `document_unique_id` is a SOP Instance UID, `repository_unique_id` the
    Retrieve Location UID."""

    series_instance_uid: str
    documents: tuple[DocumentRequest, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyRequest:
    """Series of one study."""

    study_instance_uid: str
    series: tuple[SeriesRequest, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrieveImagingDocumentSetRequest(Bounded):
    """Instances, and the transfer syntaxes that the consumer can process; their order means nothing.

    Empty `transfer_syntax_uids` were sent blank or not at all: nothing can be delivered.
    """

    studies: tuple[StudyRequest, ...]
    transfer_syntax_uids: tuple[str, ...]


# --- encoding ----------------------------------------------------------------------------------------


def encode_request(request: RetrieveImagingDocumentSetRequest) -> MtomBody:
    """Encode the request; MTOM without parts, `DocumentRequest` in the namespace of the IHE schema."""
    return MtomBody("".join(_request(request)).encode())


def _request(request: RetrieveImagingDocumentSetRequest) -> Iterator[str]:
    yield f'<xdsi:RetrieveImagingDocumentSetRequest xmlns:xdsi="{NS["xdsi"]}" xmlns:xds="{XDS}">'
    for study in request.studies:
        yield f'<xdsi:StudyRequest studyInstanceUID="{escape_attribute(study.study_instance_uid)}">'
        for series in study.series:
            yield f'<xdsi:SeriesRequest seriesInstanceUID="{escape_attribute(series.series_instance_uid)}">'
            yield encode_document_requests(series.documents)
            yield "</xdsi:SeriesRequest>"
        yield "</xdsi:StudyRequest>"
    yield "<xdsi:TransferSyntaxUIDList>"
    for uid in request.transfer_syntax_uids:
        yield f"<xdsi:TransferSyntaxUID>{escape(uid)}</xdsi:TransferSyntaxUID>"
    yield "</xdsi:TransferSyntaxUIDList></xdsi:RetrieveImagingDocumentSetRequest>"


# --- decoding ----------------------------------------------------------------------------------------


def decode_request(body: Element, _: Attachments) -> RetrieveImagingDocumentSetRequest:
    """Decode the request.

    Raises
    ------
    SenderFault
        No instance is asked for, or an id of a DocumentRequest is absent.
    """
    if refused := _beyond_limits(body):
        return RetrieveImagingDocumentSetRequest(
            studies=tuple(islice(_each(body), TOLD)), transfer_syntax_uids=(), refused=refused
        )
    studies = tuple(_study(study) for study in body.iterfind(qname("xdsi:StudyRequest")))
    if not any(series.documents for study in studies for series in study.series):
        raise SenderFault(
            "the request names no instance; give StudyRequest, SeriesRequest and DocumentRequest"
        )
    listed = (text(uid) for uid in body.iterfind(_TRANSFER_SYNTAXES))
    return RetrieveImagingDocumentSetRequest(
        studies=studies, transfer_syntax_uids=tuple(uid for uid in listed if uid)
    )


def _beyond_limits(body: Element) -> XdsError | None:
    folded = {"instances": number_folded(body)}
    for what, tags in _COUNTED.items():
        everything = chain(body.iter(*tags), repeat(body, folded.get(what, 0)))
        _, refused = counted(everything, most=MAX_REFERENCES, what=what)
        if refused is not None:
            return refused
    return None


def _each(body: Element) -> Iterator[StudyRequest]:
    """The instances that are asked for, each with its series and its study."""
    for document in body.iter(*_DOCUMENT_REQUESTS):
        series = document.getparent()
        study = None if series is None else series.getparent()
        if series is not None and study is not None:
            for one in decode_document_requests(document):
                of_series = SeriesRequest(
                    series_instance_uid=series.get("seriesInstanceUID", "").strip(), documents=(one,)
                )
                yield StudyRequest(
                    study_instance_uid=study.get("studyInstanceUID", "").strip(), series=(of_series,)
                )


def _study(study: Element) -> StudyRequest:
    return StudyRequest(
        study_instance_uid=study.get("studyInstanceUID", "").strip(),
        series=tuple(_series(series) for series in study.iterfind(qname("xdsi:SeriesRequest"))),
    )


def _series(series: Element) -> SeriesRequest:
    return SeriesRequest(
        series_instance_uid=series.get("seriesInstanceUID", "").strip(),
        documents=tuple(
            chain.from_iterable(
                decode_document_requests(node) for node in series if node.tag in _DOCUMENT_REQUESTS
            )
        ),
    )


RAD69: SoapTransaction[RetrieveImagingDocumentSetRequest, RetrieveDocumentSetResponse] = SoapTransaction(
    number="RAD-69",
    name="Retrieve Imaging Document Set",
    action="urn:ihe:rad:2009:RetrieveImagingDocumentSet",
    response_action="urn:ihe:iti:2007:RetrieveDocumentSetResponse",
    body_root=qname("xdsi:RetrieveImagingDocumentSetRequest"),
    encode_request=encode_request,
    decode_request=decode_request,
    encode_response=encode_retrieve_response,
    decode_response=decode_retrieve_response,
    failure=failure,
    mtom=True,
)
