"""One association: its bounded upper layer, who is at the other end, and what came by it."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping
from queue import Empty
from typing import Any, Final, TypeVar

from pynetdicom.association import MODE_ACCEPTOR, Association
from pynetdicom.dimse_primitives import C_CANCEL, C_STORE, DimseServiceType
from pynetdicom.pdu_primitives import A_RELEASE

from imaging_source.dimse.command_set import Command, Element, command_set
from imaging_source.dimse.parts import COMMENT_LENGTH, RAD18, AssociationParts, result_of, who_may
from imaging_source.dimse.places import ConnectionPlace
from imaging_source.dimse.provider import UpperLayerProvider
from imaging_source.dimse.upper_layer import BoundedMachine, BoundedMessages, BoundedSocket, DataSetFile
from imaging_source.domain.exchange import EntityAddress, Exchange
from imaging_source.domain.intake import MISMATCH, NOT_AUTHORIZED, Refused
from imaging_source.domain.transfer import Sender
from imaging_source.settings.entities import DimseService
from imaging_source.store.incoming import Incoming
from imaging_source.store.transfers import Transfer
from shared.attempts import attempted
from shared.audit.recorder import AuditUnavailable
from shared.security.caller import Caller, Node
from shared.security.rights import REJECTION_NOTE
from shared.store.failures import DatabaseError
from shared.telemetry.trace import Span

_log = logging.getLogger(__name__)

_JOIN_SECONDS: Final = 5.0
_ABORT_SECONDS: Final = 1.0
_GLANCE_SECONDS: Final = 0.25
_MOMENT_SECONDS: Final = 0.002
_DATA_TRANSFER: Final = "Sta6"

Result = TypeVar("Result")

Serve = Callable[["AcceptedAssociation", Any, Any], None]
"""Serves one request, of this association, in a presentation context; answers it."""


class AcceptedAssociation(Association):  # type: ignore[misc]  # not typed
    """An association as acceptor; a thread, whose end concludes what came by it."""

    def __init__(
        self,
        ae: Any,
        service: AssociationParts,
        connection: socket.socket,
        node: Node,
        ended: Callable[[AcceptedAssociation], None],
        services: Mapping[type, Serve],
    ) -> None:
        super().__init__(ae, MODE_ACCEPTOR)
        settings = service.settings
        self.service = service
        self.node = node
        self.address = node.address
        self.place: ConnectionPlace
        # What comes by one association is one trace.
        self.traceparent = Span("DIMSE").traceparent.encode()
        # Where the peer reached us: the address that is listened on may be any.
        self.own_address = service.settings.public_host or str(connection.getsockname()[0])
        self._services = services
        self._admitted: dict[DimseService, bool] = {}
        self.dul = UpperLayerProvider(self)
        # Kept by the provider, which is another now.
        self.acse_timeout, self.network_timeout = ae.acse_timeout, ae.network_timeout
        self.messages = BoundedMessages(self, self._new_file)
        self.dimse = self.messages
        self._ended = ended
        self._transfer: Transfer | None = None
        bounded = BoundedSocket(self, client_socket=connection)
        bounded.limit(max_pdu_bytes=settings.max_pdu_bytes, idle_seconds=settings.dimse_idle_seconds)
        self.set_socket(bounded)
        self.dul.state_machine = BoundedMachine(self.dul)

    @property
    def transfer(self) -> Transfer:
        """What came by this association, under the names that were negotiated."""
        if self._transfer is None:
            may_reject = self.service.rights.may(self.node, REJECTION_NOTE)
            self._transfer = Transfer(sender=self._sender(), sent_by=self.calling, may_reject=may_reject)
        return self._transfer

    @property
    def calling(self) -> str:
        """The AE title that the peer calls itself."""
        return str(self.requestor.ae_title)

    def may(self, service: DimseService) -> bool:
        """Whether the node may ask for this here; that it may not is recorded once."""
        # Asked anew each time: the node may lose its right while the association lasts.
        if self._admitted.get(service, True):
            self._admitted[service] = self.service.admits(self.calling, self.node, service)
        return self._admitted[service]

    @property
    def transfers(self) -> bool:
        """Whether data go by it still: nobody has ended it, or wishes to (PS3.8 table 9-6)."""
        return bool(self.is_established and self.dul.state_machine.current_state == _DATA_TRANSFER)

    @property
    def may_any(self) -> bool:
        """Whether the node may ask for anything here."""
        entities = self.service.entities
        if any(entities.may(self.calling, self.node, service) for service in DimseService):
            return True
        return self.may(DimseService.STORE)

    def caller(self) -> Caller:
        """Who asks: the node, for no user."""
        return Caller(
            node=self.node,
            endpoint=f"{self.own_address} {self.acceptor.ae_title}",
            community_node=self.service.rights.community(self.node),
        )

    def response(self) -> DimseServiceType | None:
        """The answer to a request of ours; None when there is none in time, or the association ends."""
        deadline = time.monotonic() + self.service.settings.dimse_idle_seconds
        while time.monotonic() < deadline:
            try:
                response: DimseServiceType | None = self.messages.msg_queue.get(timeout=_GLANCE_SECONDS)[1]
            except Empty:
                # Whoever wants to release the association answers no more (PS3.8 7.2.2).
                if isinstance(self.dul.peek_next_pdu(), A_RELEASE):
                    break
            else:
                return response
        return None

    def answer(
        self,
        context: Any,
        command: Command,
        elements: Mapping[Element, str | int],
        data_set: Iterable[bytes] | None = None,
    ) -> bool:
        """Send a message in a presentation context; false when the connection has ended."""
        octets = command_set(command, elements, has_data_set=data_set is not None)
        if data_set is None:
            return self.messages.send_command(context.context_id, octets)
        return self.messages.send(context.context_id, octets, data_set)

    def on_loop(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Run `work` on the event loop of the service and wait for it."""
        return self.service.on_loop(work)

    def run_reactor(self) -> None:
        """Serve the association to its end, then leave nothing of it open."""
        try:
            # pynetdicom negotiates what the peer wrote with no exception of its own for what cannot be.
            failure = attempted(super().run_reactor)
            if isinstance(failure, Exception):
                _log.warning("an association was aborted by a %s", type(failure).__name__)
                self.dul.state_machine.cut()
        finally:
            if self.dul.is_alive():
                self.dul.kill_dul()
                self.dul.join(_JOIN_SECONDS)
            self.messages.close()
            try:
                self._conclude()
            finally:
                self._ended(self)

    def end(self) -> None:
        """End the association from outside: A-ABORT where it is established, then close the connection."""
        if self.is_established:
            self.abort(block=False)
            deadline = time.monotonic() + _ABORT_SECONDS
            while self.dul.is_alive() and self.dul.state_machine.current_state == _DATA_TRANSFER:
                if time.monotonic() > deadline:
                    break
                time.sleep(0.005)
        self.dul.socket._shutdown_socket()
        # Whoever waits for the peer's next word waits for nothing.
        self.dul.to_user_queue.put(None)
        self.kill()

    def _serve_request(self, msg: DimseServiceType, context_id: int) -> None:
        """Serve a request and those that follow at once, between which pynetdicom's reactor would sleep."""
        following: DimseServiceType | None = msg
        context_of_it: int | None = context_id
        while following is not None and context_of_it is not None:
            self._serve_one(following, context_of_it)
            if not self.transfers:
                break
            context_of_it, following = self.messages.following(_MOMENT_SECONDS)

    def _serve_one(self, msg: DimseServiceType, context_id: int) -> None:
        """Serve one request; C-STORE for any SOP class that was negotiated, retired ones included."""
        context = self._accepted_cx.get(context_id)
        if not msg.is_valid_request:
            self._refuse(msg, context)
        elif context is not None and (serve := self._services.get(type(msg))):
            self._serve(serve, msg, context)
        else:
            super()._serve_request(msg, context_id)

    def _serve(self, serve: Serve, msg: DimseServiceType, context: Any) -> None:
        failure = attempted(lambda: serve(self, msg, context))
        # A cancellation that came too late is of no other request.
        self.messages.cancel_req = {}
        if isinstance(failure, Exception):
            _log.error("a request could not be answered; the association is aborted", exc_info=failure)
            self.abort()

    def _refuse(self, msg: DimseServiceType, context: Any) -> None:
        """Answer what lacks an element of its command (PS3.7 9.3); a peer shall not wait for it."""
        if isinstance(msg, C_STORE) and msg.MessageID is not None and context is not None:
            self._refuse_unnamed(msg, context)
        elif not isinstance(msg, C_CANCEL):
            _log.warning("a DIMSE message is no request; the association is aborted")
            self.abort()

    def _refuse_unnamed(self, request: C_STORE, context: Any) -> None:
        """Answer a request without SOP class or instance, of which pynetdicom makes no event."""
        if isinstance(request.DataSet, DataSetFile):
            request.DataSet.discard()
        refused = Refused(MISMATCH, "the request names a SOP class or instance by no UID")
        with Span("DIMSE", self.traceparent, transaction=RAD18.code) as span:
            span.outcome = result_of(refused.status)
            self.on_loop(self.service.store.refuse(refused, self.transfer))
        answer = C_STORE()
        answer.MessageIDBeingRespondedTo = request.MessageID
        answer.AffectedSOPClassUID = context.abstract_syntax
        answer.Status = refused.status
        answer.ErrorComment = refused.reason[:COMMENT_LENGTH]
        self.dimse.send_msg(answer, context.context_id)

    def _new_file(self) -> Incoming:
        if not self.may(DimseService.STORE):
            raise Refused(NOT_AUTHORIZED, who_may(DimseService.STORE))
        return self.service.store.files.new(max_bytes=self.service.settings.max_instance_bytes)

    def _conclude(self) -> None:
        if self._transfer is None:
            return
        try:
            self.on_loop(self.service.store.conclude(self._transfer, self.service.recorder.record))
        except (AuditUnavailable, DatabaseError):
            _log.exception("the events of an association wait in the index")

    def _sender(self) -> Sender:
        return Sender(transaction=RAD18, participants=self.exchange().participants())

    def exchange(self, destination: EntityAddress | None = None) -> Exchange:
        """Who speaks here, under the names that were negotiated."""
        return Exchange(
            calling=EntityAddress(title=self.calling, host=self.address),
            called=EntityAddress(title=str(self.acceptor.ae_title), host=self.own_address),
            destination=destination,
        )
