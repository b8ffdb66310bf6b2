"""WADO-RS Retrieve [RAD-107]: expected actions (RAD TF-2 4.107.4; PS3.18 10.4).

Studies, series and instances as Part 10 files, their metadata as DICOM JSON, and the values that metadata
leave in the files; HTTP is in `wado_rs_http`.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from http import HTTPStatus
from operator import attrgetter
from pathlib import Path
from typing import Final, NamedTuple

from shared.audit.events import REFUSED_BY_CONSENT, AuditEvent, Coded, Outcome
from shared.dicom.uids import UNCOMPRESSED
from shared.errors import XdsError
from shared.http.pieces import Piece
from shared.imaging.bulk_data import BulkValue, media_type_of
from shared.imaging.holding import Access, HoldingUnit, permits_all
from shared.imaging.instance import Instance
from shared.imaging.negotiation import Acceptable, Form, FrameForm
from shared.imaging.retrieval import (
    UID_OF,
    InstanceResult,
    Undecodable,
    Unreadable,
    choices,
    events,
    files,
    frames_of,
    local_file,
    syntax_of,
)
from shared.imaging.transfer_syntax import AsStored, Choice, Impossible, Transcode, choose_default
from shared.messages.rad107 import EVENT_TYPE
from shared.security.caller import Caller

# --- messages ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrieveRequest:
    """One resource, and how it may be given: instances as `acceptable`; the value at the path `bulk` of one
    instance, or metadata without either, in the `form`; `frames` of one instance, from 1, in one of the
    `frame_forms`. `location` is where it is, below the base. `range` and `if_range` are the headers."""

    study_instance_uid: str
    series_instance_uid: str = ""
    sop_instance_uid: str = ""
    location: str = ""
    form: Form | None = None
    acceptable: Acceptable | None = None
    bulk: tuple[str, ...] = ()
    frames: tuple[int, ...] = ()
    frame_forms: tuple[FrameForm, ...] = ()
    if_none_match: str = ""
    range: str = ""
    if_range: str = ""


class Given(NamedTuple):
    """One instance that is sent, in the transfer syntax that its file says."""

    instance: Instance
    transfer_syntax_uid: str
    file: Piece


_SHA256_OF: Final = attrgetter("sha256")
_NAMES_OF: Final = attrgetter(
    "study_instance_uid", "series_instance_uid", "sop_instance_uid", "sop_class_uid"
)
# All fields as they stand: a call with a name for each costs three times as much, for each of hundreds.
_given_as = partial(tuple.__new__, Given)
_result_as = partial(tuple.__new__, InstanceResult)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrieveResponse:
    """The answer, and for the trail what became of each instance.

    `given` are the instances that are sent, `described` those whose metadata is, read as `metadata`; `values`
    are the bulk data or the frames of one, as the body when `single`, and else each at one of the
    `places` below the base, where that is not the resource itself; `reason` is shown with an error status.
    `base` is the URL of DICOM web services.
    """

    status: HTTPStatus
    request: RetrieveRequest
    base: str = ""
    metadata: AsyncIterator[bytes] | None = None
    reason: str = ""
    etag: str = ""
    given: tuple[Given, ...] = ()
    described: tuple[Instance, ...] = ()
    values: tuple[BulkValue, ...] = ()
    places: tuple[str, ...] = ()
    single: bool = False
    results: tuple[InstanceResult, ...] = ()
    errors: tuple[XdsError, ...] = ()


# --- expected actions --------------------------------------------------------------------------------


async def handle(unit: HoldingUnit, request: RetrieveRequest) -> RetrieveResponse:
    """Find what is asked for and what of it the caller may have.

    What is rejected or refused is answered as if it did not exist: 404 when nothing else is left, and left
    out else.
    """
    response = await _retrieved(unit, request)
    in_xml, instances = request.form is Form.XML, unit.parts.instances
    described = instances.metadata_objects if in_xml else instances.metadata_array
    metadata = described(response.described) if response.described else None
    return replace(response, base=unit.parts.dicomweb_url, metadata=metadata)


async def permitted_instances(
    unit: HoldingUnit, request: RetrieveRequest
) -> tuple[list[Instance], Mapping[str, Access], tuple[InstanceResult, ...]]:
    """What of the resource the caller may have, by what decision, and what is refused."""
    instances = await _find(unit, request)
    hidden = await unit.hidden(instances)
    shown = [one for one in instances if one.sop_instance_uid not in hidden] if hidden else instances
    access = await unit.access(shown)
    if permits_all(access):
        return shown, access, ()
    permitted = [one for one in shown if access[one.sop_instance_uid].decision.permitted]
    return permitted, access, tuple(_refusals(shown, access))


async def _retrieved(unit: HoldingUnit, request: RetrieveRequest) -> RetrieveResponse:
    permitted, access, refused = await permitted_instances(unit, request)
    if not permitted:
        return not_found(request, refused)
    if request.bulk:
        return await _bulk_data(unit, request, permitted[0], access[permitted[0].sop_instance_uid])
    if request.frames:
        return await _frames(unit, request, permitted[0], access[permitted[0].sop_instance_uid])
    if request.acceptable is None:
        return _described(request, permitted, access, refused)
    return await _given(unit, request, request.acceptable, permitted, access, refused)


async def _find(unit: HoldingUnit, request: RetrieveRequest) -> list[Instance]:
    instances = unit.parts.instances
    if request.sop_instance_uid:
        one = await instances.find_instance(
            request.study_instance_uid, request.series_instance_uid, request.sop_instance_uid
        )
        return [one] if one else []
    if request.series_instance_uid:
        return await instances.find_series(request.study_instance_uid, request.series_instance_uid)
    return await instances.find_study(request.study_instance_uid)


def _refusals(shown: Sequence[Instance], access: Mapping[str, Access]) -> Iterator[InstanceResult]:
    for instance in shown:
        answer = access[instance.sop_instance_uid]
        if not answer.decision.permitted:
            yield result_of(instance, answer, failure=f"{REFUSED_BY_CONSENT}{answer.decision.reason}")


def not_found(
    request: RetrieveRequest,
    refused: tuple[InstanceResult, ...],
    reason: str = "there is no such study, series or instance here",
) -> RetrieveResponse:
    """404: `reason` is shown, and what is `refused` stands in the trail."""
    return RetrieveResponse(
        request=request,
        status=HTTPStatus.NOT_FOUND,
        reason=reason,
        results=refused or (_of_request(request, reason),),
        errors=(XdsError(reason),),
    )


def _described(
    request: RetrieveRequest,
    permitted: Sequence[Instance],
    access: Mapping[str, Access],
    refused: tuple[InstanceResult, ...],
) -> RetrieveResponse:
    etag = etag_of((instance.sop_instance_uid, instance.sha256) for instance in permitted)
    delivered = _delivered(permitted, access)
    unchanged = matches(request.if_none_match, etag)
    return RetrieveResponse(
        request=request,
        status=HTTPStatus.NOT_MODIFIED if unchanged else HTTPStatus.OK,
        etag=etag,
        described=() if unchanged else tuple(permitted),
        results=(*delivered, *refused),
    )


async def _bulk_data(
    unit: HoldingUnit, request: RetrieveRequest, one: Instance, access: Access
) -> RetrieveResponse:
    """The value at the path, from the file or from what its pixels are decoded to."""
    etag = etag_of(iter([(one.sop_instance_uid, one.sha256, *request.bulk)]))
    if matches(request.if_none_match, etag):
        return RetrieveResponse(
            request=request, status=HTTPStatus.NOT_MODIFIED, etag=etag, results=(result_of(one, access),)
        )
    value, failure = await _value(unit, one, request.bulk)
    results = (result_of(one, access, failure=failure),)
    if value is None and failure:
        return unreadable(request, results[0])
    if value is None:
        return not_found(request, ())
    return RetrieveResponse(
        request=request,
        status=HTTPStatus.OK,
        etag=etag,
        values=(value,),
        single=request.form is Form.SINGLE_OCTETS,
        results=results,
    )


async def _frames(
    unit: HoldingUnit, request: RetrieveRequest, one: Instance, access: Access
) -> RetrieveResponse:
    """Frames in the first form that can be."""
    reason, decoded_size = "", one.decoded_size
    if not one.has_pixels or max(request.frames) > one.number_of_frames:
        return not_found(request, (), f"there are {one.number_of_frames if one.has_pixels else 0} frames")
    for form in request.frame_forms:
        choice = form.choose(
            one.transfer_syntax_uid, decoded_size=decoded_size, codecs=unit.parts.transcoder.codecs
        )
        if isinstance(choice, Impossible):
            reason = reason or choice.reason
            continue
        frames = await frames_of(unit, one, choice, request.frames)
        if isinstance(frames, Undecodable) and not isinstance(choice, AsStored) and form.takes_what_is_stored:
            choice = AsStored()
            frames = await frames_of(unit, one, choice, request.frames)
        if isinstance(frames, Undecodable):
            reason = frames.reason
        elif isinstance(frames, Unreadable):
            return unreadable(request, result_of(one, access, failure=frames.reason))
        else:
            return _of_frames(request, one, access, form, syntax_of(one, choice), frames)
    return RetrieveResponse(
        request=request,
        status=HTTPStatus.NOT_ACCEPTABLE,
        reason=_impossible([reason]),
        results=(result_of(one, access, failure=reason),),
        errors=(XdsError(reason),),
    )


def _of_frames(
    request: RetrieveRequest,
    one: Instance,
    access: Access,
    form: FrameForm,
    syntax: str,
    frames: Sequence[tuple[Piece, ...]],
) -> RetrieveResponse:
    told_type = type_of_frames(form, syntax)
    etag = etag_of(iter([(one.sop_instance_uid, one.sha256, syntax, told_type, *map(str, request.frames))]))
    unchanged = matches(request.if_none_match, etag)
    return RetrieveResponse(
        request=request,
        status=HTTPStatus.NOT_MODIFIED if unchanged else HTTPStatus.OK,
        etag=etag,
        values=() if unchanged else tuple(BulkValue(told_type, frame) for frame in frames),
        places=tuple(f"{request.location.rpartition('/')[0]}/{frame}" for frame in request.frames),
        single=form.single,
        results=(result_of(one, access),),
    )


def type_of_frames(form: FrameForm, syntax: str) -> str:
    """The media type of frames in a transfer syntax, which it names where they are compressed."""
    media_type = form.media_type or media_type_of(syntax)
    return media_type if syntax in UNCOMPRESSED else f"{media_type}; transfer-syntax={syntax}"


def unreadable(request: RetrieveRequest, result: InstanceResult) -> RetrieveResponse:
    """500: it is there, and its bytes are not what they were."""
    return RetrieveResponse(
        request=request,
        status=HTTPStatus.INTERNAL_SERVER_ERROR,
        reason="what is stored cannot be read",
        results=(result,),
        errors=(XdsError(result.failure),),
    )


async def _value(unit: HoldingUnit, one: Instance, path: tuple[str, ...]) -> tuple[BulkValue | None, str]:
    """The value, or none and why: without a reason there is none at the path."""
    codecs = unit.parts.transcoder.codecs
    choice = choose_default(
        one.transfer_syntax_uid, one.has_pixels, decoded_size=one.decoded_size, codecs=codecs
    )
    failure = ""
    for attempt in dict.fromkeys((choice, AsStored())):
        file = await local_file(unit, one, attempt)
        if isinstance(file, Path):
            return await unit.parts.instances.bulk_data(file, path), ""
        failure = file.reason
        if not isinstance(file, Undecodable):
            break
    return None, failure


async def _given(
    unit: HoldingUnit,
    request: RetrieveRequest,
    acceptable: Acceptable,
    permitted: Sequence[Instance],
    access: Mapping[str, Access],
    refused: tuple[InstanceResult, ...],
) -> RetrieveResponse:
    codecs = unit.parts.transcoder.codecs
    chosen = choices(
        permitted,
        lambda one: acceptable.choose(
            one.transfer_syntax_uid, one.has_pixels, decoded_size=one.decoded_size, codecs=codecs
        ),
    )
    syntaxes = [syntax_of(one, choice) for one, choice in chosen]
    etag = etag_of(zip(map(UID_OF, permitted), map(_SHA256_OF, permitted), syntaxes, strict=True))
    if matches(request.if_none_match, etag):
        return RetrieveResponse(
            request=request,
            status=HTTPStatus.NOT_MODIFIED,
            etag=etag,
            results=(*_delivered(permitted, access), *refused),
        )
    contents = dict(await files(unit, chosen))
    if acceptable.takes_what_is_stored and (failed := _failed(chosen, contents)):
        as_stored: list[tuple[Instance, Choice]] = [(one, AsStored()) for one in failed]
        contents |= await files(unit, as_stored)
        chosen = [(one, AsStored() if one in failed else choice) for one, choice in chosen]
        syntaxes = [syntax_of(one, choice) for one, choice in chosen]
    content_of = contents.get
    files_of_chosen = [content_of(one.sop_instance_uid) for one in permitted]
    given = [
        _given_as((one, syntax, file))
        for one, syntax, file in zip(permitted, syntaxes, files_of_chosen, strict=True)
        if file is not None and not isinstance(file, Unreadable)
    ]
    if len(given) == len(permitted):
        results = _delivered(permitted, access)
    else:
        results = [
            result_of(one, access[one.sop_instance_uid], failure=_failure(choice, file))
            for (one, choice), file in zip(chosen, files_of_chosen, strict=True)
        ]
    return _answer(request, tuple(given), chosen, contents, etag, (*results, *refused))


def _failed(
    chosen: Sequence[tuple[Instance, Choice]], contents: Mapping[str, Piece | Unreadable]
) -> frozenset[Instance]:
    """What cannot be transcoded, although it could be chosen."""
    return frozenset(
        one
        for one, choice in chosen
        if isinstance(choice, Transcode) and isinstance(contents[one.sop_instance_uid], Unreadable)
    )


def _failure(choice: Choice, content: Piece | Unreadable | None) -> str:
    if isinstance(choice, Impossible):
        return choice.reason
    return content.reason if isinstance(content, Unreadable) else ""


def _answer(
    request: RetrieveRequest,
    given: tuple[Given, ...],
    chosen: Sequence[tuple[Instance, Choice]],
    contents: Mapping[str, Piece | Unreadable],
    etag: str,
    results: tuple[InstanceResult, ...],
) -> RetrieveResponse:
    if given:
        status = HTTPStatus.OK if len(given) == len(chosen) else HTTPStatus.PARTIAL_CONTENT
        return RetrieveResponse(request=request, status=status, etag=etag, given=given, results=results)
    failures = [_failure(choice, contents.get(one.sop_instance_uid)) for one, choice in chosen]
    if all(
        isinstance(choice, Impossible) or isinstance(contents.get(one.sop_instance_uid), Undecodable)
        for one, choice in chosen
    ):
        status, reason = HTTPStatus.NOT_ACCEPTABLE, _impossible(failures)
    else:
        status, reason = HTTPStatus.INTERNAL_SERVER_ERROR, "what is stored cannot be read"
    return RetrieveResponse(
        request=request, status=status, reason=reason, results=results, errors=(XdsError(reason),)
    )


def _impossible(failures: Sequence[str]) -> str:
    reasons = dict.fromkeys(failures)
    return "; ".join(list(reasons)[:3]) + "; transfer-syntax=* gives what is stored"


def etag_of(parts: Iterator[tuple[str, ...]]) -> str:
    """The entity tag of what is made of these."""
    text = "\n".join(map(" ".join, parts)) + "\n"
    return f'"{hashlib.sha256(text.encode()).hexdigest()[:32]}"'


def matches(if_none_match: str, etag: str) -> bool:
    """Whether who asks has what `etag` stands for."""
    tags = (tag.strip().removeprefix("W/") for tag in if_none_match.split(","))
    return bool(if_none_match) and any(tag in (etag, "*") for tag in tags)


# --- the trail ---------------------------------------------------------------------------------------


def audit(
    request: RetrieveRequest, response: RetrieveResponse | None, caller: Caller, outcome: Outcome
) -> tuple[AuditEvent, ...]:
    """Describe the transfer."""
    return transfer_events(EVENT_TYPE, request, response, caller, outcome)


def transfer_events(
    transaction: Coded,
    request: RetrieveRequest,
    response: RetrieveResponse | None,
    caller: Caller,
    outcome: Outcome,
) -> tuple[AuditEvent, ...]:
    """Describe a transfer, one event for each patient and outcome; without a response all of it failed.

    What is simply not there, or not in an acceptable form, is a minor failure; a refusal that looks like it
    is not.
    """
    if response is None:
        failure = "" if outcome is Outcome.SUCCESS else "the request was not answered, or not to its end"
        results: tuple[InstanceResult, ...] = (_of_request(request, failure),)
    else:
        results = response.results
    minor = response is not None and response.status in (HTTPStatus.NOT_FOUND, HTTPStatus.NOT_ACCEPTABLE)
    by_grade: dict[Outcome, Sequence[InstanceResult]] = {Outcome.SERIOUS_FAILURE: results}
    if minor:
        refused = tuple(result for result in results if result.failure.startswith(REFUSED_BY_CONSENT))
        others = tuple(result for result in results if not result.failure.startswith(REFUSED_BY_CONSENT))
        by_grade = {Outcome.MINOR_FAILURE: others, Outcome.SERIOUS_FAILURE: refused}
    return tuple(
        event
        for grade, graded in by_grade.items()
        for event in events(
            graded,
            caller,
            transaction=transaction,
            over_http=True,
            failure=grade,
        )
    )


def result_of(instance: Instance, access: Access, *, failure: str = "") -> InstanceResult:
    """What became of an instance, for the trail."""
    return InstanceResult(
        instance.study_instance_uid,
        instance.series_instance_uid,
        instance.sop_instance_uid,
        instance.sop_class_uid,
        access.patient_id,
        failure,
    )


def _delivered(permitted: Sequence[Instance], access: Mapping[str, Access]) -> list[InstanceResult]:
    """As `result_of` for each, of instances that are sent."""
    patients = [access[one.sop_instance_uid].patient_id for one in permitted]
    each = zip(map(_NAMES_OF, permitted), patients, strict=True)
    return [_result_as((*names, patient_id, "", "", "")) for names, patient_id in each]


def _of_request(request: RetrieveRequest, failure: str) -> InstanceResult:
    return InstanceResult(
        study_instance_uid=request.study_instance_uid,
        series_instance_uid=request.series_instance_uid,
        sop_instance_uid=request.sop_instance_uid,
        failure=failure,
    )
