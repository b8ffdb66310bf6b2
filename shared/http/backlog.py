"""Closing a listener without cutting those who wait to be accepted."""

from __future__ import annotations

import ctypes
import socket
import struct
from typing import Final

#: Of <asm/socket.h>; Python does not name it.
_SO_ATTACH_FILTER: Final = 26
# A program of the classic BPF (<linux/filter.h>): the flags of TCP are the octet at 13, SYN is one of them.
_LOAD_OCTET, _JUMP_IF_SET, _RETURN = 0x30, 0x45, 0x06
_NO_SYN: Final = (
    (_LOAD_OCTET, 0, 0, 13),
    (_JUMP_IF_SET, 0, 1, 0x02),
    (_RETURN, 0, 0, 0),
    (_RETURN, 0, 0, 0xFFFFFFFF),
)


def turn_newcomers_away(listening: socket.socket) -> None:
    """Let no further connection begin at a listening socket; those that have begun may be accepted.

    The kernel takes connections before they are accepted, and resets them when the socket closes: whoever has
    sent a request by then would not learn what became of it. Whoever comes after this call is not heard,
    knocks again after a second, and learns that the socket is closed, before a word was said.
    """
    program = b"".join(struct.pack("HBBI", *instruction) for instruction in _NO_SYN)
    octets = ctypes.create_string_buffer(program, len(program))
    described = struct.pack("HP", len(_NO_SYN), ctypes.addressof(octets))
    listening.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, described)
