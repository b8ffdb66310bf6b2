"""The body of a large response as a list: bytes at hand, ranges of files that are not held in memory, and
streams that are made while they are sent."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Protocol

# A chunk costs a hop to a thread and back, and under TLS about 0.4 ms of encryption on the loop.
CHUNK_BYTES = 512 * 1024


@dataclass(frozen=True, slots=True)
class FileRange:
    """`length` bytes of the file `path` from `offset`; sent without being read into memory where possible."""

    path: Path | str
    offset: int
    length: int


# So much is read ahead of what one client takes, of streams that can.
AHEAD_BYTES = 16 * 1024 * 1024
STREAMS_AHEAD = 16


class Chunks(Protocol):
    """The bytes of a stream in order; generators are so."""

    def __next__(self) -> bytes | memoryview:
        """The next ones."""
        ...

    def close(self) -> None:
        """Let go of what they are made from."""
        ...


@dataclass(frozen=True, slots=True)
class Stream:
    """`length` bytes that are made while they are sent: `open` begins anew and yields them in order.

    It is called and run in a thread, may block there, and is closed when the client goes away. What it cannot
    give it says by raising `BodyBroken`. A stream that is opened before its turn has `ahead` bytes at hand or
    under way; 0 is one that gains nothing by it.
    """

    length: int
    open: Callable[[], Chunks]
    ahead: int = 0


Piece = bytes | FileRange | Stream


class BodyBroken(Exception):
    """What was promised of a body cannot be given; what was sent so far is incomplete."""


class StreamEnded(BodyBroken):
    """A stream ended before its length."""

    def __init__(self, missing: int) -> None:
        super().__init__(f"a stream ended {missing} bytes before its length")


class FileTruncated(BodyBroken):
    """A file ended before the range that was promised of it."""

    def __init__(self, piece: FileRange, missing: int) -> None:
        super().__init__(
            f"{Path(piece.path).name} ends {missing} bytes before offset {piece.offset} + {piece.length}; "
            "the file was changed after it was stored"
        )


def size(piece: Piece) -> int:
    """Length of `piece` in bytes."""
    return len(piece) if isinstance(piece, bytes) else piece.length


def total_size(pieces: Iterable[Piece]) -> int:
    """Length of all `pieces` in bytes."""
    # As `size`, which costs more to call than it does.
    return sum([len(piece) if isinstance(piece, bytes) else piece.length for piece in pieces])


class OpenFile:
    """One file that is open at a time; neighbouring ranges of the same file share the descriptor."""

    def __init__(self) -> None:
        self._path: Path | str | None = None
        self._descriptor = -1

    def descriptor(self, path: Path | str) -> int:
        """A descriptor of `path`, valid until the next call or `close`."""
        if path != self._path:
            self.close()
            self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            self._path = path
        return self._descriptor

    def close(self) -> None:
        """Close the file that is open, if any."""
        if self._path is not None:
            self._path = None
            os.close(self._descriptor)


class Cursor:
    """A place in a list of pieces."""

    def __init__(self, pieces: Sequence[Piece]) -> None:
        self._pieces = pieces
        self._index = -1
        self._size = 0
        self.piece: Piece = b""
        self.position = 0

    @property
    def remaining(self) -> int:
        """Bytes left of the current piece."""
        return self._size - self.position

    @property
    def last(self) -> bool:
        """Whether no piece follows the current one."""
        return self._index >= len(self._pieces) - 1

    @property
    def following(self) -> Iterator[Piece]:
        """The pieces after the current one."""
        return islice(self._pieces, self._index + 1, None)

    def advance(self) -> bool:
        """Make the current piece one of which bytes are left; False at the end."""
        while self._size == self.position:
            if self.last:
                return False
            self._index += 1
            self.piece, self.position = self._pieces[self._index], 0
            self._size = size(self.piece)
        return True


class OpenStream:
    """The stream that is open, what of its latest chunk was not taken yet, and those opened ahead."""

    def __init__(self) -> None:
        self._stream: Stream | None = None
        self._chunks: Chunks | None = None
        self._chunk = memoryview(b"")
        self._taken = 0
        self._ahead: deque[tuple[Stream, Chunks]] = deque()

    def at_hand(self, cursor: Cursor) -> memoryview:
        """Bytes of the cursor's stream from its position on, at least one; it only ever moves forward.

        Raises
        ------
        BodyBroken
            The stream cannot give what it promised.
        """
        stream, position = cursor.piece, cursor.position
        assert isinstance(stream, Stream)
        if stream is not self._stream or position < self._taken:
            self._open(stream)
            self._open_ahead(cursor.following)
        assert self._chunks is not None
        self._chunk = self._chunk[position - self._taken :]
        self._taken = position
        while not self._chunk:
            try:
                self._chunk = memoryview(next(self._chunks))
            except StopIteration:
                raise StreamEnded(stream.length - position) from None
        return self._chunk[: stream.length - position]

    def _open(self, stream: Stream) -> None:
        self._close_current()
        is_ahead = bool(self._ahead) and self._ahead[0][0] is stream
        self._chunks = self._ahead.popleft()[1] if is_ahead else stream.open()
        self._stream, self._taken = stream, 0

    def _open_ahead(self, following: Iterable[Piece]) -> None:
        streams = (piece for piece in following if isinstance(piece, Stream) and piece.ahead)
        total = 0
        for number, stream in enumerate(islice(streams, STREAMS_AHEAD)):
            total += stream.ahead
            if total > AHEAD_BYTES:
                return
            if number >= len(self._ahead):
                self._ahead.append((stream, stream.open()))

    def close(self) -> None:
        """Close what is open, if anything."""
        self._close_current()
        while self._ahead:
            self._ahead.popleft()[1].close()

    def _close_current(self) -> None:
        chunks, self._chunks, self._stream = self._chunks, None, None
        self._chunk = memoryview(b"")
        if chunks is not None:
            chunks.close()


class PieceReader:
    """Reads pieces in their order as chunks of equal size; blocks, hence for a thread."""

    def __init__(self, pieces: Sequence[Piece], chunk_bytes: int = CHUNK_BYTES) -> None:
        self._cursor = Cursor(pieces)
        self._chunk_bytes = chunk_bytes
        self._file = OpenFile()
        self._stream = OpenStream()

    def next_chunk(self) -> bytearray:
        """The next bytes, `chunk_bytes` of them but for the last; empty at the end.

        Raises
        ------
        BodyBroken
            A file is shorter than its range, or a stream broke.
        """
        chunk = bytearray(self._chunk_bytes)
        filled = 0
        with memoryview(chunk) as view:
            while filled < self._chunk_bytes and self._cursor.advance():
                filled += self._fill(view[filled:])
        del chunk[filled:]
        return chunk

    def close(self) -> None:
        """Close the file and the stream that are open, if any."""
        self._file.close()
        self._stream.close()

    def _fill(self, view: memoryview) -> int:
        cursor, piece = self._cursor, self._cursor.piece
        count = min(len(view), cursor.remaining)
        if isinstance(piece, FileRange):
            descriptor = self._file.descriptor(piece.path)
            count = os.preadv(descriptor, [view[:count]], piece.offset + cursor.position)
            if count == 0:
                raise FileTruncated(piece, cursor.remaining)
        elif isinstance(piece, Stream):
            octets = self._stream.at_hand(cursor)[:count]
            count = len(octets)
            view[:count] = octets
        else:
            view[:count] = piece[cursor.position : cursor.position + count]
        cursor.position += count
        return count


async def read_ahead(
    pieces: Sequence[Piece], *, executor: Executor | None = None, chunk_bytes: int = CHUNK_BYTES
) -> AsyncGenerator[bytearray]:
    """Yield the bytes of `pieces` in chunks, each read in a thread while the one before is being sent.

    Raises
    ------
    BodyBroken
        A file is shorter than its range, or a stream broke.
    """
    loop = asyncio.get_running_loop()
    reader = PieceReader(pieces, chunk_bytes)
    coming = loop.run_in_executor(executor, reader.next_chunk)
    try:
        # Shielded, because a thread cannot be cancelled: the file stays open until its read has ended.
        while chunk := await asyncio.shield(coming):
            coming = loop.run_in_executor(executor, reader.next_chunk)
            yield chunk
    finally:
        coming.add_done_callback(lambda read: _close(reader, read))


def _close(reader: PieceReader, read: asyncio.Future[bytearray]) -> None:
    reader.close()
    if not read.cancelled():
        read.exception()
