"""Closing a listener without cutting those who wait to be accepted."""

from __future__ import annotations

import asyncio
import ctypes
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

from shared.http.proxied import Peer

#: So long at most, where a stop may take time, a connection that the kernel is just making may still come.
SETTLE_SECONDS: Final = 0.2
#: For so long whoever was let in last, or is silent between two messages, may still say something.
SILENT_SECONDS: Final = 0.5

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
    # Without rights a kernel may have no room for filters (net.core.bpf_jit_limit): who comes at the very
    # last moment is reset then, and everybody else is heard all the same.
    with suppress(OSError):
        listening.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, described)


def waiting(listening: socket.socket) -> Iterator[tuple[socket.socket, Peer]]:
    """Accept everybody who waits at a non-blocking socket."""
    while True:
        try:
            connection, at = listening.accept()
        except BlockingIOError:
            return
        except ConnectionError:
            continue
        yield connection, Peer(str(at[0]), at[1])


async def last_callers(listening: socket.socket, drain_seconds: float) -> list[tuple[socket.socket, Peer]]:
    """Close a non-blocking listener; who has come until then is accepted, and nobody comes after them.

    Nobody else may accept from it any more. A service that stops at once, without draining, waits for nobody.
    """
    turn_newcomers_away(listening)
    await asyncio.sleep(_settle_seconds(drain_seconds))
    callers = list(waiting(listening))
    listening.close()
    return callers


def last_callers_in_thread(
    listening: socket.socket, drain_seconds: float
) -> list[tuple[socket.socket, Peer]]:
    """As `last_callers`, which leaves the closing to its owner; blocks."""
    turn_newcomers_away(listening)
    time.sleep(_settle_seconds(drain_seconds))
    listening.setblocking(False)
    return list(waiting(listening))


def _settle_seconds(drain_seconds: float) -> float:
    return min(SETTLE_SECONDS, drain_seconds)
