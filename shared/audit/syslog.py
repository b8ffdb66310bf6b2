"""Syslog messages and their framing on a stream (RFC 5424, RFC 5425; ITI TF-2 3.20.4.1.2.1)."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha256

FACILITY = 10  # security/authorization messages
WARNING = 4
NOTICE = 5
# ITI-20 fixes this MSGID although the body has long been DICOM's; receivers decide by the body.
MSGID = "IHE+RFC-3881"
BOM = b"\xef\xbb\xbf"
MAX_DIGITS = 7
#: Octets that are kept of a frame beyond the limit.
KEPT_OF_OVERSIZED = 8 * 1024

_UNPRINTABLE = re.compile(r"[^\x21-\x7e]")


class FramingError(ValueError):
    """The octets are not `MSG-LEN SP SYSLOG-MSG`; after this nothing on the stream can be trusted."""


class SyslogError(ValueError):
    """The message has no RFC 5424 header; the text names the field and shows no content."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SyslogMessage:
    """One message of RFC 5424; `-` (NILVALUE) is empty, `time` None when absent. `body` has no BOM."""

    facility: int
    severity: int
    time: datetime | None
    hostname: str
    app_name: str
    procid: str
    msgid: str
    structured_data: str
    body: bytes


# --- writing -----------------------------------------------------------------------------------------


def message(
    body: bytes, *, severity: int, time: datetime, hostname: str, app_name: str, procid: str | None = None
) -> bytes:
    """Write a message around an audit record.

    `time` is aware; `procid` is this process unless named. Names lose what the header cannot hold: white
    space and what is not printable ASCII become `_`.
    """
    stamp = time.astimezone(UTC).isoformat(timespec="microseconds")[:26]
    header = (
        f"<{FACILITY * 8 + severity}>1 {stamp}Z {_name(hostname, 255)} {_name(app_name, 48)}"
        f" {_name(procid or str(os.getpid()), 128)} {MSGID} - "
    )
    return header.encode("ascii") + body


@lru_cache(maxsize=64)
def _name(value: str, most: int) -> str:
    return _UNPRINTABLE.sub("_", value)[:most] or "-"


def frame(octets: bytes) -> bytes:
    """`octets` with their count before them (RFC 5425 4.3)."""
    return b"%d %s" % (len(octets), octets)


# --- reading a stream --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Oversized:
    """What is kept of a frame beyond the limit: its length, its SHA-256 in hexadecimal, its beginning."""

    length: int
    digest: str
    beginning: bytes


class FrameReader:
    """Takes a stream as it comes and gives whole messages; holds one unfinished frame and one read.

    Of a frame that is longer than `max_bytes` it reads on and keeps the beginning, so that the stream goes on
    behind it.

    Tolerance `lines`: a stream whose first octet is `<` is one of lines (RFC 6587 3.4.2, as old senders and
    relays write), each a message. A message with a line end inside comes apart, and each part is kept.
    """

    def __init__(self, *, max_bytes: int, lines: bool = False) -> None:
        self._max_bytes = max_bytes
        self._lines: _LineReader | None = None
        self._may_be_lines = lines
        self._buffer = bytearray()
        self._announced: int | None = None
        self._long: _Long | None = None

    @property
    def inside(self) -> bool:
        """Whether a frame has begun and is not complete."""
        if self._lines is not None:
            return self._lines.inside
        return bool(self._buffer) or self._announced is not None or self._long is not None

    @property
    def announced(self) -> int:
        """Octets of the frame that has begun; 0 when that is not known yet."""
        return self._announced or (self._long.length if self._long else 0)

    def feed(self, octets: bytes) -> Iterator[bytes | Oversized]:
        """Yield the messages that `octets` complete.

        Raises
        ------
        FramingError
            MSG-LEN is no number without leading zero, or has more than 7 digits.
        """
        if self._may_be_lines and octets:
            self._lines = _LineReader(self._max_bytes) if octets.startswith(b"<") else None
            self._may_be_lines = False
        if self._lines is not None:
            yield from self._lines.feed(octets)
            return
        self._buffer += octets
        at = 0
        try:
            while True:
                if self._long is not None:
                    at += self._long.take(memoryview(self._buffer)[at:])
                    if self._long.left:
                        return
                    oversized, self._long = self._long.kept(), None
                    yield oversized
                if self._announced is None:
                    if (length := self._length(at)) is None:
                        return
                    self._announced, at = length
                if self._announced > self._max_bytes:
                    self._long, self._announced = _Long(self._announced), None
                    continue
                if len(self._buffer) - at < self._announced:
                    return
                whole = bytes(memoryview(self._buffer)[at : at + self._announced])
                at += self._announced
                self._announced = None
                yield whole
        finally:
            del self._buffer[:at]

    def close(self) -> Iterator[bytes | Oversized]:
        """The stream has ended: a last line needs no end of its own, what is left of a frame is nothing."""
        if self._lines is not None:
            yield from self._lines.feed(b"\n")

    def _length(self, at: int) -> tuple[int, int] | None:
        # At most the digits and one space are looked at, however much has arrived.
        head = bytes(memoryview(self._buffer)[at : at + MAX_DIGITS + 1])
        digits, space, _ = head.partition(b" ")
        if not digits and not space:
            return None
        if not digits.isdigit() or digits.startswith(b"0"):
            raise FramingError("a frame begins with its length in decimal digits, without leading zero")
        if not space:
            if len(digits) > MAX_DIGITS:
                raise FramingError(f"the length of a frame has more than {MAX_DIGITS} digits")
            return None
        return int(digits), at + len(digits) + 1


class _LineReader:
    """A stream of lines; holds one that is unfinished."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._buffer = bytearray()
        self._long: _Long | None = None

    @property
    def inside(self) -> bool:
        return bool(self._buffer) or self._long is not None

    def feed(self, octets: bytes) -> Iterator[bytes | Oversized]:
        *whole, rest = octets.split(b"\n")
        for line in whole:
            self._take(line)
            if self._long is not None:
                yield self._long.kept()
            elif message := bytes(self._buffer).rstrip(b"\r\0"):
                yield message
            self._buffer.clear()
            self._long = None
        self._take(rest)

    def _take(self, octets: bytes) -> None:
        if self._long is None and len(self._buffer) + len(octets) > self._max_bytes:
            self._long = _Long()
            octets = bytes(self._buffer) + octets
            self._buffer.clear()
        if self._long is not None:
            self._long.add(octets)
        else:
            self._buffer += octets


class _Long:
    """A message beyond the limit, while it arrives; of a frame it is known how many octets are left."""

    def __init__(self, length: int = 0) -> None:
        self.length = self.left = length
        self._digest = sha256()
        self._beginning = bytearray()

    def take(self, octets: memoryview) -> int:
        """Take of `octets` what belongs to the frame; how many that were."""
        part = octets[: self.left]
        self._digest.update(part)
        self._beginning += part[: KEPT_OF_OVERSIZED - len(self._beginning)]
        self.left -= len(part)
        return len(part)

    def add(self, octets: bytes) -> None:
        """Take octets of a line, whose length only its end tells."""
        self.length += len(octets)
        self.left += len(octets)
        self.take(memoryview(octets))

    def kept(self) -> Oversized:
        """What is kept of it, when nothing is left."""
        return Oversized(self.length, self._digest.hexdigest(), bytes(self._beginning))


# --- reading a message -------------------------------------------------------------------------------

_HEADER = re.compile(
    rb"<(0|[1-9]\d{0,2})>1"
    rb" (-|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?(?:Z|[+-]\d\d:\d\d))"
    rb" ([\x21-\x7e]{1,255}) ([\x21-\x7e]{1,48}) ([\x21-\x7e]{1,128}) ([\x21-\x7e]{1,32}) ",
)
_SD_NAME = rb'[^\x00-\x20"=\]\x7f-\xff]{1,32}'
_STRUCTURED = re.compile(
    rb"-|(?:\[" + _SD_NAME + rb"(?: " + _SD_NAME + rb'="(?:[^"\\\]]|\\.)*+")*+\])++', re.DOTALL
)


def parse(octets: bytes) -> SyslogMessage:
    """Read a message, strictly by RFC 5424 6.

    Raises
    ------
    SyslogError
        The header is not in order.
    """
    header, structured = _divided(octets)
    priority = int(header[1])
    if priority > 191:
        raise SyslogError("PRI is above 191")
    hostname, app_name, procid, msgid = (_text(field) for field in header.groups()[2:])
    return SyslogMessage(
        facility=priority // 8,
        severity=priority % 8,
        time=_time(header[2].decode()),
        hostname=hostname,
        app_name=app_name,
        procid=procid,
        msgid=msgid,
        structured_data=structured[0].decode("utf-8", "replace"),
        body=_body(octets, structured),
    )


def body_of(octets: bytes) -> bytes:
    """What `parse` gives as the body, without a reading of the header's values; raises `SyslogError`."""
    return _body(octets, _divided(octets)[1])


def _divided(octets: bytes) -> tuple[re.Match[bytes], re.Match[bytes]]:
    header = _HEADER.match(octets)
    if header is None:
        raise SyslogError("the header is not <PRI>1 TIMESTAMP HOSTNAME APP-NAME PROCID MSGID of RFC 5424")
    structured = _STRUCTURED.match(octets, header.end())
    if structured is None:
        raise SyslogError("STRUCTURED-DATA is neither - nor elements in brackets")
    if structured.end() < len(octets) and octets[structured.end()] != 0x20:
        raise SyslogError("after STRUCTURED-DATA comes one space")
    return header, structured


def _body(octets: bytes, structured: re.Match[bytes]) -> bytes:
    return octets[structured.end() + 1 :].removeprefix(BOM)


def stamp_of(octets: bytes) -> datetime | None:
    """TIMESTAMP of a message, without a look at the rest; None where there is none."""
    header = _HEADER.match(octets)
    try:
        return None if header is None else _time(header[2].decode())
    except SyslogError:
        return None


def _text(field: bytes) -> str:
    return "" if field == b"-" else field.decode("ascii")


def _time(stamp: str) -> datetime | None:
    if stamp == "-":
        return None
    whole, dot, fraction = stamp.partition(".")
    if dot:
        digits = fraction.rstrip("Z").split("+")[0].split("-")[0]
        stamp = f"{whole}.{digits.ljust(6, '0')}{fraction[len(digits) :]}"
    try:
        return datetime.fromisoformat(stamp).astimezone(UTC)
    except (ValueError, OverflowError):
        raise SyslogError("TIMESTAMP is no moment in time") from None
