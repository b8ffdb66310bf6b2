"""pynetdicom's upper layer within limits: no peer chooses how much memory it takes.

Data sets of C-STORE go to a file as they arrive. This leans on pynetdicom's own classes;
`tests/peers/test_dimse_limits.py` holds what it leans on.
"""

from __future__ import annotations

import logging
import select
import socket
import ssl
import struct
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from io import BytesIO
from itertools import islice
from queue import Empty
from typing import Final

from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dimse_primitives import DimseServiceType
from pynetdicom.fsm import StateMachine
from pynetdicom.pdu_primitives import P_DATA
from pynetdicom.transport import AssociationSocket

from imaging_source.domain.intake import MISMATCH, Refused
from imaging_source.store.incoming import Incoming, SpooledFile
from shared.attempts import attempted
from shared.dicom.part10 import file_meta
from shared.dicom.uids import is_uid

_log = logging.getLogger(__name__)

Buffer = bytes | bytearray | memoryview

PDU_OVERHEAD: Final = 64 * 1024
MAX_COMMAND_SET: Final = 64 * 1024
MAX_IDENTIFIER: Final = 1024**2
MAX_WAITING: Final = 8
_READ_BYTES: Final = 64 * 1024
# What another thread wants to send waits as long as this, at most.
_MOMENT_MS: Final = 1
# What one call of sendmsg takes is bounded by IOV_MAX.
_BUFFERS_AT_ONCE: Final = 512
# A PDU that is not worth so many bytes a second is not worth its thread either.
_LEAST_RATE: Final = 10 * 1024

# A-ABORT by the service provider: invalid PDU parameter value (PS3.8 9.3.8).
_INVALID_PARAMETER: Final = bytes((0x07, 0, 0, 0, 0, 4, 0, 0, 2, 6))
_IDLE, _AWAITS_CLOSE = "Sta1", "Sta13"

INVALID_PDU: Final = "Evt19"
CONNECTION_CLOSED: Final = "Evt17"

# The header of a P-DATA-TF PDU with one presentation data value, and the message control header of that
# (PS3.8 9.3.5, annex E).
_FRAGMENT: Final = struct.Struct(">BxIIBB")
_P_DATA_TF: Final = 0x04
_FRAGMENT_OVERHEAD: Final = 6
_OF_COMMAND, _LAST = 0x01, 0x02
# Longer fragments are not faster, whatever the peer would take.
_LONGEST_FRAGMENT: Final = 256 * 1024


class BoundedSocket(AssociationSocket):  # type: ignore[misc]  # not typed
    """A transport connection that reads no PDU that is too long and waits for none too long."""

    def limit(self, *, max_pdu_bytes: int, idle_seconds: float) -> None:
        """Set what a PDU may ask of us; before the association starts."""
        self._max_bytes = max_pdu_bytes + PDU_OVERHEAD
        self._idle_seconds = idle_seconds
        # A connection is read in one thread and written in another, and one of TLS cannot be both at once.
        self._turn = threading.Lock()
        self._unread = b""
        self.failure: BaseException | None = None
        """Why the connection was not made, where it was not."""

    @property
    def ready(self) -> bool:
        """Whether there is something to read, now or in a moment.

        What was read is acted on first: the rest of nonsense may never come. After our last word nothing is
        read as a PDU.
        """
        if not self.event_queue.empty():
            return False
        if self.socket is None or not self._is_connected:
            time.sleep(_MOMENT_MS / 1000)
            return False
        try:
            ready = self._awaited(_MOMENT_MS)
            if not ready or self.assoc.dul.state_machine.current_state != _AWAITS_CLOSE:
                return ready
            with self._turn:
                self.socket.settimeout(self._idle_seconds)
                if not self.socket.recv(_READ_BYTES):
                    self.event_queue.put(CONNECTION_CLOSED)
        except (OSError, ValueError):
            self.event_queue.put(CONNECTION_CLOSED)
        return False

    @property
    def has_come(self) -> bool:
        """Whether there is something to read now."""
        return self.socket is not None and self.event_queue.empty() and self._awaited(0)

    def _awaited(self, most_ms: int) -> bool:
        """Whether something can be read after so long at most; `select` cannot be asked about descriptors
        above 1023."""
        pending = getattr(self.socket, "pending", None)
        if pending and pending():
            return True
        poll = select.poll()
        poll.register(self.socket, select.POLLIN | select.POLLHUP | select.POLLERR)
        return bool(poll.poll(most_ms))

    def takes(self, nr_bytes: int) -> bool:
        """Whether a PDU may be so long."""
        return nr_bytes <= self._max_bytes

    def unread(self, octets: bytes | bytearray) -> None:
        """Let `octets`, which were just read, be read again."""
        self._unread = bytes(octets)

    def recv(self, nr_bytes: int) -> bytearray:
        """Read `nr_bytes`, or fewer when the connection ends; a PDU that is too long aborts the association.

        Raises
        ------
        TimeoutError
            The rest does not come, or comes too slowly.
        """
        received = bytearray(self._unread[:nr_bytes])
        self._unread = self._unread[nr_bytes:]
        if not self.takes(nr_bytes):
            _log.warning("a PDU of %d bytes was announced; the association is aborted", nr_bytes)
            self.event_queue.put(INVALID_PDU)
            return received
        deadline = time.monotonic() + self._idle_seconds + nr_bytes / _LEAST_RATE
        with self._turn:
            while len(received) < nr_bytes and (piece := self._piece(nr_bytes - len(received), deadline)):
                received += piece
        return received

    def receive_into(self, view: memoryview) -> None:
        """Read as many bytes as `view` has.

        Raises
        ------
        OSError
            The connection ends before, or the rest does not come, or comes too slowly.
        """
        deadline = time.monotonic() + self._idle_seconds + len(view) / _LEAST_RATE
        received = 0
        with self._turn:
            while received < len(view):
                count = self._waiting_until(deadline).recv_into(view[received:])
                if not count:
                    raise ConnectionError("the connection ended within a PDU")
                received += count

    def send(self, bytestream: bytes) -> None:
        """Write a PDU; when it cannot be written the connection has ended."""
        self.write([bytestream])

    def write(self, buffers: Sequence[Buffer]) -> bool:
        """Write PDUs whole, from any thread; false when the connection has ended, or the peer takes nothing
        for too long."""
        try:
            with self._turn:
                if self.socket is None:
                    raise ConnectionError
                self.socket.settimeout(self._idle_seconds)
                if isinstance(self.socket, ssl.SSLSocket):
                    self.socket.sendall(b"".join(buffers))
                else:
                    _send_all(self.socket, buffers)
        except (OSError, ValueError):
            self.event_queue.put(CONNECTION_CLOSED)
            return False
        return True

    def _shutdown_socket(self) -> None:
        """Close the connection, also when the peer was first and it cannot be shut down any more."""
        # pynetdicom closes what it could not connect, and tells nobody why.
        self.failure = self.failure or sys.exception()
        if self.socket is not None:
            with suppress(OSError):
                self.socket.shutdown(socket.SHUT_RDWR)
            self.socket.close()

    def _piece(self, most: int, deadline: float) -> bytes:
        return self._waiting_until(deadline).recv(min(most, _READ_BYTES))

    def _waiting_until(self, deadline: float) -> socket.socket:
        """The connection, of which a read ends at `deadline`."""
        remaining = deadline - time.monotonic()
        connection: socket.socket | None = self.socket
        if remaining <= 0 or connection is None:
            raise TimeoutError("the rest of a PDU did not come in time")
        connection.settimeout(remaining)
        return connection


def _send_all(connection: socket.socket, buffers: Sequence[Buffer]) -> None:
    views = deque(memoryview(buffer) for buffer in buffers)
    while views:
        sent_bytes = connection.sendmsg(list(islice(views, _BUFFERS_AT_ONCE)))
        while views and sent_bytes >= len(views[0]):
            sent_bytes -= len(views.popleft())
        if sent_bytes:
            views[0] = views[0][sent_bytes:]


class BoundedMachine(StateMachine):  # type: ignore[misc]  # not typed
    """The state machine of an association that leaves no peer without an answer, and none of its threads
    waiting."""

    def do_action(self, event: str) -> None:
        """Act on `event`; what cannot be acted on, for what the peer wrote, ends in an A-ABORT."""
        if isinstance(attempted(partial(super().do_action, event)), Exception):
            _log.warning("a PDU could not be acted on; the association is aborted")
            self.cut()

    def transition(self, state: str) -> None:
        """Go to `state`; who waits for a request learns when there will be none."""
        super().transition(state)
        if state == _IDLE and not self.dul.assoc.is_established:
            self.dul.to_user_queue.put(None)

    def cut(self) -> None:
        """Send an A-ABORT past all states, and end."""
        association = self.dul.assoc
        association.is_aborted, association.is_established = True, False
        if self.dul.socket is not None:
            self.dul.socket.send(_INVALID_PARAMETER)
            self.dul.socket._shutdown_socket()
        self.dul.to_user_queue.put(None)
        association._kill = self.dul._kill_thread = True


class DataSetFile(BytesIO):
    """The data set of one C-STORE request on its way into a file; what cannot be kept is read and dropped."""

    def __init__(self, incoming: Incoming | None, refused: Refused | None = None) -> None:
        super().__init__()
        self._incoming = incoming
        self._refused = refused

    def write(self, octets: bytes | memoryview) -> int:  # type: ignore[override]
        """Append a fragment."""
        if self._incoming is not None and self._refused is None:
            try:
                self._incoming.write(octets)
            except Refused as refused:
                self._refused = refused
                self._incoming.discard()
        return len(octets)

    def finish(self) -> SpooledFile:
        """The complete file; raises `Refused` when it could not be kept."""
        if self._refused is not None:
            raise self._refused
        assert self._incoming is not None
        return self._incoming.finish()

    def discard(self) -> None:
        """Remove what arrived; harmless when it was moved on."""
        if self._incoming is not None:
            self._incoming.discard()


class BoundedMessages(DIMSEServiceProvider):  # type: ignore[misc]  # not typed
    """Assembles DIMSE messages; the data set of a C-STORE request never stands in memory.

    `new_file` makes the file of one; it raises `Refused` when it cannot.
    """

    def __init__(self, assoc: Association, new_file: Callable[[], Incoming]) -> None:
        super().__init__(assoc)
        self._new_file = new_file
        self._open: DataSetFile | None = None

    def receive_primitive(self, primitive: P_DATA) -> None:
        """Take fragments; what breaks a limit, or cannot be read, aborts the association."""
        # pynetdicom decodes what the peer wrote with no exception of its own for what is malformed.
        if isinstance(attempted(partial(super().receive_primitive, primitive)), Exception):
            _log.warning("a DIMSE message could not be read; the association is aborted")
            self._abort()
            return
        message = self.message
        if self.msg_queue.qsize() > MAX_WAITING:
            self._abort()
        elif isinstance(message, C_STORE_RQ):
            if not isinstance(message.data_set, DataSetFile):
                self._open = message.data_set = self._moved(message)
        elif message is None:
            self._open = None
        elif self._too_long(message.encoded_command_set, message.data_set):
            self._abort()

    @property
    def takes_fragments(self) -> bool:
        """Whether the data set of a C-STORE request is on its way into its file."""
        return self._open is not None and self.message is not None

    def take_fragment(self, octets: memoryview) -> None:
        """Append a fragment to the data set that is on its way."""
        assert self._open is not None
        self._open.write(octets)

    def following(self, seconds: float) -> tuple[int | None, DimseServiceType | None]:
        """The next message, and in which presentation context, if it comes so soon."""
        try:
            return self.msg_queue.get(timeout=seconds)  # type: ignore[no-any-return]  # not typed
        except Empty:
            return None, None

    def take(
        self, data_set: BytesIO, *, sop_class_uid: str, sop_instance_uid: str, syntax: str
    ) -> DataSetFile:
        """The data set of a complete request as a file, also where all of it came in one fragment."""
        if isinstance(data_set, DataSetFile):
            return data_set
        return self._file(sop_class_uid, sop_instance_uid, syntax, data_set.getvalue())

    def close(self) -> None:
        """Remove what has arrived of a message that will not be complete, and of those that nobody serves."""
        if self._open is not None:
            self._open.discard()
        while not self.msg_queue.empty():
            _, message = self.msg_queue.get_nowait()
            if isinstance(data_set := getattr(message, "DataSet", None), DataSetFile):
                data_set.discard()

    def _moved(self, message: C_STORE_RQ) -> DataSetFile:
        command = message.command_set
        context = self.assoc._accepted_cx.get(message.context_id)
        return self._file(
            str(command.get("AffectedSOPClassUID", "")),
            str(command.get("AffectedSOPInstanceUID", "")),
            str(context.transfer_syntax[0]) if context else "",
            message.data_set.getvalue(),
        )

    def _file(self, sop_class_uid: str, sop_instance_uid: str, syntax: str, octets: bytes) -> DataSetFile:
        if not all(map(is_uid, (sop_class_uid, sop_instance_uid, syntax))):
            return DataSetFile(None, Refused(MISMATCH, "the request names a SOP class or instance by no UID"))
        try:
            file = DataSetFile(self._new_file())
        except Refused as refused:
            return DataSetFile(None, refused)
        file.write(
            file_meta(
                sop_class_uid=sop_class_uid, sop_instance_uid=sop_instance_uid, transfer_syntax_uid=syntax
            )
        )
        file.write(octets)
        return file

    def send_command(self, context_id: int, command: bytes) -> bool:
        """Send a message without data set at once; false when the connection has ended."""
        return self._socket.write(list(self._fragments(context_id, command, _OF_COMMAND, ends=True)))

    def send(self, context_id: int, command: bytes, data_set: Iterable[Buffer]) -> bool:
        """Send a message whose data set comes in pieces, of which one is in memory at a time; false when the
        connection has ended.

        Whoever sends so sends all of its messages so, and from one thread: fragments of two are never mixed
        (PS3.7 annex E).
        """
        pending = list(self._fragments(context_id, command, _OF_COMMAND, ends=True))
        pieces = iter(data_set)
        piece = next(pieces, b"")
        while True:
            following = next(pieces, None)
            pending += self._fragments(context_id, piece, 0, ends=following is None)
            if not self._socket.write(pending):
                return False
            if following is None:
                return True
            pending, piece = [], following

    @property
    def _socket(self) -> BoundedSocket:
        connection = self.dul.socket
        assert isinstance(connection, BoundedSocket)
        return connection

    def _fragments(self, context_id: int, octets: Buffer, control: int, *, ends: bool) -> Iterator[Buffer]:
        """The PDUs of a piece, each as its header and its octets."""
        # A peer that names no length takes any (PS3.8 D.1.1).
        longest = min(self.maximum_pdu_size or _LONGEST_FRAGMENT, _LONGEST_FRAGMENT) - _FRAGMENT_OVERHEAD
        view = memoryview(octets)
        for start in range(0, max(len(view), 1), longest):
            fragment = view[start : start + longest]
            last = _LAST if ends and start + longest >= len(view) else 0
            length = len(fragment) + 2
            yield _FRAGMENT.pack(_P_DATA_TF, length + 4, length, context_id, control | last)
            yield fragment

    def _too_long(self, command_set: BytesIO, data_set: BytesIO) -> bool:
        return command_set.tell() > MAX_COMMAND_SET or data_set.tell() > MAX_IDENTIFIER

    def _abort(self) -> None:
        self.dul.event_queue.put(INVALID_PDU)
