"""A multipart body on its way from one connection to another: delimiters and heads are read, parts are not,
where they say how long they are (RFC 2046 5.1; Content-Length in a part as in PS3.18 8.6.1).

The body that leaves has a boundary of its own, which whoever sent the parts does not know: nothing in a part
can end it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from shared.faults import SenderFault
from shared.http.base64_text import Base64Decoder
from shared.http.incoming import Arriving, Incoming, IncomingBody, SourceBroken
from shared.http.multipart import DelimiterScanner, Event, Headers, Mark, PartBegins, transfer_decoder
from shared.http.pieces import CHUNK_BYTES

# A delimiter and a head fit in so much; what is read beyond them is copied.
_HEAD_BYTES = 1024
_LAST_CHUNK = b"0\r\n\r\n"
_MAX_LENGTH_DIGITS = 15


class Move(NamedTuple):
    """Send `head`, then let `length` bytes of content go on without being read."""

    head: bytes
    length: int


#: What to do next: send these bytes, move those that follow, or wait until something has come.
Step = bytes | Move | None


def declared_length(headers: Headers) -> int | None:
    """How long a part says that its content is; None when it does not, or is encoded."""
    length = headers.get("content-length", "")
    plain = headers.get("content-transfer-encoding", "binary").lower() in ("binary", "8bit", "7bit")
    if not (plain and length.isascii() and length.isdigit() and len(length) <= _MAX_LENGTH_DIGITS):
        return None
    return int(length)


class Body(Protocol):
    """Where parts come from (`shared.http.links.ReceivedBody`); taken over once, in one of two ways."""

    @property
    def plain(self) -> bool:
        """Whether a thread can take over."""
        ...

    def incoming(self) -> Incoming:
        """For one thread."""
        ...

    def arriving(self) -> Arriving:
        """For the loop."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """One body that is to pass.

    Parameters
    ----------
    body
        Where the parts come from.
    scanner
        What has read so far, to the end of the part before the first that passes.
    opening
        What leaves before the parts.
    head_of
        The head under which a part goes on, from its headers; None for one that does not.
    closing
        What leaves at the end; raises `SourceBroken` when a part did not come.
    stall_seconds
        How long nothing may come.
    on_broken
        Learns that the parts did not all come.
    """

    body: Body
    scanner: DelimiterScanner
    opening: bytes
    head_of: Callable[[Headers], bytes | None]
    closing: Callable[[], bytes]
    stall_seconds: float
    on_broken: Callable[[], Awaitable[None]]


class Steps:
    """What to do, one after the other, with the parts of a body.

    `head_of` is told the headers of each part when it begins, and gives what goes before its content; None
    for a part that is dropped.
    """

    def __init__(
        self, scanner: DelimiterScanner, incoming: IncomingBody, head_of: Callable[[Headers], bytes | None]
    ) -> None:
        self._scanner = scanner
        self._incoming = incoming
        self._head_of = head_of
        self._passing = False
        self._full = False
        self._decoder: Base64Decoder | None = None

    def run(self) -> Generator[Step]:
        """The steps.

        Raises
        ------
        SourceBroken
            A part that was promised does not come, or what comes is no multipart body.
        """
        try:
            yield from self._parts()
        except SenderFault as fault:
            raise SourceBroken(str(fault)) from fault

    def _framed(self, octets: bytes, more: int = 0) -> bytes:
        """Octets that go on, before `more` that do."""
        return octets

    def _parts(self) -> Generator[Step]:
        # What was read before the thread took over comes first.
        octets: bytes | None = b""
        while True:
            if octets is None:
                yield None
            else:
                for event in self._scanner.feed(octets):
                    yield from self._event(event)
            # Of a part that said its length all was taken: what comes is the head of the next one.
            reading = self._passing and not self._full
            octets = self._incoming.read(CHUNK_BYTES, ahead=CHUNK_BYTES if reading else _HEAD_BYTES)
            if octets == b"":
                break
        for event in self._scanner.close():
            yield from self._event(event)

    def _event(self, event: Event) -> Generator[Step]:
        if isinstance(event, PartBegins):
            yield from self._part(event.headers)
        elif isinstance(event, bytes):
            yield from self._content(event)
        elif event is Mark.PART_ENDS:
            if self._decoder is not None:
                self._decoder.close()
            self._passing, self._full, self._decoder = False, False, None

    def _part(self, headers: Headers) -> Generator[Step]:
        head = self._head_of(headers)
        self._passing = head is not None
        length = declared_length(headers)
        if length is None:
            self._decoder = transfer_decoder(headers)
            if head is not None:
                yield self._framed(head)
            return
        self._full = True
        at_hand = self._scanner.take(length)
        missing = length - len(at_hand)
        if head is None:
            yield from self._dropped(missing)
        else:
            yield from self._moved(self._framed(head + at_hand, missing), missing)

    def _moved(self, head: bytes, count: int) -> Generator[Step]:
        while count:
            if movable := min(count, self._incoming.movable):
                yield Move(head, movable)
                head, count = b"", count - movable
            else:
                octets = self._taken(count, ahead=_HEAD_BYTES)
                if octets is None and head:
                    yield head
                    head = b""
                elif octets is None:
                    yield None
                else:
                    head, count = head + octets, count - len(octets)
        yield head

    def _dropped(self, count: int) -> Generator[Step]:
        while count:
            octets = self._taken(count, ahead=CHUNK_BYTES)
            count -= len(octets or b"")
            if octets is None:
                yield None

    def _taken(self, count: int, *, ahead: int) -> bytes | None:
        octets = self._incoming.read(min(count, CHUNK_BYTES), ahead=ahead)
        if octets == b"":
            raise SourceBroken("the body ends in the middle of a part")
        return octets

    def _content(self, octets: bytes) -> Generator[Step]:
        if self._full:
            raise SourceBroken("a part is longer than it says")
        if self._decoder is not None:
            octets = self._decoder.feed(octets)
        if self._passing:
            yield self._framed(octets)


class PassageSteps(Steps):
    """The same so that a body passes; in the chunked coding (RFC 9112 7.1)."""

    def __init__(self, passage: Passage, incoming: IncomingBody) -> None:
        super().__init__(passage.scanner, incoming, passage.head_of)
        self._opening = passage.opening
        self._closing = passage.closing
        # The line end that a chunk still needs: it leaves with what comes next.
        self._due = b""

    def run(self) -> Generator[Step]:
        """The steps; raises as those of `Steps`, and what `closing` of the passage raises."""
        yield self._framed(self._opening)
        yield from super().run()
        yield self._framed(self._closing()) + self._due + _LAST_CHUNK

    def _framed(self, octets: bytes, more: int = 0) -> bytes:
        """The beginning of a chunk, with all its octets but `more`."""
        if not octets and not more:
            return b""
        due, self._due = self._due, b"\r\n"
        return b"%s%x\r\n%s" % (due, len(octets) + more, octets)


async def passing(passage: Passage) -> AsyncGenerator[bytes]:
    """What leaves of a body, as it comes: for connections that the loop reads and writes.

    Raises
    ------
    SourceBroken
        A part that was promised does not come, or what comes is no multipart body.
    """
    arriving = passage.body.arriving()
    for step in PassageSteps(passage, arriving).run():
        if step is None:
            await arriving.more(passage.stall_seconds)
        elif isinstance(step, bytes):
            yield step
        else:
            yield step.head
            left = step.length
            while left:
                if octets := arriving.move(left):
                    yield octets
                    left -= len(octets)
                else:
                    await arriving.more(passage.stall_seconds)
