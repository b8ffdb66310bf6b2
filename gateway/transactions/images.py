"""What RAD-69 and RAD-75 share at a gateway: requests for instances, split and put together with studies,
series and transfer syntaxes as they came (RAD TF-3 4.75.4.1.3)."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from gateway.settings import GatewaySettings
from gateway.transactions.references import RequestedDocuments
from gateway.transactions.retrievals import Retrieval
from shared.messages.documents import DocumentRequest
from shared.messages.rad69 import RAD69, RetrieveImagingDocumentSetRequest, SeriesRequest, StudyRequest
from shared.messages.rad75 import RAD75


def named(request: RetrieveImagingDocumentSetRequest) -> Iterator[RequestedDocuments]:
    """The instances of a request, series by series."""
    return (
        RequestedDocuments(series.documents, study.study_instance_uid, series.series_instance_uid)
        for study in request.studies
        for series in study.series
    )


def _only(
    request: RetrieveImagingDocumentSetRequest, documents: Collection[DocumentRequest]
) -> RetrieveImagingDocumentSetRequest:
    numbers = [[len(series.documents) for series in study.series] for study in request.studies]
    if all(of_study and all(of_study) for of_study in numbers) and sum(map(sum, numbers)) == len(documents):
        return request
    studies = (_study(study, frozenset(documents)) for study in request.studies)
    return RetrieveImagingDocumentSetRequest(
        studies=tuple(study for study in studies if study.series),
        transfer_syntax_uids=request.transfer_syntax_uids,
    )


def _study(study: StudyRequest, documents: Collection[DocumentRequest]) -> StudyRequest:
    series = (_series(one, documents) for one in study.series)
    return StudyRequest(
        study_instance_uid=study.study_instance_uid, series=tuple(one for one in series if one.documents)
    )


def _series(series: SeriesRequest, documents: Collection[DocumentRequest]) -> SeriesRequest:
    kept = dict.fromkeys(filter(documents.__contains__, series.documents))
    return SeriesRequest(series_instance_uid=series.series_instance_uid, documents=tuple(kept))


IMAGES: Retrieval[RetrieveImagingDocumentSetRequest] = Retrieval(
    inside=RAD69,
    across=RAD75,
    named=named,
    only=_only,
    endpoint=GatewaySettings.imaging_source_endpoint,
)
