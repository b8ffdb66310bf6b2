"""The body of an answer on its way in: read, or moved on unread; by a thread at a plain socket, or by the
loop."""

from __future__ import annotations

import fcntl
import os
from abc import ABC, abstractmethod
from contextlib import suppress
from socket import SO_RCVLOWAT, SOL_SOCKET, socket
from typing import Protocol

from shared.http.framing import BrokenFraming, Framing
from shared.http.pieces import BodyBroken

#: What a pipe holds; the most that a process without rights may ask for.
PIPE_BYTES = 1024 * 1024
_F_SETPIPE_SZ = 1031


class SourceBroken(BodyBroken):
    """What is received does not come to its end in order."""


class Pipe:
    """What was moved off one socket and not yet onto another: the kernel's own pages, unread."""

    def __init__(self) -> None:
        self.out, self.into = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        # Beyond the limit of a user the pipe stays small, and more calls are needed.
        with suppress(PermissionError):
            fcntl.fcntl(self.into, _F_SETPIPE_SZ, PIPE_BYTES)
        self.filled = 0

    def close(self) -> None:
        """Close both ends."""
        os.close(self.out)
        os.close(self.into)


class IncomingBody(ABC):
    """The rest of a body; every call returns at once, with None when nothing has come yet."""

    def __init__(self, framing: Framing) -> None:
        self._framing = framing

    @property
    def ended(self) -> bool:
        """Whether all of the body was taken."""
        return self._framing.ended

    @property
    def movable(self) -> int:
        """Bytes of content that `move` can take: nothing of them was read yet."""
        return self._framing.movable

    def read(self, most: int, *, ahead: int) -> bytes | None:
        """Up to `most` bytes of content; empty at the end. When none are at hand, `ahead` are received.

        Raises
        ------
        SourceBroken
            The connection ended before the body, or what came is no body.
        """
        try:
            while not (content := self._framing.content(most)) and not self._framing.ended:
                if octets := self._received(ahead):
                    self._framing.feed(octets)
                elif octets is None:
                    return None
                else:
                    self._framing.end()
        except (BrokenFraming, OSError) as error:
            raise SourceBroken(str(error)) from error
        return content

    @abstractmethod
    def _received(self, most: int) -> bytes | None:
        """Up to `most` bytes off the wire; empty at the end of the connection."""


class Incoming(IncomingBody):
    """At a plain socket, for a thread."""

    def __init__(self, connection: socket, framing: Framing) -> None:
        """Take over `connection`, a duplicate that is non-blocking."""
        super().__init__(framing)
        self.connection = connection
        self._wakes_at = 1

    def _received(self, most: int) -> bytes | None:
        try:
            return self.connection.recv(most)
        except BlockingIOError:
            return None

    def move(self, pipe: Pipe, most: int) -> int | None:
        """Move up to `most` bytes of content, of those that are `movable`, into `pipe`; returns how many.

        Raises
        ------
        SourceBroken
            The connection ended before the body.
        """
        count = min(most, self._framing.movable, PIPE_BYTES)
        try:
            count_moved = os.splice(self.connection.fileno(), pipe.into, count, flags=os.SPLICE_F_NONBLOCK)
        except BlockingIOError:
            return None
        except OSError as error:
            raise SourceBroken(str(error)) from error
        if not count_moved:
            raise SourceBroken("the connection ended in the middle of the body")
        pipe.filled += count_moved
        self._framing.moved(count_moved)
        return count_moved

    def wake_at(self, count: int) -> None:
        """Let the socket count as readable from `count` bytes on, or when it ends: who moves much at once is
        woken seldom. Bytes that are `movable`, so many at least, must be to come."""
        if count != self._wakes_at:
            self.connection.setsockopt(SOL_SOCKET, SO_RCVLOWAT, count)
            self._wakes_at = count

    def close(self) -> None:
        """Close the duplicate."""
        with suppress(OSError):
            self.wake_at(1)
        self.connection.close()


class ReadByLoop(Protocol):
    """A connection that the loop reads (`shared.http.links.Link`)."""

    def take(self, most: int) -> bytes | None:
        """Up to `most` bytes of what came; empty at the end; raises `SourceBroken` when it was cut."""
        ...

    async def more(self, seconds: float) -> None:
        """Wait until something came; raises `SourceBroken` when nothing did."""
        ...


class Arriving(IncomingBody):
    """At a connection that the loop reads, as over TLS."""

    def __init__(self, connection: ReadByLoop, framing: Framing) -> None:
        super().__init__(framing)
        self._connection = connection

    def _received(self, most: int) -> bytes | None:
        return self._connection.take(most)

    def move(self, most: int) -> bytes | None:
        """Up to `most` bytes of content, of those that are `movable`, as they came.

        Raises
        ------
        SourceBroken
            The connection ended before the body.
        """
        octets = self._connection.take(min(most, self._framing.movable))
        if octets == b"":
            raise SourceBroken("the connection ended in the middle of the body")
        self._framing.moved(len(octets or b""))
        return octets

    async def more(self, seconds: float) -> None:
        """Wait until something came; raises `SourceBroken` when nothing did for so long."""
        await self._connection.more(seconds)
