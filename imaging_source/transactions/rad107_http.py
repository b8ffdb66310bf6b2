"""WADO-RS Retrieve [RAD-107] over HTTP: raw ASGI endpoints (PS3.18 8, 10.4).

Files leave by the zero-copy job of the server, metadata a few instances at a time.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, suppress
from enum import Enum, auto
from http import HTTPStatus
from typing import ClassVar, Final
from urllib.parse import parse_qs

from starlette.routing import BaseRoute, Route

from imaging_source.domain import negotiation
from imaging_source.domain.bulk_data import BulkValue, path_of
from imaging_source.domain.instance import Instance
from imaging_source.domain.negotiation import Acceptable, Form
from imaging_source.transactions.rad107 import (
    PERFORMED,
    Given,
    RetrieveRequest,
    RetrieveResponse,
    audit,
)
from imaging_source.unit import Parts, Unit
from shared.audit.events import AuditEvent, Outcome
from shared.audit.recorder import AuditUnavailable
from shared.dicom import multipart
from shared.dicom.json import with_base
from shared.dicom.uids import UID_FORM, is_uid
from shared.faults import NodeRefused, SecurityFault
from shared.http.address import called
from shared.http.pieces import FileTruncated
from shared.http.problem import (
    CONTENT_TYPE,
    BadRequest,
    Forbidden,
    HttpProblem,
    InternalProblem,
    NotAcceptable,
    NotFound,
    Unauthorized,
    Unavailable,
)
from shared.http.raw_asgi import ClientGone, Piece, Receive, Scope, Send, node_of, send_body, send_pieces
from shared.perform import InternalError, perform
from shared.security.caller import Caller
from shared.telemetry.log import logger
from shared.telemetry.metrics import Result, TransactionMetrics

_log = logger(__name__)

_PATHS: Final = (
    "/studies/{study}",
    "/studies/{study}/series/{series}",
    "/studies/{study}/series/{series}/instances/{instance}",
)


_MAX_QUERY_FIELDS: Final = 50


class _BearerNeeded(Unauthorized):
    """Nobody is named."""

    headers: ClassVar[Mapping[str, str]] = {"www-authenticate": 'Bearer realm="xdsi"'}


class _BearerRefused(Unauthorized):
    """The token that came is not accepted."""

    headers: ClassVar[Mapping[str, str]] = {"www-authenticate": 'Bearer realm="xdsi", error="invalid_token"'}


_UNANSWERED: Final[Mapping[HTTPStatus, type[HttpProblem]]] = {
    kind.status: kind for kind in (NotFound, NotAcceptable, InternalProblem)
}

UnitFactory = Callable[[Caller], AbstractAsyncContextManager[Unit]]


def routes(prefix: str, parts: Parts, unit: UnitFactory, metrics: TransactionMetrics) -> list[BaseRoute]:
    """The routes of WADO-RS below `prefix`, for the application's router."""
    found: list[BaseRoute] = []
    for path in _PATHS:
        for suffix in ("", "/metadata"):
            resource = _Resource.METADATA if suffix else _Resource.INSTANCES
            endpoint = _Endpoint(parts, unit, metrics, resource)
            found.append(Route(f"{prefix}{path}{suffix}", endpoint, methods=["GET"]))
    bulk_data = _Endpoint(parts, unit, metrics, _Resource.BULK_DATA)
    found.append(Route(f"{prefix}{_PATHS[-1]}/bulkdata/{{bulk:path}}", bulk_data, methods=["GET"]))
    return found


class _Resource(Enum):
    """What a path ends in."""

    INSTANCES = auto()
    METADATA = auto()
    BULK_DATA = auto()


class _Endpoint:
    """One resource, as an ASGI application."""

    def __init__(
        self, parts: Parts, unit: UnitFactory, metrics: TransactionMetrics, resource: _Resource
    ) -> None:
        self._parts = parts
        self._unit = unit
        self._metrics = metrics
        self._resource = resource

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._metrics.measure() as counted:
            try:
                request = self._request(scope)
                caller = await self._caller(scope)
                response = await perform(PERFORMED, self._unit, request, caller, self._parts.recorder)
            except HttpProblem as problem:
                counted(Result.FAULT)
                await _send_problem(send, problem)
                return
            except InternalError as error:
                await _send_problem(send, InternalProblem(str(error)))
                return
            except AuditUnavailable:
                reason = "the audit trail cannot be written now; nothing is answered without it"
                await _send_problem(send, Unavailable(reason))
                return
            counted(_counted(response.status))
        await self._send(scope, send, request, response, caller)

    # -- in

    def _request(self, scope: Scope) -> RetrieveRequest:
        uids = dict(scope["path_params"])
        bulk = self._bulk(uids.pop("bulk", ""))
        if not all(map(is_uid, uids.values())):
            raise BadRequest(f"the path holds something that is no UID: {UID_FORM}")
        headers = _headers(scope)
        try:
            acceptable = self._acceptable(headers.get("accept"), _query(scope), single="instance" in uids)
        except negotiation.Malformed as error:
            raise BadRequest(str(error)) from None
        except negotiation.NotAcceptable as error:
            raise NotAcceptable(str(error)) from None
        return RetrieveRequest(
            study_instance_uid=uids["study"],
            series_instance_uid=uids.get("series", ""),
            sop_instance_uid=uids.get("instance", ""),
            acceptable=acceptable,
            bulk=bulk,
            if_none_match=headers.get("if-none-match", ""),
        )

    def _acceptable(self, header: str | None, query: str | None, *, single: bool) -> Acceptable | None:
        if self._resource is _Resource.INSTANCES:
            return negotiation.instances(header, query, single=single)
        self._form(header, query)
        return None

    def _form(self, header: str | None, query: str | None) -> Form:
        """How metadata and bulk data are given."""
        if self._resource is _Resource.METADATA:
            return negotiation.metadata(header, query)
        return negotiation.bulk_data(header, query)

    def _bulk(self, text: str) -> tuple[str, ...]:
        path = path_of(text)
        if self._resource is _Resource.BULK_DATA and not path:
            raise NotFound("there is no such value; metadata name those that are given apart")
        return path

    async def _caller(self, scope: Scope) -> Caller:
        endpoint = called(scope, self._parts.settings.public_url)
        node = node_of(scope)
        scheme, _, bearer = _headers(scope).get("authorization", "").partition(" ")
        bearer_given = scheme.lower() == "bearer"
        try:
            return await self._parts.authenticator.caller(
                node,
                door="RAD-107",
                endpoint=endpoint,
                bearer=bearer.strip() if bearer_given else None,
                speaker_is_user=True,
            )
        except NodeRefused as fault:
            await self._parts.recorder.refusals.node(node.address, fault.detail)
            raise Forbidden(fault.reason) from None
        except SecurityFault as fault:
            await self._parts.recorder.refusals.user(fault, node, transaction="RAD-107")
            raise (_BearerRefused if bearer_given else _BearerNeeded)(fault.reason) from None

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
        elif response.value is not None:
            form = self._form(_headers(scope).get("accept"), _query(scope))
            content_type, pieces = _value_pieces(
                form, response.value, f"{self._parts.settings.dicomweb_url}{_below(scope)}"
            )
            headers = [(b"content-type", content_type.encode()), *caching]
            await send_pieces(scope, send, status=response.status, headers=headers, pieces=pieces)
        elif response.described:
            await self._send_metadata(send, response, caching)
        else:
            await _send_problem(send, _UNANSWERED[response.status](response.reason))

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
        async with aclosing(self._pieces_of(response.described)) as pieces:
            async for octets in pieces:
                await send({"type": "http.response.body", "body": octets, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _pieces_of(self, described: Sequence[Instance]) -> AsyncGenerator[bytes, None]:
        base = self._parts.settings.dicomweb_url
        async for octets in self._parts.instances.metadata_array(described):
            yield with_base(octets, base)


def _counted(status: HTTPStatus) -> Result:
    if status is HTTPStatus.PARTIAL_CONTENT:
        return Result.PARTIAL
    return Result.SUCCESS if status < HTTPStatus.BAD_REQUEST else Result.FAILURE


def _value_pieces(form: Form, value: BulkValue, location: str) -> tuple[str, list[Piece]]:
    if form is Form.SINGLE_OCTETS:
        return value.media_type, list(value.pieces)
    boundary = multipart.new_boundary()
    headers = [("Content-Type", value.media_type), ("Content-Location", location)]
    head = multipart.part_head(boundary, headers)
    return (
        multipart.content_type(boundary, value.media_type),
        [head, *value.pieces, multipart.closing(boundary)],
    )


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
    # A plus sign is itself here: in application/dicom+json it means no blank, as it would in a form.
    query = scope.get("query_string", b"").decode("latin-1").replace("+", "%2B")
    try:
        given = parse_qs(query, max_num_fields=_MAX_QUERY_FIELDS)
    except ValueError:
        raise BadRequest(f"the query has more than {_MAX_QUERY_FIELDS} parameters") from None
    return ", ".join(given["accept"]) if "accept" in given else None


def _below(scope: Scope) -> str:
    path = str(scope["path"])
    return path[path.find("/studies/") :]


async def _send_problem(send: Send, problem: HttpProblem) -> None:
    named = {"content-type": CONTENT_TYPE, **problem.headers}
    headers = [(name.encode(), value.encode()) for name, value in named.items()]
    await send_body(send, status=problem.status, headers=headers, body=problem.body())
