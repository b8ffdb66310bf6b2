"""multipart/related, read as it arrives (RFC 2046 5.1, RFC 2387): constant memory, exact to the byte.

`DelimiterScanner` finds the delimiters in bytes that are pushed into it; `Parts` turns a stream of chunks
into a stream of parts, each with its own stream of bytes. Nothing here knows SOAP.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Generator, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, auto

from shared.faults import SenderFault
from shared.http.base64_text import Base64Decoder

MAX_PARTS = 257
MAX_HEADER_LINES = 16
MAX_HEADER_LINE = 8 * 1024
MAX_OUTSIDE = 4 * 1024
MAX_BOUNDARY = 70
_BOUNDARY = re.compile(r"[!-~](?:[ -~]*[!-~])?")
_OPENS = re.compile(rb"[ \t]{0,128}\r\n")
_CLOSES = re.compile(rb"--[ \t]{0,128}\r?\n")
_UNDECIDED = re.compile(rb"(?:-|(?:--)?[ \t]{0,128}\r?)\Z")
_CLOSES_AT_END = re.compile(rb"--[ \t]{0,128}\r?\Z")

Headers = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class PartBegins:
    """A part begins; names of `headers` are in lower case, folding is undone."""

    headers: Headers


class Mark(Enum):
    """What happens between the bytes of parts."""

    PART_ENDS = auto()
    MESSAGE_ENDS = auto()


Event = PartBegins | bytes | Mark


class _State(Enum):
    PREAMBLE = auto()
    HEADERS = auto()
    BODY = auto()
    EPILOGUE = auto()


class DelimiterScanner:
    """Finds the parts in bytes that are fed to it in pieces of any size.

    A delimiter is CRLF, two hyphens, the boundary, then blanks and CRLF; with two more hyphens it ends the
    message. Whatever looks like one and is not belongs to the part, to the byte.
    """

    def __init__(
        self, boundary: str, *, max_parts: int = MAX_PARTS, max_boundary: int = MAX_BOUNDARY
    ) -> None:
        if len(boundary) > max_boundary or not _BOUNDARY.fullmatch(boundary):
            raise SenderFault("the Content-Type needs a boundary of 1 to 70 characters (RFC 2046 5.1.1)")
        self._delimiter = b"\r\n--" + boundary.encode("ascii")
        self._max_parts = max_parts
        self._state = _State.PREAMBLE
        self._outside = 0
        self._parts = 0
        self._lines: list[str] = []
        # A delimiter at the very beginning has no line before it: it gets one, which is no content.
        self._buffer = b"\r\n"
        self._lent = 2

    def feed(self, chunk: bytes) -> Iterator[Event]:
        """Yield what `chunk` completes; exhaust the iterator before the next call."""
        self._buffer = self._buffer + chunk if self._buffer else chunk
        more = True
        while more:
            if self._state is _State.HEADERS:
                more = yield from self._headers()
            elif self._state is _State.EPILOGUE:
                more = self._count_outside(len(self._buffer))
                self._buffer = b""
            else:
                more = yield from self._content()

    def take(self, length: int) -> bytes:
        """The content of the part that just began, as far as it is here: it is `length` bytes long, and no
        delimiter is looked for in it. What is missing of it comes to whoever takes it, and not here.
        """
        content = self._buffer[self._lent : self._lent + length]
        rest = self._buffer[self._lent + length :]
        # The line end that was lent begins the delimiter of an empty part alone.
        self._buffer, self._lent = (rest, 0) if length else (self._buffer, self._lent)
        return content

    def close(self) -> Iterator[Event]:
        """Yield what the end of the input completes.

        Raises
        ------
        SenderFault
            The closing delimiter has not come.
        """
        if self._state in (_State.BODY, _State.PREAMBLE):
            size = len(self._delimiter)
            if self._buffer.startswith(self._delimiter) and _CLOSES_AT_END.match(self._buffer, size):
                yield from self._delimited(closing=True)
        if self._state is not _State.EPILOGUE:
            raise SenderFault("the multipart message is truncated: its closing boundary did not arrive")

    def _content(self) -> Generator[Event, None, bool]:
        at = self._buffer.find(self._delimiter)
        while at >= 0:
            after = at + len(self._delimiter)
            opens = _OPENS.match(self._buffer, after)
            closes = None if opens else _CLOSES.match(self._buffer, after)
            if delimiter := opens or closes:
                yield from self._emit(at)
                self._buffer = self._buffer[delimiter.end() :]
                yield from self._delimited(closing=delimiter is closes)
                return True
            if _UNDECIDED.match(self._buffer, after):
                break
            at = self._buffer.find(self._delimiter, at + 1)
        keep = at if at >= 0 else self._possible_delimiter()
        yield from self._emit(keep)
        self._buffer = self._buffer[keep:]
        return False

    def _possible_delimiter(self) -> int:
        # A boundary holds no CR, so that only the last one can begin a delimiter.
        at = self._buffer.rfind(b"\r", max(0, len(self._buffer) - len(self._delimiter) + 1))
        if at >= 0 and self._delimiter.startswith(self._buffer[at:]):
            return at
        return len(self._buffer)

    def _emit(self, end: int) -> Iterator[Event]:
        content = self._buffer[self._lent : end]
        self._lent = max(0, self._lent - end)
        if self._state is _State.PREAMBLE:
            self._count_outside(len(content))
        elif content:
            yield content

    def _delimited(self, *, closing: bool) -> Iterator[Event]:
        self._lent = 0
        # Known before it is told: whoever is told that a part ended may go on with what is left himself.
        before, self._state = self._state, _State.EPILOGUE if closing else _State.HEADERS
        self._parts += not closing
        if before is _State.BODY:
            yield Mark.PART_ENDS
        if closing:
            yield Mark.MESSAGE_ENDS
        elif self._parts > self._max_parts:
            raise SenderFault(f"the message has more than {self._max_parts} parts")

    def _headers(self) -> Generator[Event, None, bool]:
        position = 0
        while (end := self._buffer.find(b"\n", position)) >= 0:
            line = self._buffer[position:end].removesuffix(b"\r")
            position = end + 1
            if not line:
                headers, self._lines = _headers_of(self._lines), []
                self._state = _State.BODY
                # A part without content ends in the delimiter that begins with this very line end.
                self._buffer = b"\r\n" + self._buffer[position:]
                self._lent = 2
                yield PartBegins(headers)
                return True
            self._take_line(line)
        self._buffer = self._buffer[position:]
        self._check_line(self._buffer)
        return False

    def _take_line(self, line: bytes) -> None:
        self._check_line(line)
        if len(self._lines) == MAX_HEADER_LINES:
            raise SenderFault(f"a part has more than {MAX_HEADER_LINES} header lines")
        self._lines.append(line.decode("latin-1"))

    def _check_line(self, line: bytes) -> None:
        if len(line) > MAX_HEADER_LINE:
            raise SenderFault(f"a header line of a part is longer than {MAX_HEADER_LINE} bytes")

    def _count_outside(self, size: int) -> bool:
        self._outside += size
        if self._outside > MAX_OUTSIDE:
            raise SenderFault(
                f"more than {MAX_OUTSIDE} bytes stand before the first or after the last boundary"
            )
        return False


def _headers_of(lines: list[str]) -> Headers:
    unfolded: list[str] = []
    for line in lines:
        if line[0] in " \t" and unfolded:
            unfolded[-1] += " " + line.strip()
        else:
            unfolded.append(line)
    headers: dict[str, str] = {}
    for line in unfolded:
        name, colon, value = line.partition(":")
        if not colon:
            raise SenderFault("a header line of a part has no colon")
        headers.setdefault(name.strip().lower(), value.strip())
    return headers


def content_id_of(headers: Headers) -> str:
    """The Content-ID of a part, without angle brackets; empty when it has none."""
    return headers.get("content-id", "").removeprefix("<").removesuffix(">")


def transfer_decoder(headers: Headers) -> Base64Decoder | None:
    """What undoes the transfer encoding of a part; None where there is nothing to undo.

    Raises
    ------
    SenderFault
        The encoding is one that nobody uses here.
    """
    encoding = headers.get("content-transfer-encoding", "binary").lower()
    if encoding == "base64":
        return Base64Decoder(f"part {content_id_of(headers)}")
    if encoding not in ("binary", "8bit", "7bit"):
        raise SenderFault("the Content-Transfer-Encoding of a part is not binary, 8bit, 7bit or base64")
    return None


class Part:
    """One part; its `chunks` must be taken before the next part is asked for, or they are gone."""

    def __init__(self, headers: Headers, events: AsyncIterator[Event]) -> None:
        self.headers = headers
        self.content_id = content_id_of(headers)
        self.content_type = headers.get("content-type", "application/octet-stream")
        self._events = events
        self._ended = False

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the part's content as it arrives, transfer encoding undone."""
        decoder = transfer_decoder(self.headers)
        async for chunk in self._raw():
            if octets := decoder.feed(chunk) if decoder else chunk:
                yield octets
        if decoder is not None:
            decoder.close()

    async def skip(self) -> None:
        """Let the rest of the part pass by."""
        async for _ in self._raw():
            pass

    async def _raw(self) -> AsyncIterator[bytes]:
        while not self._ended:
            event = await anext(self._events)
            if isinstance(event, bytes):
                yield event
            else:
                self._ended = True


class Parts:
    """The parts of a message, one after the other; ends when the input has ended in order."""

    def __init__(
        self,
        chunks: AsyncIterator[bytes],
        boundary: str,
        *,
        max_parts: int = MAX_PARTS,
        max_boundary: int = MAX_BOUNDARY,
    ) -> None:
        #: What finds them; whoever goes on with it after a part has ended takes over from here.
        self.scanner = DelimiterScanner(boundary, max_parts=max_parts, max_boundary=max_boundary)
        self._events = _events(chunks, self.scanner)
        self._current: Part | None = None

    def __aiter__(self) -> Parts:
        return self

    async def __anext__(self) -> Part:
        if self._current is not None:
            await self._current.skip()
        async for event in self._events:
            if isinstance(event, PartBegins):
                self._current = Part(event.headers, self._events)
                return self._current
        self._current = None
        raise StopAsyncIteration


async def _events(chunks: AsyncIterator[bytes], scanner: DelimiterScanner) -> AsyncIterator[Event]:
    async for chunk in chunks:
        for event in scanner.feed(chunk):
            yield event
    for event in scanner.close():
        yield event
