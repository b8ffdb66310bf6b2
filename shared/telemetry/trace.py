"""One request at one of our doors, and the id that it has in all services (W3C Trace Context).

A span lasts from the arrival of a request to the end of its answer, and is then one line of the log. Its
trace id came with the request or is made here; every log line of the request bears it, and every request to
a peer takes it along. Nothing else of a request is in a span: what it asks for is a name of ours.
"""

from __future__ import annotations

import logging
import random
import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar, Token
from typing import Final, Self

from shared.telemetry.result import Result

TRACEPARENT: Final = "traceparent"
_HEADER: Final = TRACEPARENT.encode()
#: The answer began and did not reach its end.
BROKEN_OFF: Final = "broken off"

# Later versions may add fields behind these four (W3C Trace Context 4).
_FORM: Final = re.compile(
    rb"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})"
)
_FIRST_VERSION: Final = b"00"
_LONGEST: Final = 512
_SAMPLED: Final = 1

_current: ContextVar[Span | None] = ContextVar("span", default=None)


class Span:
    """A request while it is answered; `with` makes it the current one, and tells its line at the end.

    A span that is `quiet`, as of a probe, is told at level DEBUG.
    """

    __slots__ = (
        "_before",
        "_began",
        "door",
        "flags",
        "milliseconds",
        "outcome",
        "parent_id",
        "quiet",
        "resource",
        "span_id",
        "status",
        "trace_id",
        "transaction",
    )

    def __init__(self, door: str, traceparent: bytes = b"", *, transaction: str = "") -> None:
        """Begin at `door`, in the trace of a `traceparent` that is well formed; else in a new one."""
        # They need to be unlike, not secret: the system's own source takes three times as long.
        ids = f"{random.getrandbits(192):048x}"
        self.span_id = ids[32:]
        self.trace_id, self.parent_id, self.flags = _read(traceparent) or (ids[:32], "", _SAMPLED)
        self.door = door
        self.transaction = transaction
        self.resource = ""
        self.outcome = ""
        self.status = 0
        self.quiet = False
        self.milliseconds = 0.0
        self._began = time.perf_counter()
        self._before: Token[Span | None] | None = None

    @property
    def traceparent(self) -> str:
        """The header by which a peer continues the trace."""
        return f"00-{self.trace_id}-{self.span_id}-{self.flags:02x}"

    def __enter__(self) -> Self:
        self._before = _current.set(self)
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if error is not None:
            self.outcome = self.outcome or Result.ERROR
        self.milliseconds = (time.perf_counter() - self._began) * 1000
        if (logging.DEBUG if self.quiet else logging.INFO) >= _told_from:
            _tell(self)
        if _export is not None and not self.quiet:
            _export(self)
        assert self._before is not None
        _current.reset(self._before)


def _nowhere(_span: Span) -> None:
    """Where no log was set up, as in a command, nothing is told."""


_tell: Callable[[Span], None] = _nowhere
_told_from: int = logging.CRITICAL


def tell_by(tell: Callable[[Span], None], *, level: int) -> None:
    """Have each span of `level` and above told by `tell`, which must not raise, when it ends."""
    global _tell, _told_from  # as logging itself, one for the process
    _tell, _told_from = tell, level


_export: Callable[[Span], None] | None = None


def export_by(export: Callable[[Span], None] | None) -> None:
    """Have each span that is not quiet given to `export`, which must not raise, when it ends."""
    global _export  # one for the process, too
    _export = export


def _read(traceparent: bytes) -> tuple[str, str, int] | None:
    if not traceparent or len(traceparent) > _LONGEST:
        return None
    match = _FORM.match(traceparent)
    if match is None:
        return None
    rest = traceparent[match.end() :]
    if rest and (match[1] == _FIRST_VERSION or not rest.startswith(b"-")):
        return None
    return match[2].decode(), match[3].decode(), int(match[4], 16) & _SAMPLED


def traceparent_in(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The traceparent among the headers of a request; empty when there is none, or more than one."""
    values = [value for name, value in headers if name == _HEADER]
    return values[0] if len(values) == 1 else b""


def traceparent() -> str:
    """What a request to a peer takes along: of the current span, or of a trace of its own."""
    return (_current.get() or Span("")).traceparent


def trace_id() -> str:
    """The id of the current span's trace; empty outside."""
    span = _current.get()
    return span.trace_id if span is not None else ""


@contextmanager
def one_trace() -> Iterator[None]:
    """Work of our own, that nobody asked for at a door: its requests to peers and its lines have one id."""
    before = _current.set(Span(""))
    try:
        yield
    finally:
        _current.reset(before)


def asked_for(transaction: str, resource: str = "") -> None:
    """The current span is of `transaction`, a number or the name of an interface of ours, by a route as it is
    written in the code; what was said first, holds."""
    if (span := _current.get()) is not None:
        span.transaction = span.transaction or transaction
        span.resource = span.resource or resource


def ended(outcome: str) -> None:
    """The current span ended so: a `Result`, or `BROKEN_OFF`."""
    if (span := _current.get()) is not None:
        span.outcome = outcome


def probed() -> None:
    """The current span is of a probe, of which there are many that say nothing."""
    if (span := _current.get()) is not None:
        span.quiet = True
