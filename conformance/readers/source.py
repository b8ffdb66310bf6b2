"""Bytes to read from, of a file or of memory, a piece at a time: what is judged is never held whole."""

from __future__ import annotations

import io
import mmap
from collections.abc import Iterator
from contextlib import suppress
from typing import BinaryIO, Final

PIECE: Final = 256 * 1024
#: Bytes that are held at once where a reader needs all of something, such as a manifest within a message.
MOST_HELD: Final = 16 * 1024**2

Buffer = bytes | memoryview


class Source:
    """The bytes of `file` from `start` to `end`; offsets count from `start`."""

    def __init__(self, file: BinaryIO, start: int = 0, end: int | None = None) -> None:
        self._file = file
        self._start = start
        self._end = file.seek(0, io.SEEK_END) if end is None else end

    @classmethod
    def of(cls, octets: bytes) -> Source:
        """Bytes that are in memory."""
        return cls(io.BytesIO(octets))

    def __len__(self) -> int:
        return max(0, self._end - self._start)

    def read(self, at: int, length: int) -> bytes:
        """At most `length` bytes from `at`."""
        self._file.seek(self._start + at)
        return self._file.read(max(0, min(length, len(self) - at)))

    def part(self, start: int, end: int | None = None) -> Source:
        """The bytes from `start` to `end` as a source of their own."""
        stop = self._end if end is None else min(self._end, self._start + end)
        return Source(self._file, self._start + start, stop)

    def buffer(self) -> Buffer:
        """All of it by position; of a file what is looked at alone takes memory."""
        with suppress(OSError, ValueError, io.UnsupportedOperation):
            mapped = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
            return memoryview(mapped)[self._start : self._end]
        return self.read(0, len(self))

    def pieces(self, at: int = 0) -> Iterator[bytes]:
        """The bytes from `at`, in order."""
        while piece := self.read(at, PIECE):
            yield piece
            at += len(piece)

    def find(self, octets: bytes, at: int = 0) -> int:
        """Where `octets` stand first, from `at` on; -1 when they do not."""
        while at < len(self):
            piece = self.read(at, PIECE + len(octets) - 1)
            if (offset := piece.find(octets)) >= 0:
                return at + offset
            at += PIECE
        return -1
