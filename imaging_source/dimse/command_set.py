"""Command sets that are sent often (PS3.7 9.3, annex E): Implicit VR Little Endian, ascending by element."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from enum import IntEnum
from typing import Final

NO_DATA_SET: Final = 0x0101
_DATA_SET: Final = 0x0001
_MOST_COUNTED: Final = 0xFFFF
_ELEMENT: Final = struct.Struct("<HHI")
_US: Final = struct.Struct("<H")
_UL: Final = struct.Struct("<I")


class Command(IntEnum):
    """Command Field (0000,0100)."""

    C_STORE_RQ = 0x0001
    C_STORE_RSP = 0x8001
    C_GET_RQ = 0x0010
    C_FIND_RQ = 0x0020
    C_MOVE_RQ = 0x0021
    C_GET_RSP = 0x8010
    C_FIND_RSP = 0x8020
    C_MOVE_RSP = 0x8021
    N_ACTION_RSP = 0x8130
    N_EVENT_REPORT_RQ = 0x0100


class Element(IntEnum):
    """Elements of group 0000 beside the Command Field."""

    AFFECTED_SOP_CLASS_UID = 0x0002
    MESSAGE_ID = 0x0110
    RESPONDED_TO = 0x0120
    MOVE_DESTINATION = 0x0600
    PRIORITY = 0x0700
    DATA_SET_TYPE = 0x0800
    STATUS = 0x0900
    ERROR_COMMENT = 0x0902
    AFFECTED_SOP_INSTANCE_UID = 0x1000
    EVENT_TYPE = 0x1002
    ACTION_TYPE = 0x1008
    REMAINING = 0x1020
    COMPLETED = 0x1021
    FAILED = 0x1022
    WARNING = 0x1023
    MOVE_ORIGINATOR = 0x1030
    MOVE_ORIGINATOR_MESSAGE_ID = 0x1031


_COMMAND_FIELD: Final = 0x0100
_UIDS: Final = frozenset({Element.AFFECTED_SOP_CLASS_UID, Element.AFFECTED_SOP_INSTANCE_UID})
_COMMENT_LENGTH: Final = 64


def command_set(command: Command, elements: Mapping[Element, str | int], *, has_data_set: bool) -> bytes:
    """A command set; a number is a US, of which more than it can hold is told as the most that it can.

    An Error Comment is cut to its 64 characters.
    """
    values = {
        int(element): _value(element, value) for element, value in elements.items() if value not in ("", None)
    }
    values[_COMMAND_FIELD] = _US.pack(command)
    values[int(Element.DATA_SET_TYPE)] = _US.pack(_DATA_SET if has_data_set else NO_DATA_SET)
    body = b"".join(
        _ELEMENT.pack(0, element, len(values[element])) + values[element] for element in sorted(values)
    )
    return _ELEMENT.pack(0, 0, 4) + _UL.pack(len(body)) + body


def _value(element: Element, value: str | int) -> bytes:
    if isinstance(value, int):
        return _US.pack(min(value, _MOST_COUNTED))
    if element is Element.ERROR_COMMENT:
        value = value[:_COMMENT_LENGTH]
    octets = value.encode("ascii", "replace")
    return octets + (b"\0" if element in _UIDS else b" ") * (len(octets) % 2)
