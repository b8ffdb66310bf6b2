"""The DICOM upper layer service provider of an association, without pynetdicom's sleeps (PS3.8 clause 9).

Fragments of the data set of a C-STORE request go from the connection to their file at once, through one
buffer as long as a PDU; all other PDUs, and all that are not as they shall be, are left to pynetdicom.
"""

from __future__ import annotations

import struct
from typing import Final

from pynetdicom.association import Association
from pynetdicom.dul import DULServiceProvider
from pynetdicom.pdu_primitives import P_DATA

from imaging_source.dimse.upper_layer import CONNECTION_CLOSED, BoundedMessages, BoundedSocket

_DATA_TRANSFER: Final = "Sta6"
_P_DATA_TF: Final = 0x04
# Type and length of a PDU; length, presentation context and message control header of a presentation data
# value (PS3.8 9.3.1, 9.3.5, annex E).
_PDU: Final = struct.Struct(">BxI")
_VALUE: Final = struct.Struct(">IBB")
_LENGTH_OF_LENGTH: Final = 4
_HEADER_OF_VALUE: Final = 2
_OF_COMMAND, _LAST = 0x01, 0x02


class UpperLayerProvider(DULServiceProvider):  # type: ignore[misc]  # not typed
    """Waits for the connection and not for a clock."""

    def __init__(self, assoc: Association) -> None:
        super().__init__(assoc)
        # `BoundedSocket.ready` waits instead, and ends its waiting with the first byte.
        self._run_loop_delay = 0
        self._buffer = bytearray()

    def _read_pdu_data(self) -> None:
        """Read a PDU, and with it what is there of the same data set."""
        messages, connection = self.assoc.dimse, self.socket
        if not isinstance(messages, BoundedMessages) or not isinstance(connection, BoundedSocket):
            super()._read_pdu_data()
            return
        try:
            is_fragment = self._take_fragment(messages, connection)
            while is_fragment and messages.takes_fragments and connection.has_come:
                is_fragment = self._take_fragment(messages, connection)
        except OSError:
            self.event_queue.put(CONNECTION_CLOSED)
            return
        if not is_fragment:
            super()._read_pdu_data()

    def _take_fragment(self, messages: BoundedMessages, connection: BoundedSocket) -> bool:
        """Take a PDU that is a fragment of the open data set; false when it is none, which stays unread."""
        if not messages.takes_fragments or self.state_machine.current_state != _DATA_TRANSFER:
            return False
        head = connection.recv(_PDU.size)
        if len(head) == _PDU.size and head[0] == _P_DATA_TF:
            head += connection.recv(_VALUE.size)
        connection.unread(head)
        if len(head) != _PDU.size + _VALUE.size:
            return False
        _, pdu_length = _PDU.unpack_from(head)
        value_length, context_id, control = _VALUE.unpack_from(head, _PDU.size)
        is_one = pdu_length == value_length + _LENGTH_OF_LENGTH and value_length >= _HEADER_OF_VALUE
        is_of_it = context_id == messages.message.context_id and not control & _OF_COMMAND
        if not is_one or not is_of_it or not connection.takes(pdu_length):
            return False
        connection.recv(len(head))
        octets = self._read(connection, value_length - _HEADER_OF_VALUE)
        messages.take_fragment(octets)
        if control & _LAST:
            # The end of the message is pynetdicom's again.
            ending = P_DATA()
            ending.presentation_data_value_list = [[context_id, bytes((control,))]]
            messages.receive_primitive(ending)
        return True

    def _read(self, connection: BoundedSocket, nr_bytes: int) -> memoryview:
        """So many bytes, until the next are read."""
        if len(self._buffer) < nr_bytes:
            self._buffer = bytearray(nr_bytes)
        view = memoryview(self._buffer)[:nr_bytes]
        connection.receive_into(view)
        return view
