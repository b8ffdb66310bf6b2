"""The body of an answer at a plain socket, for a thread: read, or moved on without being read."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from socket import SO_RCVLOWAT, SOL_SOCKET, socket

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


class Incoming:
    """The rest of a body; every call returns at once, with None when nothing has come yet."""

    def __init__(self, connection: socket, framing: Framing) -> None:
        """Take over `connection`, a duplicate that is non-blocking."""
        self.connection = connection
        self._framing = framing
        self._wakes_at = 1

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
                if octets := self.connection.recv(ahead):
                    self._framing.feed(octets)
                else:
                    self._framing.end()
        except BlockingIOError:
            return None
        except (BrokenFraming, OSError) as error:
            raise SourceBroken(str(error)) from error
        return content

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
