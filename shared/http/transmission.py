"""Zero-copy sending of a body through a plain TCP socket: by a thread, waiting on the loop.

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
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from enum import Enum, auto

from shared.http.incoming import Pipe, SourceBroken
from shared.http.passage import Passage, PassageSteps
from shared.http.pieces import Cursor, FileRange, FileTruncated, OpenFile, OpenStream, Piece, Stream

# A full socket buffer of a fast client has room again within a millisecond or so; handing over costs 0.1 ms.
PATIENCE_MILLISECONDS = 5
# After so much a thread looks after somebody else's transmission, if one is waiting.
SLICE_BYTES = 64 * 1024 * 1024
# One call for a whole large file sleeps on a full buffer while the client works, and sends half as fast.
SEND_BYTES = 512 * 1024

# What passes is waited for until so much of it is there: each waking costs as much as to move it.
MOVE_BYTES = 256 * 1024

_UNREACHABLE = frozenset({errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN, errno.ENOTCONN})
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class ConnectionGone(Exception):
    """The socket takes nothing any more."""


class Stop(Enum):
    """Why a thread stopped sending."""

    END = auto()
    """Everything is sent."""
    CLIENT = auto()
    """The client is to move, or somebody else's transmission has its turn."""
    SOURCE = auto()
    """Nothing has come that could be sent."""


class Transmission(ABC):
    """One body on its way; nobody else may write to the socket meanwhile."""

    def __init__(self, connection: socket.socket) -> None:
        """Take over `connection`, a duplicate of the transport's non-blocking socket."""
        self._connection = connection
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
            What was promised of the body cannot be given.
        """
        loop = asyncio.get_running_loop()
        pushing = loop.run_in_executor(executor, self.push)
        try:
            # Shielded, because a thread cannot be cancelled: its sockets and files stay open until it has
            # ended.
            while (stop := await asyncio.shield(pushing)) is not Stop.END:
                await self._wait(stop)
                pushing = loop.run_in_executor(executor, self.push)
        except asyncio.CancelledError:
            self.cut()
            raise
        finally:
            if pushing.done():
                self._close()
            else:
                pushing.add_done_callback(self._close_after)

    @abstractmethod
    def push(self) -> Stop:
        """Send in the calling thread, as long as it goes on and others need not wait too long."""

    def cut(self) -> None:
        """End the connection at once, whatever the thread is doing; the client sees a reset."""
        with contextlib.suppress(OSError):  # it may be gone already, which is what is wanted
            self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            self._connection.shutdown(socket.SHUT_RDWR)

    def _takes(self, send: Callable[[], int]) -> bool:
        """Send some bytes; False when the socket stays full."""
        try:
            self.sent += send()
        except BlockingIOError:
            return bool(self._writable.poll(PATIENCE_MILLISECONDS))
        except (ConnectionError, TimeoutError) as error:
            raise ConnectionGone from error
        except OSError as error:
            if error.errno in _UNREACHABLE:
                raise ConnectionGone from error
            raise
        return True

    async def _wait(self, stop: Stop) -> None:
        loop = asyncio.get_running_loop()
        writable = asyncio.Event()
        loop.add_writer(self._connection, writable.set)
        self.waiting = True
        try:
            await writable.wait()
        finally:
            self.waiting = False
            loop.remove_writer(self._connection)

    def _close_after(self, pushing: asyncio.Future[Stop]) -> None:
        self._close()
        pushing.exception()

    def _close(self) -> None:
        self._connection.close()


class PieceTransmission(Transmission):
    """The pieces of one body on their way."""

    def __init__(self, connection: socket.socket, pieces: Sequence[Piece]) -> None:
        super().__init__(connection)
        self._cursor = Cursor(pieces)
        self._file = OpenFile()
        self._stream = OpenStream()

    def push(self) -> Stop:
        """Send until the end, until the socket stays full or the slice is used up."""
        enough = self.sent + SLICE_BYTES
        while self._cursor.advance():
            if self.sent >= enough or not self._takes(self._send_piece):
                return Stop.CLIENT
        return Stop.END

    def _send_piece(self) -> int:
        cursor, piece = self._cursor, self._cursor.piece
        if isinstance(piece, FileRange):
            count = self._send_file(piece)
        elif isinstance(piece, Stream):
            count = self._connection.send(self._stream.at_hand(cursor))
        else:
            # MSG_MORE joins a part's header with the first bytes of its file.
            flags = 0 if cursor.last else socket.MSG_MORE
            octets = memoryview(piece)[cursor.position :] if cursor.position else piece
            count = self._connection.send(octets, flags)
        cursor.position += count
        return count

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

    def _close(self) -> None:
        self._file.close()
        self._stream.close()
        super()._close()


class PassageTransmission(Transmission):
    """A body that passes from another socket."""

    def __init__(self, connection: socket.socket, passage: Passage) -> None:
        super().__init__(connection)
        self._stall_seconds = passage.stall_seconds
        self._incoming = passage.body.incoming()
        try:
            self._pipe = Pipe()
        except OSError:
            self._incoming.close()
            raise
        self._steps = PassageSteps(passage, self._incoming).run()
        self._readable = select.poll()
        self._readable.register(self._incoming.connection, select.POLLIN)
        self._unsent = memoryview(b"")
        self._moving = 0
        self._client_gone = False

    def push(self) -> Stop:
        """Send until the end, until one of both sockets has the other wait, or the slice is used up."""
        enough = self.sent + SLICE_BYTES
        while self.sent < enough:
            if self._unsent:
                if not self._takes(self._send_octets):
                    return Stop.CLIENT
            elif self._pipe.filled:
                if not self._takes(self._send_pipe):
                    return Stop.CLIENT
            elif self._moving:
                count = self._incoming.move(self._pipe, self._moving)
                if count is None and not self._comes(min(self._moving, MOVE_BYTES)):
                    return Stop.SOURCE
                self._moving -= count or 0
            elif (stop := self._step()) is not None:
                return stop
        return Stop.CLIENT

    def _step(self) -> Stop | None:
        try:
            step = next(self._steps)
        except StopIteration:
            return Stop.END
        if step is None:
            return None if self._comes(1) else Stop.SOURCE
        if isinstance(step, bytes):
            self._unsent = memoryview(step)
        else:
            self._unsent, self._moving = memoryview(step.head), step.length
        return None

    def _comes(self, count: int) -> bool:
        """Whether so many bytes are there in a moment."""
        self._incoming.wake_at(count)
        return bool(self._readable.poll(PATIENCE_MILLISECONDS))

    def _send_octets(self) -> int:
        count = self._connection.send(self._unsent, socket.MSG_MORE if self._moving else 0)
        self._unsent = self._unsent[count:]
        return count

    def _send_pipe(self) -> int:
        flags = os.SPLICE_F_NONBLOCK | (os.SPLICE_F_MORE if self._moving else 0)
        count = os.splice(self._pipe.out, self._connection.fileno(), self._pipe.filled, flags=flags)
        self._pipe.filled -= count
        return count

    async def _wait(self, stop: Stop) -> None:
        if stop is not Stop.SOURCE:
            await super()._wait(stop)
            return
        # However slow the source is, each byte of it counts.
        self._incoming.wake_at(1)
        loop, incoming = asyncio.get_running_loop(), self._incoming.connection
        woken = asyncio.Event()
        loop.add_reader(incoming, woken.set)
        loop.add_reader(self._connection, self._hear_client, woken)
        try:
            async with asyncio.timeout(self._stall_seconds):
                await woken.wait()
        except TimeoutError:
            raise SourceBroken(f"nothing came for {self._stall_seconds:g} s") from None
        finally:
            loop.remove_reader(incoming)
            loop.remove_reader(self._connection)
        if self._client_gone:
            raise ConnectionGone

    def _hear_client(self, woken: asyncio.Event) -> None:
        """Hear a goodbye of the client; what else it says is read when it has its answer."""
        try:
            self._client_gone = not self._connection.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return
        except OSError:
            self._client_gone = True
        asyncio.get_running_loop().remove_reader(self._connection)
        if self._client_gone:
            woken.set()

    def _close(self) -> None:
        self._steps.close()
        self._pipe.close()
        self._incoming.close()
        super()._close()
