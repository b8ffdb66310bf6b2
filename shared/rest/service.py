"""The way of one REST request: node, authenticate, decode, perform, encode, send, count.

What holds for every request, its host and its site, was looked at before (`shared.http.guard`). Nothing
leaves before its audit event is durable. With the pipeline of SOAP this is the one place that catches what
nobody expected.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Any, Protocol, TypeVar

from starlette.routing import BaseRoute, Route

from shared.attempts import to_its_end
from shared.audit.events import Outcome
from shared.audit.recorder import AuditUnavailable
from shared.http.address import called
from shared.http.problem import HttpProblem
from shared.http.raw_asgi import (
    BodyBroken,
    ClientGone,
    Receive,
    Scope,
    Send,
    send_body,
    send_pieces,
    send_stream,
)
from shared.perform import EventRecorder, UnitFactory, perform
from shared.rest.entrance import entered
from shared.rest.error_form import ErrorForm, ProblemDetails
from shared.rest.message import HttpRequest, HttpResponse
from shared.rest.problems import problem_of
from shared.rest.protected_resource import metadata_route
from shared.rest.scheme import Bearer, Scheme
from shared.rest.served import ServedRest
from shared.security.caller import Caller, Node
from shared.security.rights import Right
from shared.security.scopes import NeededScope
from shared.security.speaker import Speaker
from shared.settings import ServiceSettings
from shared.telemetry.log import logger
from shared.telemetry.metrics import Metrics, Result
from shared.telemetry.trace import BROKEN_OFF, asked_for, ended

_log = logger(__name__)

Value = TypeVar("Value")


class RestAuthenticator(Protocol):
    """Proves who is calling (`shared.security.authenticator.Authenticator`)."""

    async def caller(
        self,
        node: Node,
        *,
        door: str,
        right: Right,
        endpoint: str,
        bearer: str | None,
        speaker_is_user: bool,
        needed: NeededScope,
    ) -> Caller:
        """The caller, or a `SecurityFault`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RestService:
    """The REST endpoints of one service; wired in its `app.py`, where `routes` go to the router.

    `schemes`, beside `Bearer`, and `error_forms` are what its transactions name, one value of each.
    """

    unit: UnitFactory
    authenticator: RestAuthenticator
    recorder: EventRecorder
    settings: ServiceSettings
    metrics: Metrics
    schemes: Sequence[Scheme] = ()
    error_forms: Sequence[ErrorForm] = (ProblemDetails(),)

    def routes(self, served: Sequence[ServedRest[Any, Any]]) -> list[BaseRoute]:
        """The routes of what is served, in its order."""
        routes: list[BaseRoute] = []
        for one in served:
            for route in one.routes:
                method, _, path = route.partition(" ")
                routes.append(Route(path, _Endpoint(self, one, route), methods=[method]))
        scopes = sorted({one.needed.name for one in served if one.scheme is Bearer})
        if scopes and self.settings.token.issuers:
            routes.append(metadata_route(self.settings, scopes))
        return routes

    @property
    def bearer(self) -> Bearer:
        """How tokens come to this service."""
        return Bearer(public_url=self.settings.public_url, has_metadata=bool(self.settings.token.issuers))


@dataclass(slots=True)
class _Exchange:
    """What is known so far of one request; the end of it needs what the steps before found."""

    message: HttpRequest
    request: Any = None
    caller: Caller | None = None
    performed: bool = False
    result: Result = Result.FAULT


class _Endpoint:
    """One route of one transaction, as an ASGI application."""

    def __init__(self, service: RestService, served: ServedRest[Any, Any], route: str) -> None:
        self._service = service
        self._served = served
        self._route = route
        self._door = served.door(route)
        self._scheme = _value_of(served.scheme, (*service.schemes, service.bearer))
        self._error_form = _value_of(served.error_form, service.error_forms)
        self._expected = (HttpProblem, ClientGone, *served.problems)
        self._metrics = service.metrics.transaction(served.number or served.name)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = _Exchange(HttpRequest(scope, receive, self._route))
        asked_for(self._served.number or self._served.name, self._route)
        try:
            with self._metrics.measure() as counted:
                response = await self._reply(exchange)
                counted(exchange.result)
            ended(exchange.result)
            await self._send(exchange, response, send)
        except ClientGone:
            _log.info("client gone", door=self._door)
            ended(BROKEN_OFF)

    # --- every end of the way ------------------------------------------------------------------------

    async def _reply(self, exchange: _Exchange) -> HttpResponse:
        try:
            response = await self._answer(exchange)
        except ClientGone:
            raise
        except Exception as error:
            problem = problem_of(error, self._served.problems)
            exchange.result = _refused(problem.status, performed=exchange.caller is not None)
            return self._error_form.response(problem, exchange.message)
        exchange.result = _answered(response.status)
        return response

    # --- the way -------------------------------------------------------------------------------------

    async def _answer(self, exchange: _Exchange) -> HttpResponse:
        served, service = self._served, self._service
        caller = await self._caller(exchange.message)
        exchange.request = await served.decode(exchange.message)
        exchange.caller = caller
        response = await perform(
            served, service.unit, exchange.request, caller, service.recorder, expected=self._expected
        )
        encoded = served.answered(exchange.message, served.encode(response))
        exchange.performed = True
        return encoded

    async def _caller(self, message: HttpRequest) -> Caller:
        return await entered(
            message,
            partial(self._proved, called(message.scope, self._service.settings.public_url)),
            scheme=self._scheme,
            refusals=self._service.recorder.refusals,
            door=self._door,
        )

    async def _proved(self, endpoint: str, node: Node, token: str | None) -> Caller:
        served = self._served
        if served.right is None:
            return Caller(node=node, endpoint=endpoint)
        return await self._service.authenticator.caller(
            node,
            door=self._door,
            right=served.right,
            endpoint=endpoint,
            bearer=token,
            speaker_is_user=served.speaker is Speaker.USER,
            needed=served.needed,
        )

    async def _send(self, exchange: _Exchange, response: HttpResponse, send: Send) -> None:
        try:
            await _sent(exchange.message, response, send)
        except (ClientGone, BodyBroken, OSError, asyncio.CancelledError) as error:
            await to_its_end(self._record_broken(exchange, error))
            raise
        finally:
            if response.sent is not None:
                response.sent()

    async def _record_broken(self, exchange: _Exchange, error: BaseException) -> None:
        """A response that was recorded as sent was not received in full: a second event says so."""
        _log.warning("response broken off", door=self._door, error=type(error).__name__)
        ended(BROKEN_OFF)
        if not exchange.performed or exchange.caller is None:
            return
        events = self._served.audit(exchange.request, None, exchange.caller, Outcome.SERIOUS_FAILURE)
        try:
            await self._service.recorder.record(events)
        except AuditUnavailable:
            _log.error("a broken response could not be recorded", door=self._door)


async def _sent(message: HttpRequest, response: HttpResponse, send: Send) -> None:
    status, headers, pieces = response.status, response.fields, response.pieces
    if response.stream is not None:
        await send_stream(message.receive, send, status=status, headers=headers, chunks=response.stream)
    elif len(pieces) == 1 and isinstance(pieces[0], bytes):
        await send_body(send, status=status, headers=headers, body=pieces[0])
    else:
        await send_pieces(message.scope, send, status=status, headers=headers, pieces=pieces)


def _value_of(kind: type[Value], values: Sequence[Value]) -> Value:
    return next(value for value in values if isinstance(value, kind))


def _answered(status: HTTPStatus) -> Result:
    if status is HTTPStatus.PARTIAL_CONTENT:
        return Result.PARTIAL
    return Result.SUCCESS if status < HTTPStatus.BAD_REQUEST else Result.FAILURE


def _refused(status: HTTPStatus, *, performed: bool) -> Result:
    if status is HTTPStatus.INTERNAL_SERVER_ERROR:
        return Result.ERROR
    return Result.FAILURE if performed else Result.FAULT
