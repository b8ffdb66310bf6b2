"""Associations that we request: with the destination of a C-MOVE, or who waits for a result.

No thread of its own serves one: whoever opened it sends and waits for each answer.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable, Iterable, Sequence
from copy import copy
from typing import Any, Final

from pynetdicom import AE, build_context
from pynetdicom.association import MODE_REQUESTOR, Association
from pynetdicom.dimse_primitives import DimseServiceType
from pynetdicom.pdu_primitives import P_DATA
from pynetdicom.presentation import PresentationContext
from pynetdicom.transport import AddressInformation

from imaging_source.dimse.entities import Entity
from imaging_source.dimse.upper_layer import MAX_WAITING, BoundedMachine, BoundedMessages, BoundedSocket
from imaging_source.domain.intake import NOT_AUTHORIZED, Refused
from imaging_source.settings import ImagingSourceSettings
from imaging_source.store.incoming import Incoming
from shared.attempts import attempted
from shared.dicom.uids import (
    EXPLICIT_LE,
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION_NAME,
    IMPLICIT_LE,
    VERIFICATION,
)
from shared.http.handshake import reason_of
from shared.security.peer_certificate import node_from_der
from shared.security.tls import client_context

CONNECT_SECONDS: Final = 10
_JOIN_SECONDS: Final = 5.0
_MOST_RECEIVED: Final = MAX_WAITING // 2
_TURN_SECONDS: Final = 0.001


class NotAssociated(Exception):
    """No association with the entity; the text says why, and names no patient."""


class ReceivedMessages(BoundedMessages):
    """Messages that come one after the other without being waited for, as matches do: who sends them waits
    until they are taken."""

    def __init__(self, association: Association, new_file: Callable[[], Incoming]) -> None:
        super().__init__(association, new_file)
        self._refused = False

    def receive_primitive(self, primitive: P_DATA) -> None:
        """Take fragments when there is room for a message."""
        while self.msg_queue.qsize() >= _MOST_RECEIVED and not self._refused:
            time.sleep(_TURN_SECONDS)
        super().receive_primitive(primitive)

    def refuse(self) -> None:
        """Nobody takes messages any more."""
        self._refused = True


class RequestedAssociation(Association):  # type: ignore[misc]  # not typed
    """An association that we requested; used by one thread, and closed by it."""

    def __init__(self, ae: AE, new_file: Callable[[], Incoming]) -> None:
        super().__init__(ae, MODE_REQUESTOR)
        self.messages = ReceivedMessages(self, new_file)
        self.dimse = self.messages
        self.dul.state_machine = BoundedMachine(self.dul)
        # There is no reactor that an answer could go to instead.
        self._is_paused = True

    def accepted(self) -> Sequence[PresentationContext]:
        """The presentation contexts that the other side took."""
        contexts: list[PresentationContext] = list(self._accepted_cx.values())
        return contexts

    def response(self) -> DimseServiceType | None:
        """The next message; None when there is none in time, or the association has ended."""
        return self.messages.get_msg(block=True)[1]

    def received(self) -> tuple[int, DimseServiceType] | None:
        """The next message with its presentation context; None as for `response`."""
        context_id, message = self.messages.get_msg(block=True)
        return None if message is None else (context_id, message)

    def close(self) -> None:
        """Release the association, or abort it where that is no more possible; nothing of it stays open."""
        self.messages.refuse()
        attempted(self.release)
        if self.dul.is_alive():
            self.dul.kill_dul()
            self.dul.join(_JOIN_SECONDS)
        if isinstance(self.dul.socket, BoundedSocket):
            self.dul.socket._shutdown_socket()
        self.messages.close()

    def cut(self) -> None:
        """End the association without a word to be waited for."""
        self.dul.state_machine.cut()


def associate(
    entity: Entity,
    settings: ImagingSourceSettings,
    contexts: Sequence[PresentationContext],
    negotiation: Iterable[Any] = (),
    new_file: Callable[[], Incoming] | None = None,
) -> RequestedAssociation:
    """An association with `entity` for these presentation contexts; blocks. `new_file` makes the files of
    what is stored by it (C-GET).

    Raises
    ------
    NotAssociated
        It does not answer, does not take the association, or is another node than the table says.
    """
    assert entity.settings.host is not None
    association = RequestedAssociation(_application_entity(settings), new_file or _no_file)
    try:
        there = AddressInformation(entity.settings.host, entity.settings.port)
        here = AddressInformation("" if there.is_ipv4 else "::", 0)
        connection = _socket(association, here, entity, settings)
        association.set_socket(connection)
    except OSError:
        raise NotAssociated(f"the host of {entity.title} is not known") from None
    association.acceptor.ae_title = entity.title
    association.acceptor.address_info = there
    association.requestor.address_info = here
    association.requestor.ae_title = settings.ae_title
    association.requestor.maximum_length = settings.max_pdu_bytes
    association.requestor.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    association.requestor.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    for item in negotiation:
        association.requestor.add_negotiation_item(item)
    association.requestor.requested_contexts = [_numbered(one, at) for at, one in enumerate(contexts)]
    failure = attempted(association.request)
    if isinstance(failure, Exception) or not association.is_established:
        association.close()
        raise NotAssociated(f"{entity.title} {_refusal(association, connection)}")
    if not _is_it(association, entity):
        association.cut()
        association.close()
        raise NotAssociated(f"who answers for {entity.title} shows another certificate than the table names")
    return association


def unechoed(entity: Entity, settings: ImagingSourceSettings) -> str:
    """Why an entity does not answer C-ECHO (PS3.4 annex A), or nothing; blocks."""
    try:
        association = associate(entity, settings, [build_context(VERIFICATION, [IMPLICIT_LE, EXPLICIT_LE])])
    except NotAssociated as error:
        return str(error)
    try:
        status = association.send_c_echo().get("Status") if association.accepted() else None
    except (RuntimeError, ValueError):
        status = None
    finally:
        association.close()
    return "" if status == 0 else f"{entity.title} does not answer C-ECHO with success"


def _application_entity(settings: ImagingSourceSettings) -> AE:
    ae = AE(settings.ae_title)
    ae.connection_timeout = ae.acse_timeout = CONNECT_SECONDS
    ae.dimse_timeout = ae.network_timeout = settings.dimse_idle_seconds
    return ae


def _socket(
    association: RequestedAssociation,
    here: AddressInformation,
    entity: Entity,
    settings: ImagingSourceSettings,
) -> BoundedSocket:
    connection = BoundedSocket(association, address=here)
    connection.limit(max_pdu_bytes=settings.max_pdu_bytes, idle_seconds=settings.dimse_idle_seconds)
    connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if settings.secures(entity.settings):
        context = client_context(settings.tls)
        # It is known by the certificate that the table names, and else by the name of its host.
        context.check_hostname = entity.nodes is None
        connection.tls_args = (context, entity.settings.host)
    return connection


def _refusal(association: RequestedAssociation, connection: BoundedSocket) -> str:
    """What an entity does that no association came of."""
    if association.is_rejected:
        return "rejects the association"
    match connection.failure:
        case ssl.SSLCertVerificationError() as error:
            return f"is not believed: {reason_of(error)}"
        case ssl.SSLError() as error:
            return f"makes no TLS connection: {reason_of(error)}"
        case None if connection.tls_args is not None:
            # With TLS 1.3 who does not believe us says so when our side of the handshake has ended.
            return "ends the TLS connection: it may not take the certificate of this node"
    return "takes no association"


def _is_it(association: RequestedAssociation, entity: Entity) -> bool:
    connection = association.dul.socket.socket
    if entity.nodes is None or not isinstance(connection, ssl.SSLSocket):
        return True
    return node_from_der(connection.getpeercert(binary_form=True), "") in entity.nodes


def _numbered(context: PresentationContext, at: int) -> PresentationContext:
    numbered = copy(context)
    numbered.context_id = 2 * at + 1
    return numbered


def _no_file() -> Incoming:
    raise Refused(NOT_AUTHORIZED, "nothing is stored by an association that we requested")
