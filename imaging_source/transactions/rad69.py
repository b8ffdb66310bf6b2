"""Retrieve Imaging Document Set [RAD-69]: expected actions (RAD TF-2 4.69.4.1.3)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import Final, NamedTuple, Self

from imaging_source.archives.archives import Comparison
from imaging_source.unit import Unit
from shared.audit.events import REFUSED_BY_CONSENT, AuditEvent, Outcome
from shared.dicom.uids import UID_FORM, is_uid
from shared.errors import (
    Actor,
    DocumentUniqueIdError,
    NoAcceptableTransferSyntax,
    UnknownRepositoryId,
    XdsError,
)
from shared.http.pieces import FileRange, Piece
from shared.imaging.holding import Access
from shared.imaging.instance import Instance
from shared.imaging.retrieval import InstanceResult, Unreadable, choices, events, files
from shared.imaging.transfer_syntax import Choice, Impossible, choose
from shared.messages.documents import DocumentRequest, RetrievedDocument, RetrieveDocumentSetResponse
from shared.messages.rad69 import RAD69, RetrieveImagingDocumentSetRequest
from shared.security.caller import Caller
from shared.soap.served import Served

MIME_TYPE: Final = "application/dicom"
ANY: Final = "*"
_NOT_COMPARED: Final = Comparison()
_SERIES_OF = attrgetter("study_instance_uid", "series_instance_uid")
_key = attrgetter("study_instance_uid", "series_instance_uid", "sop_instance_uid")


class RequestedInstance(NamedTuple):
    """One instance of a request, with the study and the series in which the consumer expects it; a tuple,
    because a request has hundreds."""

    study_instance_uid: str
    series_instance_uid: str
    document: DocumentRequest

    @property
    def sop_instance_uid(self) -> str:
        """The instance: its SOP Instance UID is the DocumentUniqueId."""
        return self.document.document_unique_id


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagingDocumentSet(RetrieveDocumentSetResponse):
    """The response, and for the trail what became of each instance that was asked for."""

    results: tuple[InstanceResult, ...] = ()


async def handle(unit: Unit, request: RetrieveImagingDocumentSetRequest) -> RetrieveDocumentSetResponse:
    """Answer with the instances that are here and that the caller may have; one error for each of the others.

    An instance that is rejected or refused is answered as one that does not exist. What is asked for twice
    comes once.
    """
    requests = tuple(dict.fromkeys(_asked(request)))
    away = await _compared(unit, requests)
    shelf = await _Shelf.of(unit, request, requests)
    documents: list[RetrievedDocument] = []
    errors: list[XdsError] = []
    results: list[InstanceResult] = []
    for each in requests:
        content, result = shelf.answer(each, away.get(each.study_instance_uid, _NOT_COMPARED))
        results.append(result)
        if isinstance(content, XdsError):
            errors.append(content)
        else:
            documents.append(content)
    return ImagingDocumentSet(documents=tuple(documents), errors=tuple(errors), results=tuple(results))


async def _compared(unit: Unit, requests: Sequence[RequestedInstance]) -> Mapping[str, Comparison]:
    """What came of comparing each study with the archives, where there are any."""
    if not unit.parts.archives:
        return {}
    location_uid = unit.parts.settings.retrieve_location_uid
    studies = {one.study_instance_uid for one in requests if _is_for(one, location_uid)}
    return {study: await unit.compare(study) for study in sorted(studies)}


def _asked(request: RetrieveImagingDocumentSetRequest) -> Iterator[RequestedInstance]:
    for study in request.studies:
        for series in study.series:
            for document in series.documents:
                yield RequestedInstance(study.study_instance_uid, series.series_instance_uid, document)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shelf:
    """What is known of the instances of one request, and their bytes; all by SOP Instance UID."""

    location_uid: str
    instances: Mapping[str, Instance]
    hidden: frozenset[str]
    access: Mapping[str, Access]
    choices: Mapping[str, Choice]
    contents: Mapping[str, Piece | Unreadable]
    well_asked: frozenset[RequestedInstance]

    @classmethod
    async def of(
        cls,
        unit: Unit,
        request: RetrieveImagingDocumentSetRequest,
        requests: Sequence[RequestedInstance],
    ) -> Self:
        location_uid = unit.parts.settings.retrieve_location_uid
        well_asked = tuple(_checked(requests, location_uid))
        keys = set(map(_key, well_asked))
        known_instances = await _known(unit, well_asked)
        instances = {uid: instance for uid, instance in known_instances.items() if _key(instance) in keys}
        hidden = await unit.hidden(tuple(instances.values()))
        shown = [instance for uid, instance in instances.items() if uid not in hidden]
        access = await unit.access(shown)
        permitted = [one for one in shown if access[one.sop_instance_uid].decision.permitted]
        chosen = choices(permitted, lambda one: _choice(unit, one, request))
        contents = await files(unit, chosen)
        return cls(
            location_uid=location_uid,
            instances=instances,
            hidden=hidden,
            access=access,
            choices={one.sop_instance_uid: choice for one, choice in chosen},
            contents=contents,
            well_asked=frozenset(well_asked),
        )

    def answer(
        self, request: RequestedInstance, comparison: Comparison
    ) -> tuple[RetrievedDocument | XdsError, InstanceResult]:
        """The instance as it is sent, or the error that is sent instead; and what became of it, for the
        trail."""
        try:
            instance = self._shown(request, comparison)
            access = self.access[instance.sop_instance_uid]
            if not access.decision.permitted:
                failure = f"{REFUSED_BY_CONSENT}{access.decision.reason}"
                return _not_available(request), _result(
                    request, patient_id=access.patient_id, failure=failure
                )
            return _delivered(request, instance, self._content(instance), access.patient_id)
        except XdsError as error:
            return error, _result(request, failure=error.code_for(Actor.REPOSITORY))

    def _shown(self, request: RequestedInstance, comparison: Comparison) -> Instance:
        if request not in self.well_asked:
            _check_request(request, self.location_uid)
        uid = request.document.document_unique_id
        instance = self.instances.get(uid)
        silent = bool(comparison.reason) and not comparison.missing
        if uid in comparison.missing or (silent and instance is None):
            raise XdsError(f"instance {uid}: {comparison.reason}", location=uid)
        if instance is None or uid in self.hidden or _key(instance) != _key(request):
            raise _not_available(request)
        return instance

    def _content(self, instance: Instance) -> Piece:
        uid = instance.sop_instance_uid
        content = self.contents.get(uid)
        if content is None:
            choice = self.choices[uid]
            assert isinstance(choice, Impossible)
            raise NoAcceptableTransferSyntax(f"instance {uid}: {choice.reason}", location=uid)
        if isinstance(content, Unreadable):
            raise XdsError(f"instance {uid}: {content.reason}", location=uid)
        return content


def _checked(requests: Iterable[RequestedInstance], location_uid: str) -> Iterator[RequestedInstance]:
    """Those that are asked for by UIDs, and of us."""
    for series, alike in groupby(requests, _SERIES_OF):
        if all(map(is_uid, series)):
            yield from (one for one in alike if _is_for(one, location_uid))


async def _known(unit: Unit, requests: Iterable[RequestedInstance]) -> Mapping[str, Instance]:
    of_series: dict[tuple[str, str], list[str]] = {}
    for series, alike in groupby(requests, _SERIES_OF):
        of_series.setdefault(series, []).extend(one.sop_instance_uid for one in alike)
    return await unit.parts.instances.find_of_series(of_series)


def _delivered(
    request: RequestedInstance, instance: Instance, content: Piece, patient_id: str
) -> tuple[RetrievedDocument, InstanceResult]:
    study, series, (repository, uid, home) = request
    pieces = content if isinstance(content, FileRange) else (content,)
    return (
        RetrievedDocument(repository, uid, MIME_TYPE, pieces, home),
        InstanceResult(study, series, uid, instance.sop_class_uid, patient_id, "", repository, home),
    )


def _not_available(request: RequestedInstance) -> DocumentUniqueIdError:
    """Unknown, rejected or refused: nobody learns which."""
    uid = request.sop_instance_uid
    return DocumentUniqueIdError(f"instance {uid} is not available", location=uid)


def _check_request(request: RequestedInstance, location_uid: str) -> None:
    for name, uid in (
        ("studyInstanceUID", request.study_instance_uid),
        ("seriesInstanceUID", request.series_instance_uid),
        ("DocumentUniqueId", request.sop_instance_uid),
    ):
        if not is_uid(uid):
            raise XdsError(f"{name} is no UID; right would be {UID_FORM}", location=request.sop_instance_uid)
    if request.document.repository_unique_id != location_uid:
        raise UnknownRepositoryId(
            f"RepositoryUniqueId {request.document.repository_unique_id} is not served here;"
            " it is the Retrieve Location UID of the manifest",
            location=request.sop_instance_uid,
        )


def _is_for(request: RequestedInstance, location_uid: str) -> bool:
    return request.document.repository_unique_id == location_uid and is_uid(request.sop_instance_uid)


def _choice(unit: Unit, instance: Instance, request: RetrieveImagingDocumentSetRequest) -> Choice:
    return choose(
        instance.transfer_syntax_uid,
        # `*` is of WADO-RS; in a list of UIDs it is one that nobody knows.
        [uid for uid in request.transfer_syntax_uids if uid != ANY],
        instance.has_pixels,
        decoded_size=instance.decoded_size,
        codecs=unit.parts.transcoder.codecs,
    )


# --- the trail ---------------------------------------------------------------------------------------


def audit(
    request: RetrieveImagingDocumentSetRequest,
    response: RetrieveDocumentSetResponse | None,
    caller: Caller,
    outcome: Outcome,
) -> tuple[AuditEvent, ...]:
    """Describe the transfer, one event for each patient and outcome; without a response all of it failed."""
    if isinstance(response, ImagingDocumentSet):
        results: Sequence[InstanceResult] = response.results
    else:
        failure = "" if outcome is Outcome.SUCCESS else "the request was not answered, or not to its end"
        results = tuple(_result(each, failure=failure) for each in dict.fromkeys(_asked(request)))
    return events(
        results,
        caller,
        transaction=RAD69.event_type,
    )


def _result(request: RequestedInstance, *, patient_id: str = "", failure: str = "") -> InstanceResult:
    return InstanceResult(
        study_instance_uid=request.study_instance_uid,
        series_instance_uid=request.series_instance_uid,
        sop_instance_uid=request.sop_instance_uid,
        patient_id=patient_id,
        failure=failure,
        repository_unique_id=request.document.repository_unique_id,
        home_community_id=request.document.home_community_id,
    )


SERVED = Served(RAD69, handle, audit)
