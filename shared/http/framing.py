"""Where the content is in the body of an HTTP/1.1 answer (RFC 9112 6, 7.1); knows bytes and no socket."""

from __future__ import annotations

import re
import sys
from enum import Enum, auto

MAX_CHUNK_LINE = 1024
MAX_TRAILER_BYTES = 16 * 1024
_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;.*)?")


class BrokenFraming(Exception):
    """The body is not framed as HTTP asks, or ends before its framing does."""


class _Expected(Enum):
    CONTENT = auto()
    CONTENT_ENDS = auto()
    SIZE = auto()
    TRAILER = auto()
    ENDED = auto()


class Framing:
    """Takes a body as it comes off the wire, and gives its content.

    `length` is that of Content-Length; None with `chunked`, or for a body that ends with its connection.
    """

    def __init__(self, *, length: int | None = None, chunked: bool = False) -> None:
        self._raw = b""
        self._chunked = chunked
        self._open_ended = length is None and not chunked
        self._left = length or 0
        self._trailer_bytes = 0
        self._state = _Expected.SIZE if chunked else _Expected.CONTENT
        if length == 0:
            self._state = _Expected.ENDED

    @property
    def ended(self) -> bool:
        """Whether all of the content was given."""
        return self._state is _Expected.ENDED

    @property
    def reusable(self) -> bool:
        """Whether the connection can carry another answer: this one is over, and nothing came behind it."""
        return self.ended and not self._open_ended and not self._raw

    @property
    def movable(self) -> int:
        """Bytes of content that come next on the wire, nothing before them: they may pass by unread."""
        if self._raw or self._state is not _Expected.CONTENT:
            return 0
        return sys.maxsize if self._open_ended else self._left

    def moved(self, count: int) -> None:
        """Say that `count` of the `movable` bytes were taken off the wire."""
        self._taken(count)

    def feed(self, raw: bytes) -> None:
        """Take what came off the wire."""
        self._raw = self._raw + raw if self._raw else raw

    def end(self) -> None:
        """Say that the connection ended.

        Raises
        ------
        BrokenFraming
            The body had not.
        """
        if self._open_ended:
            self._state = _Expected.ENDED
        if not self.ended:
            raise BrokenFraming("the connection ended in the middle of the body")

    def content(self, most: int) -> bytes:
        """Up to `most` bytes of content; none when more must be fed first, or at the end.

        Raises
        ------
        BrokenFraming
            What was fed is no framing.
        """
        while self._state is not _Expected.CONTENT:
            if self.ended or not self._advance():
                return b""
        count = min(most, len(self._raw))
        if not self._open_ended:
            count = min(count, self._left)
        if count == len(self._raw):
            content, self._raw = self._raw, b""
        else:
            content, self._raw = self._raw[:count], self._raw[count:]
        self._taken(count)
        return content

    def _taken(self, count: int) -> None:
        if self._open_ended:
            return
        self._left -= count
        if self._left == 0:
            self._state = _Expected.CONTENT_ENDS if self._chunked else _Expected.ENDED

    def _advance(self) -> bool:
        """Read one line of the framing; False when it is not all there."""
        end = self._raw.find(b"\n")
        if end < 0:
            if len(self._raw) > MAX_CHUNK_LINE:
                raise BrokenFraming("a line of the chunked coding is too long")
            return False
        line, self._raw = self._raw[:end].removesuffix(b"\r"), self._raw[end + 1 :]
        if self._state is _Expected.CONTENT_ENDS:
            if line:
                raise BrokenFraming("a chunk is longer than its size says")
            self._state = _Expected.SIZE
        elif self._state is _Expected.SIZE:
            self._size(line)
        else:
            self._trailer(line)
        return True

    def _size(self, line: bytes) -> None:
        size = _CHUNK_LINE.fullmatch(line)
        if size is None:
            raise BrokenFraming("the size of a chunk is no hexadecimal number")
        self._left = int(size[1], 16)
        self._state = _Expected.CONTENT if self._left else _Expected.TRAILER

    def _trailer(self, line: bytes) -> None:
        self._trailer_bytes += len(line)
        if self._trailer_bytes > MAX_TRAILER_BYTES:
            raise BrokenFraming("the trailer is too long")
        if not line:
            self._state = _Expected.ENDED
