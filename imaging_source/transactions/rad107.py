"""WADO-RS Retrieve [RAD-107]: expected actions (RAD TF-2 4.107.4; PS3.18 10.4).

Studies, series and instances as Part 10 files, and their metadata as DICOM JSON. Raw ASGI endpoints: files
leave by the zero-copy job of the server, metadata a few instances at a time.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import parse_qs

from starlette.routing import BaseRoute, Route

from imaging_source.domain import negotiation
from imaging_source.domain.instance import Instance
from imaging_source.domain.negotiation import Acceptable, Form, Malformed, NotAcceptable
from imaging_source.domain.transfer_syntax import Choice, Impossible
from imaging_source.transactions.retrieval import Result, Unreadable, events, files, syntax_of
from imaging_source.unit import Access, Parts, Unit
from shared.audit.events import (
    AuditEvent,
    Outcome,
    http_pull_participants,
    ihe,
    user_authentication_failure,
)
from shared.audit.recorder import AuditUnavailable
from shared.dicom import multipart
from shared.dicom.json import with_base
from shared.dicom.uids import is_uid
from shared.errors import XdsError
from shared.faults import SecurityFault
from shared.http.pieces import FileRange, FileTruncated
from shared.http.raw_asgi import ClientGone, Piece, Receive, Scope, Send, node_of, send_body, send_pieces
from shared.security.caller import Caller
from shared.soap.perform import InternalError, perform
from shared.telemetry.log import logger
from shared.telemetry.metrics import Result as Counted
from shared.telemetry.metrics import TransactionMetrics

_log = logger(__name__)

RAD107: Final = ihe("RAD-107", "WADO-RS Retrieve")

_PATHS: Final = (
    "/studies/{study}",
    "/studies/{study}/series/{series}",
    "/studies/{study}/series/{series}/instances/{instance}",
)
_HIDDEN: Final = "refused by consent: "


# --- messages ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrieveRequest:
    """One resource, and how it may be given: instances as `acceptable`, or metadata without it."""

    study_instance_uid: str
    series_instance_uid: str = ""
    sop_instance_uid: str = ""
    acceptable: Acceptable | None = None
    if_none_match: str = ""


@dataclass(frozen=True, slots=True)
class Given:
    """One instance that is sent, in the transfer syntax that its file says."""

    instance: Instance
    transfer_syntax_uid: str
    file: FileRange


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrieveResponse:
    """The answer, and for the trail what became of each instance.

    `given` are the instances that are sent, `described` those whose metadata is; `reason` is shown with an
    error status.
    """

    status: HTTPStatus
    reason: str = ""
    etag: str = ""
    given: tuple[Given, ...] = ()
    described: tuple[Instance, ...] = ()
    results: tuple[Result, ...] = ()
    errors: tuple[XdsError, ...] = ()


# --- expected actions --------------------------------------------------------------------------------


async def handle(unit: Unit, request: RetrieveRequest, caller: Caller) -> RetrieveResponse:
    """Find what is asked for and what of it `caller` may have.

    What is rejected or refused is answered as if it did not exist: 404 when nothing else is left, and left
    out else.
    """
    found = await _find(unit, request)
    hidden = await unit.hidden(found)
    shown = [instance for instance in found if instance.sop_instance_uid not in hidden]
    access = await unit.access(shown, caller)
    permitted = [one for one in shown if access[one.sop_instance_uid].decision.permitted]
    refused = tuple(_refusals(shown, access))
    if not permitted:
        return _not_found(request, refused)
    if request.acceptable is None:
        return _described(request, permitted, access, refused)
    return await _given(unit, request, request.acceptable, permitted, access, refused)


async def _find(unit: Unit, request: RetrieveRequest) -> list[Instance]:
    instances = unit.parts.instances
    if request.sop_instance_uid:
        one = await instances.find_instance(
            request.study_instance_uid, request.series_instance_uid, request.sop_instance_uid
        )
        return [one] if one else []
    if request.series_instance_uid:
        return await instances.find_series(request.study_instance_uid, request.series_instance_uid)
    return await instances.find_study(request.study_instance_uid)


def _refusals(shown: Sequence[Instance], access: Mapping[str, Access]) -> Iterator[Result]:
    for instance in shown:
        found = access[instance.sop_instance_uid]
        if not found.decision.permitted:
            yield _result(instance, found, failure=f"{_HIDDEN}{found.decision.reason}")


def _not_found(request: RetrieveRequest, refused: tuple[Result, ...]) -> RetrieveResponse:
    reason = "there is no such study, series or instance here"
    return RetrieveResponse(
        status=HTTPStatus.NOT_FOUND,
        reason=reason,
        results=refused or (_of_request(request, reason),),
        errors=(XdsError(reason),),
    )


def _described(
    request: RetrieveRequest,
    permitted: Sequence[Instance],
    access: Mapping[str, Access],
    refused: tuple[Result, ...],
) -> RetrieveResponse:
    etag = _etag((instance.sop_instance_uid, instance.sha256) for instance in permitted)
    delivered = tuple(_result(one, access[one.sop_instance_uid]) for one in permitted)
    unchanged = _matches(request.if_none_match, etag)
    return RetrieveResponse(
        status=HTTPStatus.NOT_MODIFIED if unchanged else HTTPStatus.OK,
        etag=etag,
        described=() if unchanged else tuple(permitted),
        results=(*delivered, *refused),
    )


async def _given(
    unit: Unit,
    request: RetrieveRequest,
    acceptable: Acceptable,
    permitted: Sequence[Instance],
    access: Mapping[str, Access],
    refused: tuple[Result, ...],
) -> RetrieveResponse:
    codecs = unit.parts.transcoder.codecs
    chosen: list[tuple[Instance, Choice]] = [
        (
            one,
            acceptable.choose(
                one.transfer_syntax_uid, one.has_pixels, decoded_size=one.decoded_size, codecs=codecs
            ),
        )
        for one in permitted
    ]
    etag = _etag((one.sop_instance_uid, one.sha256, syntax_of(one, choice)) for one, choice in chosen)
    if _matches(request.if_none_match, etag):
        return RetrieveResponse(
            status=HTTPStatus.NOT_MODIFIED,
            etag=etag,
            results=(*(_result(one, access[one.sop_instance_uid]) for one in permitted), *refused),
        )
    contents = await files(unit, chosen)
    given: list[Given] = []
    results: list[Result] = []
    for one, choice in chosen:
        content = contents.get(one.sop_instance_uid)
        if isinstance(content, FileRange):
            given.append(Given(one, syntax_of(one, choice), content))
        failure = _failure(choice, content)
        results.append(_result(one, access[one.sop_instance_uid], failure=failure))
    return _answer(tuple(given), chosen, etag, (*results, *refused))


def _failure(choice: Choice, content: FileRange | Unreadable | None) -> str:
    if isinstance(choice, Impossible):
        return choice.reason
    return content.reason if isinstance(content, Unreadable) else ""


def _answer(
    given: tuple[Given, ...],
    chosen: Sequence[tuple[Instance, Choice]],
    etag: str,
    results: tuple[Result, ...],
) -> RetrieveResponse:
    if given:
        status = HTTPStatus.OK if len(given) == len(chosen) else HTTPStatus.PARTIAL_CONTENT
        return RetrieveResponse(status=status, etag=etag, given=given, results=results)
    if all(isinstance(choice, Impossible) for _, choice in chosen):
        status, reason = HTTPStatus.NOT_ACCEPTABLE, _impossible(chosen)
    else:
        status, reason = HTTPStatus.INTERNAL_SERVER_ERROR, "what is stored cannot be read"
    return RetrieveResponse(status=status, reason=reason, results=results, errors=(XdsError(reason),))


def _impossible(chosen: Sequence[tuple[Instance, Choice]]) -> str:
    reasons = dict.fromkeys(choice.reason for _, choice in chosen if isinstance(choice, Impossible))
    return "; ".join(list(reasons)[:3]) + "; transfer-syntax=* gives what is stored"


def _etag(parts: Iterator[tuple[str, ...]]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(" ".join(part).encode() + b"\n")
    return f'"{digest.hexdigest()[:32]}"'


def _matches(if_none_match: str, etag: str) -> bool:
    tags = (tag.strip().removeprefix("W/") for tag in if_none_match.split(","))
    return bool(if_none_match) and any(tag in (etag, "*") for tag in tags)


# --- the trail ---------------------------------------------------------------------------------------


def audit(
    request: RetrieveRequest, response: RetrieveResponse | None, caller: Caller, outcome: Outcome
) -> tuple[AuditEvent, ...]:
    """Describe the transfer, one event for each patient and outcome; without a response all of it failed.

    What is simply not there, or not in an acceptable form, is a minor failure; a refusal that looks like it
    is not.
    """
    if response is None:
        failure = "" if outcome is Outcome.SUCCESS else "the request was not answered, or not to its end"
        results: tuple[Result, ...] = (_of_request(request, failure),)
    else:
        results = response.results
    minor = response is not None and response.status in (HTTPStatus.NOT_FOUND, HTTPStatus.NOT_ACCEPTABLE)
    by_grade: dict[Outcome, list[Result]] = {}
    for result in results:
        grade = Outcome.SERIOUS_FAILURE
        if minor and not result.failure.startswith(_HIDDEN):
            grade = Outcome.MINOR_FAILURE
        by_grade.setdefault(grade, []).append(result)
    return tuple(
        event
        for grade, graded in by_grade.items()
        for event in events(
            graded,
            caller,
            transaction=RAD107,
            participants=http_pull_participants(caller, server=True),
            failure=grade,
        )
    )


def _result(instance: Instance, access: Access, *, failure: str = "") -> Result:
    return Result(
        study_instance_uid=instance.study_instance_uid,
        series_instance_uid=instance.series_instance_uid,
        sop_instance_uid=instance.sop_instance_uid,
        sop_class_uid=instance.sop_class_uid,
        patient_id=access.patient_id,
        failure=failure,
    )


def _of_request(request: RetrieveRequest, failure: str) -> Result:
    return Result(
        study_instance_uid=request.study_instance_uid,
        series_instance_uid=request.series_instance_uid,
        sop_instance_uid=request.sop_instance_uid,
        failure=failure,
    )


@dataclass(frozen=True, slots=True)
class _Performed:
    handle: Callable[[Any, RetrieveRequest, Caller], Awaitable[RetrieveResponse]] = handle
    audit: Callable[[RetrieveRequest, RetrieveResponse | None, Caller, Outcome], tuple[AuditEvent, ...]] = (
        audit
    )


PERFORMED: Final = _Performed()


# --- HTTP --------------------------------------------------------------------------------------------


class _Problem(Exception):
    """The request ends with this status; `reason` is shown."""

    def __init__(self, status: HTTPStatus, reason: str, *headers: tuple[bytes, bytes]) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.headers = headers


UnitFactory = Callable[[Caller], AbstractAsyncContextManager[Unit]]


def routes(prefix: str, parts: Parts, unit: UnitFactory, metrics: TransactionMetrics) -> list[BaseRoute]:
    """The routes of WADO-RS below `prefix`, for the application's router."""
    found: list[BaseRoute] = []
    for path in _PATHS:
        for suffix in ("", "/metadata"):
            endpoint = _Endpoint(parts, unit, metrics, metadata=bool(suffix))
            found.append(Route(f"{prefix}{path}{suffix}", endpoint, methods=["GET"]))
    return found


class _Endpoint:
    """One resource, as an ASGI application."""

    def __init__(
        self, parts: Parts, unit: UnitFactory, metrics: TransactionMetrics, *, metadata: bool
    ) -> None:
        self._parts = parts
        self._unit = unit
        self._metrics = metrics
        self._metadata = metadata

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._metrics.measure() as counted:
            try:
                request = self._request(scope)
                caller = await self._caller(scope, request)
                response = await perform(PERFORMED, self._unit, request, caller, self._parts.recorder)
            except _Problem as problem:
                counted(Counted.FAULT)
                await _send_problem(send, problem)
                return
            except InternalError as error:
                await _send_problem(send, _Problem(HTTPStatus.INTERNAL_SERVER_ERROR, str(error)))
                return
            except AuditUnavailable:
                reason = "the audit trail cannot be written now; nothing is answered without it"
                await _send_problem(send, _Problem(HTTPStatus.SERVICE_UNAVAILABLE, reason, _RETRY))
                return
            counted(_counted(response.status))
        await self._send(scope, send, request, response, caller)

    # -- in

    def _request(self, scope: Scope) -> RetrieveRequest:
        uids = scope["path_params"]
        if not all(map(is_uid, uids.values())):
            raise _Problem(HTTPStatus.BAD_REQUEST, "the path holds something that is no UID: digits and dots")
        headers = _headers(scope)
        try:
            acceptable = self._acceptable(headers.get("accept"), _query(scope), single="instance" in uids)
        except Malformed as error:
            raise _Problem(HTTPStatus.BAD_REQUEST, str(error)) from None
        except NotAcceptable as error:
            raise _Problem(HTTPStatus.NOT_ACCEPTABLE, str(error)) from None
        return RetrieveRequest(
            study_instance_uid=uids["study"],
            series_instance_uid=uids.get("series", ""),
            sop_instance_uid=uids.get("instance", ""),
            acceptable=acceptable,
            if_none_match=headers.get("if-none-match", ""),
        )

    def _acceptable(self, header: str | None, query: str | None, *, single: bool) -> Acceptable | None:
        if self._metadata:
            negotiation.metadata(header, query)
            return None
        return negotiation.instances(header, query, single=single)

    async def _caller(self, scope: Scope, request: RetrieveRequest) -> Caller:
        endpoint = f"{self._parts.settings.dicomweb_url}{_below(scope)}"
        node = node_of(scope)
        scheme, _, bearer = _headers(scope).get("authorization", "").partition(" ")
        bearer_given = scheme.lower() == "bearer"
        try:
            return self._parts.authenticator.caller(
                node,
                endpoint=endpoint,
                bearer=bearer.strip() if bearer_given else None,
                speaker_is_user=True,
            )
        except SecurityFault as fault:
            reason = fault.subcode[1] if fault.subcode else ""
            nobody = Caller(node=node, endpoint=endpoint)
            await self._record(
                user_authentication_failure(claimed=fault.claimed, node=node, reason=reason),
                *audit(request, None, nobody, Outcome.SERIOUS_FAILURE),
            )
            raise _unauthorized(fault, bearer_given) from None

    async def _record(self, *described: AuditEvent) -> None:
        await self._parts.recorder.record(described)

    # -- out

    async def _send(
        self, scope: Scope, send: Send, request: RetrieveRequest, response: RetrieveResponse, caller: Caller
    ) -> None:
        try:
            await self._send_response(scope, send, request, response)
        except ClientGone:
            await self._record_broken(request, caller)
        except (FileTruncated, OSError):
            _log.error("a response broke off", path=_below(scope))
            await self._record_broken(request, caller)
            raise

    async def _record_broken(self, request: RetrieveRequest, caller: Caller) -> None:
        """A response that was recorded as sent was not sent in full: a second event says so."""
        with suppress(AuditUnavailable):
            await self._record(*audit(request, None, caller, Outcome.SERIOUS_FAILURE))

    async def _send_response(
        self, scope: Scope, send: Send, request: RetrieveRequest, response: RetrieveResponse
    ) -> None:
        caching = [(b"etag", response.etag.encode()), (b"cache-control", b"private, no-cache")]
        if response.status is HTTPStatus.NOT_MODIFIED:
            await send_body(send, status=response.status, headers=caching)
        elif response.given:
            content_type, pieces = self._pieces(request, response.given)
            headers = [(b"content-type", content_type.encode()), *caching]
            await send_pieces(scope, send, status=response.status, headers=headers, pieces=pieces)
        elif response.described:
            await self._send_metadata(send, response, caching)
        else:
            await _send_problem(send, _Problem(response.status, response.reason))

    def _pieces(self, request: RetrieveRequest, given: Sequence[Given]) -> tuple[str, list[Piece]]:
        assert request.acceptable is not None
        if request.acceptable.form is Form.SINGLE_DICOM:
            return _part_type(given[0]), [given[0].file]
        boundary = multipart.new_boundary()
        pieces: list[Piece] = []
        for one in given:
            headers = [("Content-Type", _part_type(one)), ("Content-Location", self._location(one.instance))]
            pieces += [multipart.part_head(boundary, headers), one.file]
        return multipart.content_type(boundary), [*pieces, multipart.closing(boundary)]

    def _location(self, instance: Instance) -> str:
        return (
            f"{self._parts.settings.dicomweb_url}/studies/{instance.study_instance_uid}"
            f"/series/{instance.series_instance_uid}/instances/{instance.sop_instance_uid}"
        )

    async def _send_metadata(
        self, send: Send, response: RetrieveResponse, caching: list[tuple[bytes, bytes]]
    ) -> None:
        headers = [(b"content-type", negotiation.DICOM_JSON.encode()), *caching]
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        async with aclosing(self._members(response.described)) as members:
            async for octets in members:
                await send({"type": "http.response.body", "body": octets, "more_body": True})
        await send({"type": "http.response.body", "body": b"]", "more_body": False})

    async def _members(self, described: Sequence[Instance]) -> AsyncGenerator[bytes, None]:
        separator = b"["
        base = self._parts.settings.dicomweb_url
        async for octets in self._parts.instances.each_metadata(described):
            yield separator + with_base(octets, base)
            separator = b","


_RETRY: Final = (b"retry-after", b"5")


def _counted(status: HTTPStatus) -> Counted:
    if status is HTTPStatus.PARTIAL_CONTENT:
        return Counted.PARTIAL
    return Counted.SUCCESS if status < HTTPStatus.BAD_REQUEST else Counted.FAILURE


def _part_type(given: Given) -> str:
    return f"{negotiation.DICOM}; transfer-syntax={given.transfer_syntax_uid}"


def _headers(scope: Scope) -> dict[str, str]:
    """The headers by lower-case name; repeated ones are one list."""
    found: dict[str, str] = {}
    for name, value in scope["headers"]:
        key, text = name.decode("latin-1"), value.decode("latin-1")
        found[key] = f"{found[key]}, {text}" if key in found else text
    return found


def _query(scope: Scope) -> str | None:
    given = parse_qs(scope.get("query_string", b"").decode("latin-1"), max_num_fields=50)
    return ", ".join(given["accept"]) if "accept" in given else None


def _below(scope: Scope) -> str:
    path = str(scope["path"])
    return path[path.find("/studies/") :]


def _unauthorized(fault: SecurityFault, bearer_given: bool) -> _Problem:
    challenge = 'Bearer realm="xdsi"' + (', error="invalid_token"' if bearer_given else "")
    return _Problem(HTTPStatus.UNAUTHORIZED, fault.reason, (b"www-authenticate", challenge.encode()))


async def _send_problem(send: Send, problem: _Problem) -> None:
    body = json.dumps({"status": problem.status, "detail": problem.reason}, ensure_ascii=False).encode()
    headers = [(b"content-type", b"application/problem+json"), *problem.headers]
    await send_body(send, status=problem.status, headers=headers, body=body)
