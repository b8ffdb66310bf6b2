"""One association: its bounded upper layer, who is at the other end, and what came by it."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

from pynetdicom.association import MODE_ACCEPTOR, Association
from pynetdicom.dimse_primitives import C_CANCEL, C_STORE, DimseServiceType
from pynetdicom.service_class import StorageServiceClass

from imaging_source.dimse.storage import COMMENT_LENGTH, RAD18, WHO_MAY_STORE, StorageService, result_of
from imaging_source.dimse.upper_layer import BoundedMachine, BoundedMessages, BoundedSocket, DataSetFile
from imaging_source.domain.intake import MISMATCH, NOT_AUTHORIZED, Refused
from imaging_source.domain.transfer import Sender
from imaging_source.store.incoming import Incoming
from imaging_source.store.transfers import Transfer
from shared.attempts import attempted
from shared.audit.events import DESTINATION_ROLE, SOURCE_ROLE, Participant, access_point
from shared.audit.recorder import AuditUnavailable
from shared.security.caller import Node
from shared.security.rights import REJECTION_NOTE
from shared.store.failures import DatabaseError
from shared.telemetry.trace import Span

_log = logging.getLogger(__name__)

_JOIN_SECONDS: Final = 5.0
_ABORT_SECONDS: Final = 1.0
_DATA_TRANSFER: Final = "Sta6"

Result = TypeVar("Result")


class StorageAssociation(Association):  # type: ignore[misc]  # not typed
    """An association as acceptor; a thread, whose end concludes what came by it."""

    def __init__(
        self,
        ae: Any,
        service: StorageService,
        connection: socket.socket,
        node: Node,
        ended: Callable[[StorageAssociation], None],
    ) -> None:
        super().__init__(ae, MODE_ACCEPTOR)
        settings = service.settings
        self.service = service
        self.node = node
        self.address = node.address
        # What comes by one association is one trace.
        self.traceparent = Span("DIMSE").traceparent.encode()
        # Where the peer reached us: the address that is listened on may be any.
        self.own_address = service.settings.public_host or str(connection.getsockname()[0])
        self._may_store: bool | None = None
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
            self._transfer = Transfer(sender=self._sender(), may_reject=may_reject)
        return self._transfer

    @property
    def may_store(self) -> bool:
        """Whether the node may store here; a node that may not is recorded once."""
        if self._may_store is None:
            self._may_store = self.service.admits(self.node)
        return self._may_store

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
        """Serve one request; C-STORE for any SOP class that was negotiated, retired ones included."""
        context = self._accepted_cx.get(context_id)
        if not msg.is_valid_request:
            self._refuse(msg, context)
        elif isinstance(msg, C_STORE) and context is not None:
            StorageServiceClass(self).SCP(msg, context)
        else:
            super()._serve_request(msg, context_id)

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
        if not self.may_store:
            raise Refused(NOT_AUTHORIZED, WHO_MAY_STORE)
        return self.service.store.files.new(max_bytes=self.service.settings.max_instance_bytes)

    def _conclude(self) -> None:
        if self._transfer is None:
            return
        try:
            self.on_loop(self.service.store.conclude(self._transfer, self.service.recorder.record))
        except (AuditUnavailable, DatabaseError):
            _log.exception("the events of an association wait in the index")

    def _sender(self) -> Sender:
        calling = self.requestor.ae_title
        called = self.acceptor.ae_title
        return Sender(
            transaction=RAD18,
            participants=(
                Participant(
                    user_id=calling, requestor=True, roles=(SOURCE_ROLE,), **access_point(self.address)
                ),
                Participant(
                    user_id=called,
                    alternative_user_id=str(os.getpid()),
                    roles=(DESTINATION_ROLE,),
                    **access_point(self.own_address),
                ),
            ),
        )
