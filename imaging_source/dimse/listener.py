"""The DICOM listener: associations in threads of pynetdicom, what they store on the event loop (PS3.8).

Accepting a connection, its TLS handshake and its negotiation are apart, each with its deadline, so that a
silent or slow peer keeps nobody else waiting.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from socketserver import BaseServer
from typing import Any, Final, TypeVar

from pynetdicom import AE, build_context, evt
from pynetdicom.dimse_primitives import C_FIND, C_GET, C_MOVE, C_STORE, N_ACTION
from pynetdicom.events import Event
from pynetdicom.transport import AddressInformation, RequestHandler, ThreadedAssociationServer

from imaging_source.archives.moves import Moves
from imaging_source.dimse import c_store, commitment, find, retrieve
from imaging_source.dimse.association import AcceptedAssociation, Serve
from imaging_source.dimse.parts import AssociationParts
from imaging_source.dimse.places import ConnectionPlace, Places
from imaging_source.domain.commitment import SOP_CLASS
from imaging_source.settings import ImagingSourceSettings
from imaging_source.store.instances import InstanceStore
from imaging_source.unit import Unit
from shared.attempts import attempted
from shared.audit.recorder import AuditRecorder
from shared.dicom.uids import (
    EXPLICIT_LE,
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION_NAME,
    IMPLICIT_LE,
    VERIFICATION,
)
from shared.faults import NodeRefused
from shared.http.backlog import SILENT_SECONDS, last_callers_in_thread
from shared.http.handshake import reason_of
from shared.http.proxied import Entrance, Peer
from shared.security.caller import Caller, Node
from shared.security.peer_certificate import node_from_der
from shared.security.tls import server_context

_log = logging.getLogger(__name__)

_ENDED_BEFORE: Final = "a DICOM connection ended before its association began"
_SILENCE_SECONDS: Final = 10
_STOP_SECONDS: Final = 30
_PLAIN: Final = (EXPLICIT_LE, IMPLICIT_LE)
_SOP_CLASSES: Final = (VERIFICATION, *find.ROOTS, *retrieve.MOVE_ROOTS, *retrieve.GET_ROOTS, SOP_CLASS)
#: What is served beside C-ECHO.
_SERVICES: Final[Mapping[type, Serve]] = {
    C_STORE: c_store.serve,
    C_FIND: find.serve,
    C_GET: retrieve.get,
    C_MOVE: retrieve.move,
    N_ACTION: commitment.serve,
}
# A-ASSOCIATE-RJ: transient, by the presentation-related provider, local limit exceeded (PS3.8 9.3.4).
_REJECTION: Final = bytes((0x03, 0, 0, 0, 0, 4, 0, 0x02, 0x03, 0x02))
# Rejected permanently by the service user: calling AE title not recognized.
_CALLING_NOT_RECOGNIZED: Final = (0x01, 0x01, 0x03)
_REFUSED_SECONDS: Final = 1.0
_MOST_REFUSED: Final = 64

Result = TypeVar("Result")


class DimseListener:
    """Verification, Storage and Query/Retrieve SCP of the imaging source; started and stopped on the event
    loop."""

    def __init__(
        self,
        store: InstanceStore,
        recorder: AuditRecorder,
        settings: ImagingSourceSettings,
        unit: Callable[[Caller], Unit],
        moves: Moves | None = None,
    ) -> None:
        self._service = AssociationParts(store, recorder, settings, unit, moves or Moves())
        self._server: _Server | None = None

    @property
    def port(self) -> int:
        """The port that is listened on, once started."""
        assert self._server is not None
        return int(self._server.server_address[1])

    def on_commitment(self, wake: Callable[[], None]) -> None:
        """Let `wake` be called on the event loop when storage commitment was asked for."""
        service = self._service

        def wake_from_any_thread() -> None:
            assert service.loop is not None
            service.loop.call_soon_threadsafe(wake)

        service.on_commitment = wake_from_any_thread

    @property
    def open_associations(self) -> int:
        """How many associations are open."""
        return 0 if self._server is None else self._server.open_count()

    @property
    def open_connections(self) -> int:
        """How many connections count, with and without an association."""
        return 0 if self._server is None else self._server.places.entrance.open

    async def start(self) -> None:
        """Listen.

        Raises
        ------
        OSError
            The address cannot be used.
        SettingsError
            The TLS files cannot be used.
        """
        self._service.loop = asyncio.get_running_loop()
        self._server = await asyncio.to_thread(_Server, self._service)
        accepting = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, name="dimse-accept", daemon=True
        )
        accepting.start()

    async def stop(self) -> None:
        """Accept no more, abort what is open, and wait until every association has ended."""
        if self._server is not None:
            await asyncio.to_thread(self._server.stop)
            self._server = None


class _Server(ThreadedAssociationServer):  # type: ignore[misc]  # not typed
    """Accepts connections; what a peer can delay happens in the connection's own thread."""

    daemon_threads = True
    # What finds no room here is tried again by its host a second later, and then three.
    request_queue_size = 128

    def __init__(self, service: AssociationParts) -> None:
        settings = service.settings
        self.service = service
        self._tls = server_context(settings.tls) if settings.tls.enabled else None
        self._guard = threading.Lock()
        self._open: set[AcceptedAssociation] = set()
        self.places = Places(
            Entrance(
                settings.proxies,
                connections=settings.max_associations,
                per_peer=settings.max_associations_per_peer,
            )
        )
        self._arriving: dict[socket.socket, ConnectionPlace] = {}
        #: The place of the connection that a thread is about.
        self.of_thread = threading.local()
        self._refused: deque[tuple[float, socket.socket]] = deque()
        super().__init__(
            _application_entity(settings, service.entities.titles),
            (settings.host, settings.dimse_port),
            settings.ae_title,
            [*c_store.contexts(), *(build_context(uid, list(_PLAIN)) for uid in _SOP_CLASSES)],
            evt_handlers=[
                (evt.EVT_C_ECHO, c_store.verify),
                (evt.EVT_REQUESTED, _requested),
                (evt.EVT_SOP_EXTENDED, _extended),
                (evt.EVT_REJECTED, _rejected),
            ],
            request_handler=_Connection,
        )

    def get_request(self) -> tuple[socket.socket, Peer]:
        """Accept a connection, and leave what comes before its association to its own thread."""
        connection, at = self.socket.accept()
        return connection, Peer(at[0], at[1])

    def process_request(self, request: Any, client_address: Peer) -> None:
        """Give a connection its thread, unless there are too many, in all or of its peer."""
        place = self.places.take(client_address.address, request)
        if place is None:
            _log.warning("a connection was refused at once: too many are open")
            self._refuse(request)
            return
        self._arriving[request] = place
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._arriving.pop(request).leave()
            raise

    def process_request_thread(self, request: Any, client_address: Peer) -> None:
        """Make the association of a connection, which has its place until either has ended."""
        place = self.of_thread.place = self._arriving.pop(request)
        peer = self.places.entrance.client_in_thread(request, client_address)
        if peer is None:
            place.close()
            return
        self.places.settle(place, peer.address)
        failure = attempted(lambda: self.finish_request(request, peer))
        if isinstance(failure, Exception):
            _log.info(_ENDED_BEFORE, exc_info=failure)
            self.shutdown_request(request)
            self.places.leave(place)

    def service_actions(self) -> None:
        """Close connections that were refused, once their peers could read why."""
        super().service_actions()
        while self._refused and self._refused[0][0] < time.monotonic():
            self._refused.popleft()[1].close()

    def _refuse(self, request: socket.socket) -> None:
        """Answer A-ASSOCIATE-RJ at once, where that needs no handshake, and listen no more."""
        if self._tls is not None or len(self._refused) >= _MOST_REFUSED:
            request.close()
            return
        with suppress(OSError):
            request.setblocking(False)
            request.send(_REJECTION)
            request.shutdown(socket.SHUT_WR)
        # Closed with unread bytes it would be reset, and the answer might be lost.
        self._refused.append((time.monotonic() + _REFUSED_SECONDS, request))

    def finish_request(self, request: Any, client_address: Peer) -> None:
        """Take a connection through its handshake, then to its association."""
        request.settimeout(_SILENCE_SECONDS)
        request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._tls is not None:
            request = self._secured(self._tls, request, client_address)
        try:
            super().finish_request(request, client_address)
        except BaseException:
            request.close()
            raise

    def _secured(self, tls: ssl.SSLContext, request: socket.socket, peer: Peer) -> ssl.SSLSocket:
        # Of a connection that was reset already the library would leave a socket open.
        request.getpeername()
        try:
            return tls.wrap_socket(request, server_side=True)
        except ssl.SSLEOFError:
            # No failed authentication: gone, as the probes of balancers go.
            raise
        except ssl.SSLError as error:
            self.service.not_authenticated(peer.address, reason_of(error))
            raise

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Note a connection that ended before its association began."""
        _log.info(_ENDED_BEFORE, exc_info=True)

    def began(self, association: AcceptedAssociation) -> None:
        """Count an association as open."""
        with self._guard:
            self._open.add(association)

    def ended(self, association: AcceptedAssociation) -> None:
        """Count an association as over."""
        with self._guard:
            self._open.discard(association)
        self.places.leave(association.place)

    def open_count(self) -> int:
        """How many associations are open."""
        with self._guard:
            return len(self._open)

    def stop(self) -> None:
        """Accept who has come, and nobody after them; abort what is open in a moment, wait for its end."""
        # The server is not in the entity's own list, from which its shutdown would take it.
        BaseServer.shutdown(self)
        for connection, peer in last_callers_in_thread(self.socket, self.service.settings.drain_seconds):
            self.process_request(connection, peer)
        until = time.monotonic() + SILENT_SECONDS
        while self.places.entrance.open and time.monotonic() < until:
            time.sleep(0.02)
        self.server_close()
        while self._refused:
            self._refused.popleft()[1].close()
        with self._guard:
            open_associations = list(self._open)
        threads: list[threading.Thread] = []
        for association in open_associations:
            threads += [threading.Thread(target=association.end, daemon=True), association]
            threads[-2].start()
        for thread in threads:
            thread.join(_STOP_SECONDS)


class _Connection(RequestHandler):  # type: ignore[misc]  # not typed
    """Makes the association of one connection."""

    server: _Server

    def _create_association(self) -> AcceptedAssociation:
        server = self.server
        association = AcceptedAssociation(
            self.ae,
            server.service,
            self.request,
            _node(self.request, self.client_address),
            server.ended,
            _SERVICES,
        )
        association._server = server
        association.place = server.of_thread.place
        association.name = "AcceptorThread@dimse"
        association.acceptor.maximum_length = self.ae.maximum_pdu_size
        association.acceptor.ae_title = server.ae_title
        association.acceptor.address_info = self.local
        association.acceptor.implementation_class_uid = self.ae.implementation_class_uid
        association.acceptor.implementation_version_name = self.ae.implementation_version_name
        # Shared, since negotiation reads them only: copying two hundred of them costs 0.1 s for each
        # association.
        association.acceptor.supported_contexts = server.contexts
        association.requestor.address_info = AddressInformation(*self.client_address[:2])
        for event, handlers in server._handlers.items():
            if event.is_intervention:
                association.bind(event, *handlers)
            else:
                for handler, arguments in handlers:
                    association.bind(event, handler, arguments)
        server.began(association)
        return association


def _node(connection: socket.socket, peer: Peer) -> Node:
    """Who is at the other end, by its certificate: an AE title proves nothing."""
    der = connection.getpeercert(binary_form=True) if isinstance(connection, ssl.SSLSocket) else None
    return node_from_der(der, peer.address, relayed=peer.relayed)


def _application_entity(settings: ImagingSourceSettings, calling: Sequence[str]) -> AE:
    entity = AE(settings.ae_title)
    entity.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    entity.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    # Connections are counted before; a thread that ends counts there no more, and here still.
    entity.maximum_associations = 2 * settings.max_associations
    entity.maximum_pdu_size = settings.max_pdu_bytes
    entity.acse_timeout = _SILENCE_SECONDS
    entity.dimse_timeout = settings.dimse_idle_seconds
    entity.network_timeout = settings.dimse_idle_seconds
    entity.require_called_aet = True
    entity.require_calling_aet = list(calling)
    return entity


def _requested(event: Event) -> None:
    """Let nobody use the AE title of another node; take private SOP classes as STOW-RS does."""
    association: AcceptedAssociation = event.assoc
    association._server.places.heard(association.place)
    # The association takes its names from the request only afterwards.
    calling = str(association.requestor.primitive.calling_ae_title).strip()
    try:
        association.service.entities.check_identity(calling, association.node)
    except NodeRefused as fault:
        association.service.refused(association.node, fault)
        association.acse.send_reject(*_CALLING_NOT_RECOGNIZED)
        association.kill()
        return
    if private := c_store.private_contexts(association.requestor.requested_contexts):
        association.acceptor.supported_contexts = [*association.acceptor.supported_contexts, *private]


def _extended(event: Event) -> dict[str, bytes]:
    """Agree to what of the extended negotiation is there."""
    association: AcceptedAssociation = event.assoc
    return find.negotiated(event.app_info, fuzzy=association.service.settings.fuzzy_names)


def _rejected(event: Event) -> None:
    """Record an association whose calling AE title is not on the list."""
    association: AcceptedAssociation = event.assoc
    allowed = association.ae.require_calling_aet
    if allowed and association.requestor.ae_title not in allowed:
        association.service.not_authenticated(association.address, "the calling AE title is not known here")
