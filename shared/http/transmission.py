"""Zero-copy sending of a body through a plain TCP socket: sendfile in a thread, waiting on the loop.

uvloop has no sendfile of its own, and a file that is not in the page cache would block the loop. A thread
therefore sends for as long as the client takes; when the client does not, the socket is watched by the loop,
so that slow clients hold no thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import select
import socket
import struct
from collections.abc import Sequence
from concurrent.futures import Executor

from shared.http.pieces import Cursor, FileRange, FileTruncated, OpenFile, OpenStream, Piece, Stream

# A full socket buffer of a fast client has room again within a millisecond or so; handing over costs 0.1 ms.
PATIENCE_MILLISECONDS = 5
# After so much a thread looks after somebody else's transmission, if one is waiting.
SLICE_BYTES = 64 * 1024 * 1024
# One call for a whole large file sleeps on a full buffer while the client works, and sends half as fast.
SEND_BYTES = 512 * 1024

_UNREACHABLE = frozenset({errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN, errno.ENOTCONN})
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class ConnectionGone(Exception):
    """The socket takes nothing any more."""


class Transmission:
    """The pieces of one body on their way; nobody else may write to the socket meanwhile."""

    def __init__(self, connection: socket.socket, pieces: Sequence[Piece]) -> None:
        """Take over `connection`, a duplicate of the transport's non-blocking socket."""
        self._connection = connection
        self._cursor = Cursor(pieces)
        self._file = OpenFile()
        self._stream = OpenStream()
        self._writable = select.poll()
        self._writable.register(connection, select.POLLOUT)
        self.sent = 0
        self.waiting = False

    async def run(self, executor: Executor) -> None:
        """Send everything.

        Raises
        ------
        ConnectionGone
            The client closed the connection, or `cut` was called.
        BodyBroken
            A file is shorter than its range, or a stream broke.
        """
        loop = asyncio.get_running_loop()
        pushing = loop.run_in_executor(executor, self.push)
        try:
            # Shielded, because a thread cannot be cancelled: socket and file stay open until it has ended.
            while not await asyncio.shield(pushing):
                await self._wait_writable()
                pushing = loop.run_in_executor(executor, self.push)
        except asyncio.CancelledError:
            self.cut()
            raise
        finally:
            if pushing.done():
                self._close()
            else:
                pushing.add_done_callback(self._close_after)

    def push(self) -> bool:
        """Send in the calling thread; True at the end, False when the socket is full or the slice used up."""
        enough = self.sent + SLICE_BYTES
        while self._cursor.advance():
            if self.sent >= enough:
                return False
            if not self._send() and not self._writable.poll(PATIENCE_MILLISECONDS):
                return False
        return True

    def cut(self) -> None:
        """End the connection at once, whatever the thread is doing; the client sees a reset."""
        with contextlib.suppress(OSError):  # it may be gone already, which is what is wanted
            self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            self._connection.shutdown(socket.SHUT_RDWR)

    def _send(self) -> bool:
        """Send some bytes of the current piece; False when the socket is full."""
        try:
            self._advance(self._send_piece())
        except BlockingIOError:
            return False
        except (ConnectionError, TimeoutError) as error:
            raise ConnectionGone from error
        except OSError as error:
            if error.errno in _UNREACHABLE:
                raise ConnectionGone from error
            raise
        return True

    def _advance(self, count: int) -> None:
        self._cursor.position += count
        self.sent += count

    def _send_piece(self) -> int:
        cursor, piece = self._cursor, self._cursor.piece
        if isinstance(piece, FileRange):
            return self._send_file(piece)
        if isinstance(piece, Stream):
            return self._connection.send(self._stream.at_hand(cursor))
        # MSG_MORE joins a part's header with the first bytes of its file.
        return self._connection.send(
            memoryview(piece)[cursor.position :], 0 if cursor.last else socket.MSG_MORE
        )

    def _send_file(self, piece: FileRange) -> int:
        cursor = self._cursor
        count = os.sendfile(
            self._connection.fileno(),
            self._file.descriptor(piece.path),
            piece.offset + cursor.position,
            min(cursor.remaining, SEND_BYTES),
        )
        if count == 0:
            raise FileTruncated(piece, cursor.remaining)
        return count

    async def _wait_writable(self) -> None:
        loop = asyncio.get_running_loop()
        writable = asyncio.Event()
        loop.add_writer(self._connection, writable.set)
        self.waiting = True
        try:
            await writable.wait()
        finally:
            self.waiting = False
            loop.remove_writer(self._connection)

    def _close_after(self, pushing: asyncio.Future[bool]) -> None:
        self._close()
        pushing.exception()

    def _close(self) -> None:
        self._file.close()
        self._stream.close()
        self._connection.close()
