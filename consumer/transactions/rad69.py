"""Retrieve Imaging Document Set [RAD-69], initiating side (RAD TF-3 4.69): instances streamed to files."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from itertools import groupby
from pathlib import Path

from consumer.domain.study import Delivery, RequestedInstance
from consumer.store import files
from consumer.store.landing import landed
from consumer.transactions.access import accessed
from consumer.unit import Unit
from shared.dicom.uids import TRANSFER_SYNTAXES
from shared.errors import Actor, XdsError
from shared.http.incoming import SourceBroken
from shared.http.multipart import Headers, content_id_of
from shared.messages.documents import DocumentRequest, PartReference, RetrieveDocumentSetResponse
from shared.messages.rad69 import (
    RAD69,
    RetrieveImagingDocumentSetRequest,
    SeriesRequest,
    StudyRequest,
)
from shared.soap.client import PeerUnclear, StreamedAnswer

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
            async with aclosing(_received(answer, expected, folder, limits, url)) as received:
                async for one, outcome in received:
                    if isinstance(outcome, files.WrongInstance):
                        # The others are good.
                        wrong[one.sop_instance_uid] = outcome
                        continue
                    delivered.add(one.sop_instance_uid)
                    yield Delivery(one, outcome)
        errors = {error.location: error for error in answer.head.errors}
        for one in instances:
            if one.sop_instance_uid not in delivered:
                yield _missing(one, errors.get(one.sop_instance_uid), wrong.get(one.sop_instance_uid))
    finally:
        await unit.record(
            *accessed(unit.caller(url), RAD69.event_type, instances, delivered),
        )


async def _received(
    answer: StreamedAnswer[RetrieveDocumentSetResponse],
    expected: Mapping[str, RequestedInstance],
    folder: Path,
    limits: files.InstanceLimits,
    url: str,
) -> AsyncGenerator[tuple[RequestedInstance, int | files.WrongInstance]]:
    """What comes of those `expected` by Content-ID: the size of what is kept, or what is wrong with it."""
    if answer.rest is None or not answer.rest.body.plain:
        async for part in answer.parts:
            if (one := expected.get(part.content_id)) is not None:
                try:
                    yield one, await files.receive_instance(part.chunks, one, folder, limits)
                except files.Endless:
                    raise
                except files.WrongInstance as error:
                    yield one, error
        return

    def keep(headers: Headers, path: Path, size: int) -> tuple[RequestedInstance, int | files.WrongInstance]:
        one = expected[content_id_of(headers)]
        try:
            files.keep_instance(path, one, folder)
        except files.WrongInstance as error:
            return one, error
        return one, size

    def is_expected(headers: Headers) -> bool:
        return content_id_of(headers) in expected

    landing = landed(answer.rest, folder, limits, is_wanted=is_expected, keep=keep)
    try:
        async with aclosing(landing):
            async for pair in landing:
                yield pair
    except SourceBroken as error:
        raise PeerUnclear(url, f"the answer broke off: {error}") from error


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
