"""Retrieve Imaging Document Set [RAD-69], initiating side (RAD TF-3 4.69): instances streamed to files."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from itertools import groupby
from pathlib import Path

from consumer.domain.study import Delivery, RequestedInstance
from consumer.store import files
from consumer.transactions.access import accessed
from consumer.unit import Unit
from shared.dicom.uids import TRANSFER_SYNTAXES
from shared.errors import Actor, XdsError
from shared.messages.documents import DocumentRequest, PartReference
from shared.messages.rad69 import (
    RAD69,
    RetrieveImagingDocumentSetRequest,
    SeriesRequest,
    StudyRequest,
)

# Everything that is known: what is stored comes as it is stored, byte for byte.
_SYNTAXES = tuple(sorted(TRANSFER_SYNTAXES))


async def retrieve(
    unit: Unit, instances: Sequence[RequestedInstance], folder: Path
) -> AsyncIterator[Delivery]:
    """Ask for `instances`, all of one place, and yield each instance when its file in `folder` is whole.

    What is not delivered is yielded too, at the end, with the source's reason.

    Raises
    ------
    SoapFault, PeerError
        The source answered with a fault, or its answer broke off; what came before is kept.
    """
    first = instances[0]
    url = unit.settings.across(first.home_community_id) or unit.settings.imaging_source_endpoint(
        first.retrieve_location_uid
    )
    limits = files.InstanceLimits.of(unit.settings)
    by_uid = {one.sop_instance_uid: one for one in instances}
    delivered: set[str] = set()
    wrong: dict[str, files.WrongInstance] = {}
    try:
        async with unit.soap.stream(RAD69, url, _request(instances)) as answer:
            expected = {
                document.content.content_id: by_uid[document.document_unique_id]
                for document in answer.head.documents
                if isinstance(document.content, PartReference) and document.document_unique_id in by_uid
            }
            async for part in answer.parts:
                if (one := expected.get(part.content_id)) is None:
                    continue
                try:
                    size = await files.receive_instance(part.chunks, one, folder, limits)
                except files.Endless:
                    raise
                except files.WrongInstance as error:
                    # The others are good.
                    wrong[one.sop_instance_uid] = error
                    continue
                delivered.add(one.sop_instance_uid)
                yield Delivery(one, size)
        errors = {error.location: error for error in answer.head.errors}
        for one in instances:
            if one.sop_instance_uid not in delivered:
                yield _missing(one, errors.get(one.sop_instance_uid), wrong.get(one.sop_instance_uid))
    finally:
        await unit.record(
            *accessed(unit.caller(url), RAD69.event_type, instances, delivered),
        )


def _missing(one: RequestedInstance, error: XdsError | None, wrong: files.WrongInstance | None) -> Delivery:
    if wrong is not None:
        return Delivery(one, 0, str(wrong), failure=wrong)
    if error is None:
        return Delivery(one, 0, "not in the answer")
    return Delivery(one, 0, error.context, error.code_for(Actor.REPOSITORY))


def _request(instances: Sequence[RequestedInstance]) -> RetrieveImagingDocumentSetRequest:
    ordered = sorted(instances, key=lambda one: (one.study_instance_uid, one.series_instance_uid))
    return RetrieveImagingDocumentSetRequest(
        studies=tuple(
            StudyRequest(study_instance_uid=study, series=tuple(_series(list(of_study))))
            for study, of_study in groupby(ordered, key=lambda one: one.study_instance_uid)
        ),
        transfer_syntax_uids=_SYNTAXES,
    )


def _series(of_study: Sequence[RequestedInstance]) -> list[SeriesRequest]:
    return [
        SeriesRequest(
            series_instance_uid=series,
            documents=tuple(
                DocumentRequest(
                    home_community_id=one.home_community_id,
                    repository_unique_id=one.retrieve_location_uid,
                    document_unique_id=one.sop_instance_uid,
                )
                for one in of_series
            ),
        )
        for series, of_series in groupby(of_study, key=lambda one: one.series_instance_uid)
    ]
