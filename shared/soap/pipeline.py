"""The way of one SOAP request: receive, parse, authenticate, decode, handle, audit, encode, send.

A message that does not reach its semantics is answered with a fault, what IHE has a code for with an orderly
response. Nothing leaves before its audit event is durable. This is the one place that catches what nobody
expected.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import aclosing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from shared.attempts import to_its_end
from shared.audit.events import Outcome
from shared.audit.recorder import AuditUnavailable
from shared.errors import Actor, Busy, Rejected, XdsError
from shared.faults import ActionFault, NodeRefused, ReceiverFault, SecurityFault, SenderFault, SoapFault
from shared.http.address import called
from shared.http.gate import Gate
from shared.http.media_type import MULTIPART, SOAP_XML, MediaType, action_of, decode_media_type
from shared.http.raw_asgi import (
    PASSAGE,
    BodyBroken,
    BodyTooLarge,
    ClientGone,
    Receive,
    Scope,
    Send,
    ServerBusy,
    body_chunks,
    node_of,
    receive_body,
    send_body,
    send_passage,
    send_pieces,
    send_stream,
)
from shared.perform import (
    EventRecorder,
    InternalError,
    UnitFactory,
    errors_of,
    outcome_of,
    perform,
    relay_of,
    unexpected,
)
from shared.security.caller import Caller, Node
from shared.security.speaker import Speaker
from shared.settings import ServiceSettings
from shared.soap.envelope import (
    MAX_MESSAGE_ID,
    Envelope,
    check_addressing,
    encode_fault,
    encode_response,
    read_envelope,
    shown,
)
from shared.soap.exchange import EncodingRefused, Exchange, MessageTooLarge, Reply, ServiceUnavailable
from shared.soap.folding import parse_folded
from shared.soap.inline import extract
from shared.soap.mtom import MtomBody
from shared.soap.package import SoapLimits, passing_package, read_package, relay_package, write_package
from shared.soap.served import Served
from shared.soap.spooling import sweep
from shared.soap.wsdl import CONTENT_TYPE, at_address, read_wsdl
from shared.telemetry.log import logger
from shared.telemetry.metrics import Metrics, Result
from shared.telemetry.trace import BROKEN_OFF, asked_for, ended
from shared.xml import PRESCAN_BYTES, Element, XmlError

__all__ = [
    "EventRecorder",
    "InternalError",
    "SoapAuthenticator",
    "SoapLimits",
    "SoapService",
    "UnitFactory",
    "perform",
]

_log = logger(__name__)

RETRY_AFTER_SECONDS = 2
_LEFT_BEHIND_SECONDS = 3600.0
_SIMPLE = f"{SOAP_XML}; charset=UTF-8"


class SoapAuthenticator(Protocol):
    """Proves who is calling (`shared.security.authenticator.Authenticator`)."""

    async def caller(
        self,
        node: Node,
        *,
        door: str,
        endpoint: str,
        security_header: Element | None = None,
        bearer: str | None = None,
        speaker_is_user: bool,
        reply_to: str = "",
        message_id: str = "",
    ) -> Caller:
        """The caller, or a `SecurityFault`."""
        ...


@runtime_checkable
class _Graded(Protocol):
    """A response that says itself how far it succeeded (ebRS ResponseStatusType)."""

    @property
    def status(self) -> str:
        """The URI of its status."""
        ...


class SoapService:
    """The SOAP endpoint of one service; wired in its `app.py`, `asgi` is mounted under its path.

    Parameters
    ----------
    served
        What is served, found by `wsa:Action`.
    unit
        Makes the unit of work of one request.
    actor
        The form in which the service writes error codes.
    spool_folder
        Where documents are kept while their request lasts; made when absent. On the file system of the store,
        so that they can be moved there.
    metrics
        Counts each transaction, when given.
    description
        The name of the WSDL, when the service has several endpoints.
    """

    def __init__(
        self,
        served: Sequence[Served[Any, Any]],
        *,
        unit: UnitFactory,
        authenticator: SoapAuthenticator,
        recorder: EventRecorder,
        settings: ServiceSettings,
        actor: Actor,
        spool_folder: Path,
        limits: SoapLimits | None = None,
        metrics: Metrics | None = None,
        description: str = "",
    ) -> None:
        self._served = {one.transaction.action: one for one in served}
        if len(self._served) != len(served):
            raise ValueError("two served transactions have the same action")
        self._unit = unit
        self._authenticator = authenticator
        self._recorder = recorder
        self._settings = settings
        self._actor = actor
        self._folder = spool_folder
        self._limits = limits or SoapLimits()
        self._receiving = Gate(self._limits.receiving)
        self._working = Gate(self._limits.working)
        self._heavy = asyncio.Semaphore(self._limits.heavy)
        self._wsdl = read_wsdl(description or settings.service)
        self._metrics = {
            one.transaction.action: metrics.transaction(one.transaction.number) for one in served if metrics
        }
        self._folder.mkdir(parents=True, exist_ok=True)
        sweep(self._folder, older_than_seconds=_LEFT_BEHIND_SECONDS, now=time.time())

    async def asgi(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The raw ASGI endpoint: POST for messages, GET with `?wsdl` for the description."""
        if scope["method"] == "POST":
            await self._post(scope, receive, send)
        elif scope["method"] in ("GET", "HEAD") and _asks_wsdl(scope) and self._wsdl is not None:
            body = at_address(self._wsdl, called(scope, self._settings.public_url))
            await send_body(send, status=200, headers=[_header("content-type", CONTENT_TYPE)], body=body)
        else:
            await send_body(send, status=405, headers=[_header("allow", "POST")])

    async def _post(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = Exchange(scope, called(scope, self._settings.public_url), Node(address=_address(scope)))
        try:
            reply = await self._reply(exchange, receive)
            self._count(exchange)
            ended(exchange.result)
            await self._send(exchange, reply, receive, send)
        except ClientGone:
            _log.info("client gone", endpoint=exchange.endpoint)
            ended(BROKEN_OFF)
        finally:
            if exchange.relay is not None:
                await to_its_end(exchange.relay.aclose())
            if exchange.package.attachments:
                await to_its_end(asyncio.to_thread(exchange.package.discard))

    # --- every end of the way ------------------------------------------------------------------------

    async def _reply(self, exchange: Exchange, receive: Receive) -> Reply:
        try:
            return await self._answer(exchange, receive)
        except SoapFault as fault:
            return self._fault(exchange, fault)
        except XmlError as error:
            return self._fault(exchange, SenderFault(str(error)))
        except BodyTooLarge as error:
            return self._fault(
                exchange,
                MessageTooLarge(f"the message, its XML or one document is larger than {error.limit} bytes"),
            )
        except ServerBusy:
            return await self._busy(exchange)
        except AuditUnavailable:
            _log.error("refused, because nothing can be recorded", endpoint=exchange.endpoint)
            return self._fault(
                exchange,
                ServiceUnavailable("the audit trail cannot be written now; nothing is answered without it"),
            )
        except ClientGone:
            raise
        except Exception as error:
            return await self._mistake(exchange, error)

    def _fault(self, exchange: Exchange, fault: SoapFault) -> Reply:
        detail = fault.detail if isinstance(fault, SecurityFault) else ""
        subcode = fault.subcode[1] if fault.subcode else ""
        _log.warning("fault", endpoint=exchange.endpoint, code=fault.code, subcode=subcode, detail=detail)
        return self._envelope(exchange, fault.status, encode_fault(fault, exchange.message_id))

    async def _mistake(self, exchange: Exchange, error: Exception) -> Reply:
        """The answer to what nobody expected before or after `perform`: a full disk, or a mistake of ours."""
        exchange.result = Result.ERROR
        answer = unexpected(error)
        served = exchange.served or await self._asked_for(exchange)
        if served is None:
            return self._fault(exchange, ReceiverFault(answer.context))
        return self._encode(exchange, served, self._refusal(served, answer))

    async def _busy(self, exchange: Exchange) -> Reply:
        """Send away at once, in the form that was asked for: nobody was identified and nothing was done."""
        answer = Busy("the service takes no more work at once; try again in a moment")
        served = None if exchange.package.guarded else await self._asked_for(exchange)
        reply = (
            self._encode(exchange, served, self._refusal(served, answer))
            if served is not None
            else self._fault(exchange, ServiceUnavailable(answer.context))
        )
        return replace(reply, retry=True)

    async def _asked_for(self, exchange: Exchange) -> Served[Any, Any] | None:
        """What the message asked for, as far as it came: an answer in its own form is better than a fault."""
        with suppress(SoapFault, XmlError):
            if exchange.package.xml:
                return self._dispatch(exchange, await self._parse(exchange))
        return None

    def _refusal(self, served: Served[Any, Any], refused: XdsError | Rejected) -> Any:
        errors = refused.errors if isinstance(refused, Rejected) else (refused,)
        codes = [error.code_for(self._actor) for error in errors]
        # What cannot be recorded is not done, whatever it was: an operator has to know.
        tell = _log.error if isinstance(refused, AuditUnavailable) else _log.info
        tell("refused", transaction=served.transaction.number, codes=codes)
        for error in (refused, *errors):
            # What was at work when it was raised, thousands of rows maybe, shall not wait for the collector.
            error.__traceback__ = error.__context__ = error.__cause__ = None
        return served.transaction.failure(errors)

    # --- the way -------------------------------------------------------------------------------------

    async def _answer(self, exchange: Exchange, receive: Receive) -> Reply:
        exchange.node = await self._node(exchange)
        await self._receive(exchange, receive)
        exchange.received = time.perf_counter()
        with self._working.entered(exchange.node.peer):
            envelope = await self._parse(exchange)
            served = self._dispatch(exchange, envelope)
            caller = await self._authenticate(exchange, envelope, served)
            try:
                exchange.request = await self._decode(exchange, envelope, served)
                # Its tree is several times the message; it shall not wait for the disk with all the others.
                del envelope
                response = await perform(served, self._unit, exchange.request, caller, self._recorder)
                exchange.relay = relay_of(response)
            except (XdsError, Rejected) as refused:
                response = self._refusal(served, refused)
            exchange.result = _result(response)
            return self._encode(exchange, served, response)

    async def _node(self, exchange: Exchange) -> Node:
        try:
            return node_of(exchange.scope)
        except SecurityFault as fault:
            await self._recorder.refusals.node(exchange.node.address, fault.detail)
            raise

    async def _receive(self, exchange: Exchange, receive: Receive) -> None:
        headers = dict(exchange.scope["headers"])
        exchange.media_type = decode_media_type(headers.get(b"content-type", b"").decode("latin-1"))
        if exchange.media_type.name not in (SOAP_XML, MULTIPART, "text/xml", "application/xml"):
            raise SenderFault(
                f"send {SOAP_XML}, or {MULTIPART} for MTOM, not {shown(exchange.media_type.name)}"
            )
        if headers.get(b"content-encoding", b"identity").strip().lower() not in (b"", b"identity"):
            raise EncodingRefused("a Content-Encoding is not accepted here; send the message as it is")
        length = _length(headers.get(b"content-length", b""))
        self._admit(exchange.node, length)
        with self._receiving.entered(exchange.node.peer):
            await self._read(exchange, exchange.media_type, receive, length)

    def _admit(self, node: Node, length: int | None) -> None:
        """Send away before it is read what is too large, or could not be worked on."""
        if length is not None and length > self._limits.message_bytes:
            raise BodyTooLarge(self._limits.message_bytes)
        if self._working.full(node.peer) and (length is None or length > PRESCAN_BYTES):
            raise ServerBusy

    async def _read(
        self, exchange: Exchange, media_type: MediaType, receive: Receive, length: int | None
    ) -> None:
        if length is not None and length <= PRESCAN_BYTES and not exchange.mtom:
            exchange.package.xml = await receive_body(receive, limit=PRESCAN_BYTES)
            return
        async with aclosing(body_chunks(receive)) as chunks:
            await read_package(exchange.package, chunks, media_type, folder=self._folder, limits=self._limits)

    async def _parse(self, exchange: Exchange) -> Envelope:
        if exchange.package.guarded:
            envelope = read_envelope(await self._in_thread(parse_folded, exchange.package.xml))
        else:
            envelope = read_envelope(parse_folded(exchange.package.xml))
        if len(envelope.message_id) <= MAX_MESSAGE_ID:
            exchange.message_id = envelope.message_id
        return envelope

    async def _in_thread(self, work: Callable[..., Any], *arguments: Any) -> Any:
        async with self._heavy:
            return await asyncio.to_thread(work, *arguments)

    def _dispatch(self, exchange: Exchange, envelope: Envelope) -> Served[Any, Any]:
        """Find what is asked for by its action, and check that the message fits it (ITI TF-2 V.3)."""
        check_addressing(envelope)
        assert exchange.media_type is not None
        if exchange.media_type.name not in (SOAP_XML, MULTIPART):
            raise SenderFault(f"SOAP 1.2 is sent as {SOAP_XML}, not {exchange.media_type.name}")
        served = self._served.get(envelope.action)
        if served is None:
            raise ActionFault(
                "ActionNotSupported",
                f"{shown(envelope.action)} is not served here; served are {', '.join(self._served)}",
            )
        transaction = served.transaction
        asked_for(transaction.number)
        declared = action_of(exchange.media_type)
        if declared not in ("", envelope.action):
            raise ActionFault(
                "ActionMismatch",
                f"the Content-Type says action {shown(declared)} and wsa:Action {envelope.action}; "
                "both must be the same",
            )
        if exchange.mtom and not transaction.mtom:
            raise SenderFault(f"{transaction.number} is SIMPLE SOAP; send {SOAP_XML}, not MTOM")
        if transaction.mtom and not exchange.mtom:
            raise SenderFault(f"{transaction.number} is MTOM; send {MULTIPART} (XOP), not {SOAP_XML}")
        if envelope.body is None or envelope.body.tag != transaction.body_root:
            raise SenderFault(f"the Body of {transaction.number} must hold {transaction.body_root}")
        exchange.served = served
        return served

    async def _authenticate(self, exchange: Exchange, envelope: Envelope, served: Served[Any, Any]) -> Caller:
        try:
            if len(envelope.security) > 1:
                raise SecurityFault("InvalidSecurity", "more than one Security header is addressed to us")
            exchange.caller = await self._authenticator.caller(
                exchange.node,
                door=served.transaction.number,
                endpoint=exchange.endpoint,
                security_header=envelope.security[0] if envelope.security else None,
                speaker_is_user=served.speaker is Speaker.USER,
                message_id=envelope.message_id,
            )
        except NodeRefused as fault:
            await self._recorder.refusals.node(exchange.node.address, fault.detail)
            raise
        except SecurityFault as fault:
            # Of what is refused nothing more is read, not even for the trail.
            await self._recorder.refusals.user(fault, exchange.node, transaction=served.transaction.number)
            raise
        return exchange.caller

    async def _decode(self, exchange: Exchange, envelope: Envelope, served: Served[Any, Any]) -> Any:
        if exchange.package.guarded:
            return await self._in_thread(self._decoded, exchange, envelope, served)
        return self._decoded(exchange, envelope, served)

    def _decoded(self, exchange: Exchange, envelope: Envelope, served: Served[Any, Any]) -> Any:
        transaction, attachments = served.transaction, exchange.package.attachments
        assert envelope.body is not None
        if transaction.mtom:
            attachments.update(extract(envelope.body, self._folder))
        return transaction.decode_request(envelope.body, attachments)

    def _encode(self, exchange: Exchange, served: Served[Any, Any], response: Any) -> Reply:
        transaction = served.transaction
        body = transaction.encode_response(response)
        return self._envelope(
            exchange, 200, encode_response(transaction.response_action, exchange.message_id, body.xml), body
        )

    def _envelope(
        self, exchange: Exchange, status: int, envelope: bytes, body: MtomBody | None = None
    ) -> Reply:
        """The envelope in the encoding of the request."""
        if not exchange.mtom:
            return Reply(status, _SIMPLE, (envelope,))
        if body and body.relay:
            source = body.relay.one_source if PASSAGE in exchange.scope.get("extensions", ()) else None
            if source is not None:
                content_type, passage = passing_package(envelope, source)
                return Reply(status, content_type, passage=passage)
            content_type, stream = relay_package(envelope, body.relay)
            return Reply(status, content_type, stream=stream)
        content_type, pieces = write_package(envelope, body.attachments if body else ())
        return Reply(status, content_type, pieces)

    async def _send(self, exchange: Exchange, reply: Reply, receive: Receive, send: Send) -> None:
        headers = [_header("content-type", reply.content_type)]
        if reply.retry:
            headers.append(_header("retry-after", str(RETRY_AFTER_SECONDS)))
        if len(reply.pieces) == 1 and isinstance(reply.pieces[0], bytes):
            await send_body(send, status=reply.status, headers=headers, body=reply.pieces[0])
            return
        try:
            if reply.passage is not None:
                await send_passage(
                    exchange.scope, send, status=reply.status, headers=headers, passage=reply.passage
                )
                return
            if reply.stream is not None:
                await send_stream(receive, send, status=reply.status, headers=headers, chunks=reply.stream)
                return
            await send_pieces(exchange.scope, send, status=reply.status, headers=headers, pieces=reply.pieces)
        except (ClientGone, BodyBroken, OSError, asyncio.CancelledError) as error:
            await to_its_end(self._record_broken(exchange, error))
            raise

    async def _record_broken(self, exchange: Exchange, error: BaseException) -> None:
        """A response that was recorded as sent was not received in full: a second event says so."""
        _log.warning("response broken off", endpoint=exchange.endpoint, error=type(error).__name__)
        ended(BROKEN_OFF)
        if exchange.served is None or exchange.caller is None:
            return
        events = exchange.served.audit(exchange.request, None, exchange.caller, Outcome.SERIOUS_FAILURE)
        try:
            await self._recorder.record(events)
        except AuditUnavailable:
            _log.error("a broken response could not be recorded", endpoint=exchange.endpoint)

    # --- surroundings --------------------------------------------------------------------------------

    def _count(self, exchange: Exchange) -> None:
        if exchange.served is None or exchange.received == 0.0:
            return
        counted = self._metrics.get(exchange.served.transaction.action)
        if counted is not None:
            counted.count(exchange.result, time.perf_counter() - exchange.received)


def _result(response: Any) -> Result:
    if any(isinstance(error, InternalError) for error in errors_of(response)):
        return Result.ERROR
    if outcome_of(response) is Outcome.SUCCESS:
        return Result.SUCCESS
    partial = isinstance(response, _Graded) and response.status.endswith("PartialSuccess")
    return Result.PARTIAL if partial else Result.FAILURE


def _length(content_length: bytes) -> int | None:
    """The announced length; None when there is none. A length beyond any limit need not be exact."""
    return int(content_length[:18]) if content_length.isdigit() else None


def _asks_wsdl(scope: Scope) -> bool:
    return bool(scope.get("query_string", b"").lower() in (b"wsdl", b"singlewsdl"))


def _address(scope: Scope) -> str:
    client = scope.get("client")
    return str(client[0]) if client else ""


def _header(name: str, value: str) -> tuple[bytes, bytes]:
    return name.encode("ascii"), value.encode("latin-1")
