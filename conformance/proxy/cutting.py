"""Where messages end in a stream: HTTP/1.1 (RFC 9112 6.3), MLLP, and syslog with octet counting (RFC 5425).

A cutter is fed what comes and gives it back in pieces, telling after which of them a message has ended. It
holds no more than a head.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Protocol

MOST_HEAD: Final = 64 * 1024
_HEADER: Final = re.compile(rb"\r?\n([\w-]+):[ \t]*([^\r\n]*)")
_STATUS: Final = re.compile(rb"HTTP/1\.[01] (\d{3})")
_BODILESS: Final = frozenset({204, 304})


class StreamError(ValueError):
    """The stream is not of the protocol that was expected."""


@dataclass(frozen=True, slots=True)
class Cut:
    """A piece of a message; `ends` tells that the message ends with it."""

    octets: bytes
    ends: bool = False


class Cutter(Protocol):
    """Cuts one direction of a connection into messages."""

    @abstractmethod
    def feed(self, octets: bytes) -> Iterator[Cut]:
        """The pieces that are known now; raises `StreamError`."""
        ...


class HttpCutter:
    """Requests, or answers. An answer to HEAD has no body: `expect` is told the method of each request."""

    def __init__(self) -> None:
        self._waiting = b""
        self._left = 0
        self._state = self._head
        self._methods: list[str] = []

    def expect(self, method: str) -> None:
        """An answer to a request with this method comes, in its turn."""
        self._methods.append(method)

    def feed(self, octets: bytes) -> Iterator[Cut]:
        """Heads whole, bodies in pieces as they come."""
        self._waiting += octets
        while self._waiting:
            before = len(self._waiting)
            yield from self._state()
            if len(self._waiting) == before:
                return

    def _take(self, length: int) -> bytes:
        octets, self._waiting = self._waiting[:length], self._waiting[length:]
        return octets

    def _head(self) -> Iterator[Cut]:
        end = re.search(rb"\r?\n\r?\n", self._waiting)
        if end is None:
            if len(self._waiting) > MOST_HEAD:
                raise StreamError(f"no head of HTTP within {MOST_HEAD} octets")
            return
        head = self._take(end.end())
        fields = {name.lower(): value.strip() for name, value in _HEADER.findall(head)}
        status = _STATUS.match(head)
        code = int(status[1]) if status else 0
        if 100 <= code < 200:
            yield Cut(head)
            return
        method = self._methods.pop(0) if status and self._methods else ""
        chunked = fields.get(b"transfer-encoding", b"").lower().endswith(b"chunked")
        length = fields.get(b"content-length", b"" if status else b"0")
        if method == "HEAD" or code in _BODILESS:
            chunked, length = False, b"0"
        if not chunked and length and not length.isdigit():
            raise StreamError(f"Content-Length is {length[:40]!r}")
        if chunked:
            self._state = self._chunk
        elif length:
            self._left = int(length)
            self._state = self._body if self._left else self._head
        else:
            self._state = self._rest
        yield Cut(head, ends=not chunked and length != b"" and self._left == 0)

    def _body(self) -> Iterator[Cut]:
        octets = self._take(self._left)
        self._left -= len(octets)
        if not self._left:
            self._state = self._head
        yield Cut(octets, ends=not self._left)

    def _rest(self) -> Iterator[Cut]:
        yield Cut(self._take(len(self._waiting)))

    def _chunk(self) -> Iterator[Cut]:
        line, newline, _ = self._waiting.partition(b"\n")
        if not newline:
            if len(line) > MOST_HEAD:
                raise StreamError("no chunk of HTTP")
            return
        size = re.match(rb"[0-9A-Fa-f]{1,12}", line)
        if size is None:
            raise StreamError(f"no chunk of HTTP: {line[:20]!r}")
        self._left = int(size[0], 16)
        yield Cut(self._take(len(line) + 1))
        if self._left:
            self._left += 2
            self._state = self._chunk_body
        else:
            self._state = self._trailer

    def _chunk_body(self) -> Iterator[Cut]:
        octets = self._take(self._left)
        self._left -= len(octets)
        if not self._left:
            self._state = self._chunk
        yield Cut(octets)

    def _trailer(self) -> Iterator[Cut]:
        line, newline, _ = self._waiting.partition(b"\n")
        if not newline:
            return
        ends = not line.strip()
        if ends:
            self._state = self._head
        yield Cut(self._take(len(line) + 1), ends=ends)


class MllpCutter:
    """HL7 v2 messages in their frames."""

    def __init__(self) -> None:
        self._split = False

    def feed(self, octets: bytes) -> Iterator[Cut]:
        """Pieces, cut behind the end of a frame."""
        if not octets:
            return
        if self._split and octets.startswith(b"\r"):
            yield Cut(b"\r", ends=True)
            octets = octets[1:]
        self._split = octets.endswith(b"\x1c")
        *frames, rest = octets.split(b"\x1c\r")
        for frame in frames:
            yield Cut(frame + b"\x1c\r", ends=True)
        if rest:
            yield Cut(rest)


class SyslogCutter:
    """Records of syslog with their lengths."""

    def __init__(self) -> None:
        self._digits = b""
        self._left = 0

    def feed(self, octets: bytes) -> Iterator[Cut]:
        """Pieces, cut behind the end of a record."""
        while octets:
            if self._left:
                piece, octets = octets[: self._left], octets[self._left :]
                self._left -= len(piece)
                yield Cut(piece, ends=not self._left)
                continue
            digit, octets = octets[:1], octets[1:]
            if digit == b" " and self._digits:
                self._left = int(self._digits)
                yield Cut(self._digits + b" ", ends=not self._left)
                self._digits = b""
            elif digit.isdigit() and len(self._digits) < 9:
                self._digits += digit
            else:
                raise StreamError(f"no length of a record: {(self._digits + digit)!r}")
