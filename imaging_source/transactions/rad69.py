"""Retrieve Imaging Document Set [RAD-69]: expected actions (RAD TF-2 4.69.4.1.3)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby, repeat
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
from shared.imaging.holding import Access, permits_all
from shared.imaging.instance import Instance
from shared.imaging.retrieval import UID_OF, InstanceResult, Unreadable, choices, events, files
from shared.imaging.transfer_syntax import Choice, Impossible, choose
from shared.messages.documents import DocumentRequest, RetrievedDocument, RetrieveDocumentSetResponse
from shared.messages.rad69 import RAD69, RetrieveImagingDocumentSetRequest
from shared.security.caller import Caller
from shared.soap.served import Served

MIME_TYPE: Final = "application/dicom"
ANY: Final = "*"
_NOT_COMPARED: Final = Comparison()
_SERIES_OF = attrgetter("study_instance_uid", "series_instance_uid")
_PLACE_OF = attrgetter(
    "study_instance_uid",
    "series_instance_uid",
    "document.repository_unique_id",
    "document.home_community_id",
)
_DOCUMENT_OF = attrgetter("document.document_unique_id")
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


# All fields as they stand: a call with a name for each costs three times as much, for each of hundreds.
_requested_as = partial(tuple.__new__, RequestedInstance)
_document_as = partial(tuple.__new__, RetrievedDocument)
_result_as = partial(tuple.__new__, InstanceResult)


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
    shelf = await _Shelf.of(unit, request, requests, away)
    documents: list[RetrievedDocument] = []
    errors: list[XdsError] = []
    results: list[InstanceResult] = []
    for (study, series, repository, home), alike in groupby(requests, _PLACE_OF):
        ready_for = shelf.ready_of(study, series, repository).get
        for each in alike:
            uid = each.document.document_unique_id
            if (ready := ready_for(uid)) is None:
                error, result = shelf.refusal(each)
                errors.append(error)
                results.append(result)
                continue
            pieces, sop_class, patient = ready
            documents.append(_document_as((repository, uid, MIME_TYPE, pieces, home, "", "")))
            results.append(_result_as((study, series, uid, sop_class, patient, "", repository, home)))
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
            place = repeat(study.study_instance_uid), repeat(series.series_instance_uid)
            # Documents last: so the others end with them.
            yield from map(_requested_as, zip(*place, series.documents, strict=False))


class _Ready(NamedTuple):
    """What is told of an instance that is sent: its bytes, its class and its patient."""

    pieces: tuple[Piece, ...] | FileRange
    sop_class_uid: str
    patient_id: str


_ready_as = partial(tuple.__new__, _Ready)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shelf:
    """What is known of the instances of one request, and their bytes; by SOP Instance UID, but for what is
    `ready`, by study and series first."""

    location_uid: str
    away: Mapping[str, Comparison]
    instances: Mapping[str, Instance]
    hidden: frozenset[str]
    access: Mapping[str, Access]
    choices: Mapping[str, Choice]
    contents: Mapping[str, Piece | Unreadable]
    ready: Mapping[tuple[str, str], Mapping[str, _Ready]]

    @classmethod
    async def of(
        cls,
        unit: Unit,
        request: RetrieveImagingDocumentSetRequest,
        requests: Sequence[RequestedInstance],
        away: Mapping[str, Comparison],
    ) -> Self:
        location_uid = unit.parts.settings.retrieve_location_uid
        instances = await _known(unit, requests, location_uid)
        hidden = await unit.hidden(tuple(instances.values()))
        shown = [instance for uid, instance in instances.items() if uid not in hidden]
        access = await unit.access(shown)
        permitted = (
            shown
            if permits_all(access)
            else [one for one in shown if access[one.sop_instance_uid].decision.permitted]
        )
        chosen = choices(permitted, lambda one: _choice(unit, one, request))
        contents = await files(unit, chosen)
        missing = frozenset[str]().union(*[comparison.missing for comparison in away.values()])
        return cls(
            location_uid=location_uid,
            away=away,
            instances=instances,
            hidden=hidden,
            access=access,
            choices=dict(zip(map(UID_OF, permitted), (choice for _, choice in chosen), strict=True)),
            contents=contents,
            ready=_ready(permitted, contents, access, missing),
        )

    def ready_of(self, study: str, series: str, repository: str) -> Mapping[str, _Ready]:
        """What is sent of a series to who asks this repository for it."""
        return self.ready.get((study, series), {}) if repository == self.location_uid else {}

    def refusal(self, request: RequestedInstance) -> tuple[XdsError, InstanceResult]:
        """The error that is sent instead of an instance; and what became of it, for the trail."""
        try:
            instance = self._shown(request)
            access = self.access[instance.sop_instance_uid]
            if not access.decision.permitted:
                failure = f"{REFUSED_BY_CONSENT}{access.decision.reason}"
                return _not_available(request), _result(
                    request, patient_id=access.patient_id, failure=failure
                )
            raise self._ungiven(instance)
        except XdsError as error:
            return error, _result(request, failure=error.code_for(Actor.REPOSITORY))

    def _shown(self, request: RequestedInstance) -> Instance:
        _check_request(request, self.location_uid)
        comparison = self.away.get(request.study_instance_uid, _NOT_COMPARED)
        uid = request.document.document_unique_id
        instance = self.instances.get(uid)
        silent = bool(comparison.reason) and not comparison.missing
        if uid in comparison.missing or (silent and instance is None):
            raise XdsError(f"instance {uid}: {comparison.reason}", location=uid)
        if instance is None or uid in self.hidden or _key(instance) != _key(request):
            raise _not_available(request)
        return instance

    def _ungiven(self, instance: Instance) -> XdsError:
        """Why an instance that the caller may have is not sent."""
        uid = instance.sop_instance_uid
        choice, content = self.choices[uid], self.contents.get(uid)
        if isinstance(choice, Impossible):
            return NoAcceptableTransferSyntax(f"instance {uid}: {choice.reason}", location=uid)
        assert isinstance(content, Unreadable)
        return XdsError(f"instance {uid}: {content.reason}", location=uid)


async def _known(
    unit: Unit, requests: Iterable[RequestedInstance], location_uid: str
) -> Mapping[str, Instance]:
    """What is here of that which is asked for by UIDs, of us, and in its own series."""
    uids_of: dict[tuple[str, str], list[str]] = {}
    for (study, series, repository, _), alike in groupby(requests, _PLACE_OF):
        if repository == location_uid and is_uid(study) and is_uid(series):
            uids_of.setdefault((study, series), []).extend(filter(is_uid, map(_DOCUMENT_OF, alike)))
    instances = await unit.parts.instances.find_of_series(uids_of)
    return {
        one.sop_instance_uid: one
        for place, uids in uids_of.items()
        for one in map(instances.get, uids)
        if one is not None and _SERIES_OF(one) == place
    }


def _ready(
    permitted: Sequence[Instance],
    contents: Mapping[str, Piece | Unreadable],
    access: Mapping[str, Access],
    missing: frozenset[str],
) -> Mapping[tuple[str, str], Mapping[str, _Ready]]:
    by_series: dict[tuple[str, str], dict[str, _Ready]] = {}
    for place, alike in groupby(permitted, _SERIES_OF):
        of_series = by_series.setdefault(place, {})
        for one in alike:
            uid = one.sop_instance_uid
            content = contents.get(uid)
            if content is None or isinstance(content, Unreadable) or uid in missing:
                continue
            pieces = content if isinstance(content, FileRange) else (content,)
            of_series[uid] = _ready_as((pieces, one.sop_class_uid, access[uid].patient_id))
    return by_series


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
