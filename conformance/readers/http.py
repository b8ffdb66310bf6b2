"""HTTP messages and multipart packages as they were captured (RFC 9112, RFC 2046), read where they lie."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from email.utils import unquote
from typing import Final
from urllib.parse import unquote as percent_decoded

from conformance.readers.source import Source

_MOST_HEAD: Final = 64 * 1024
_REQUEST: Final = re.compile(rb"([A-Z]{3,8}) (\S+) HTTP/(\d(?:\.\d)?)")
_STATUS: Final = re.compile(rb"HTTP/(\d(?:\.\d)?) (\d{3})")
_PARAMETER: Final = re.compile(
    r';\s*([\w!#$%&\'*+.^`|~-]+)\s*=\s*("(?:[^"\\]|\\.)*"|[^;]*)', re.ASCII | re.DOTALL
)
_LENGTH: Final = re.compile(r"\d{1,18}\Z", re.ASCII)
_HEADER_END: Final = re.compile(rb"\r?\n\r?\n")


@dataclass(frozen=True, slots=True)
class Headers:
    """Header fields in their order, names as they came."""

    fields: tuple[tuple[str, str], ...] = ()

    def get(self, name: str) -> str | None:
        """The first value of a field, whatever the case of its name."""
        return next((value for key, value in self.fields if key.lower() == name), None)

    def __bool__(self) -> bool:
        return bool(self.fields)


@dataclass(frozen=True, slots=True)
class MediaType:
    """A media type with its parameters; `raw` is what stands there."""

    raw: str
    value: str
    parameters: dict[str, str] = field(default_factory=dict)
    unquoted: frozenset[str] = frozenset()

    @classmethod
    def of(cls, text: str) -> MediaType:
        """Read a Content-Type; parameters that are not quoted are told by `unquoted`."""
        value, _, _ = text.partition(";")
        parameters: dict[str, str] = {}
        unquoted: set[str] = set()
        for name, stated in _PARAMETER.findall(text[len(value) :]):
            key = name.lower()
            if not stated.startswith('"'):
                unquoted.add(key)
            parameters.setdefault(key, unquote(stated.strip()) if stated.startswith('"') else stated.strip())
        return cls(text, value.strip().lower(), parameters, frozenset(unquoted))


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a multipart package."""

    number: int
    headers: Headers
    body: Source

    @property
    def content_id(self) -> str:
        """The Content-ID as it stands."""
        return (self.headers.get("content-id") or "").strip()


@dataclass(frozen=True, slots=True)
class HttpMessage:
    """A request or an answer; `status` is 0 for a request, and `method` empty for an answer or for a bare
    package without a head."""

    method: str
    target: str
    status: int
    headers: Headers
    body: Source

    @property
    def media_type(self) -> MediaType:
        """The Content-Type."""
        return MediaType.of(self.headers.get("content-type") or "")


def http_messages(source: Source, opened: ExitStack) -> Iterator[HttpMessage]:
    """Every message of a capture: one, or a request and its answer behind it.

    Bodies that came in chunks are joined in temporary files, which last as long as `opened`.
    """
    at = 0
    while at < len(source):
        message, at = _message(source, at, opened)
        yield message
        while source.read(at, 1) in (b"\r", b"\n"):
            at += 1


def _message(source: Source, at: int, opened: ExitStack) -> tuple[HttpMessage, int]:
    head = source.read(at, _MOST_HEAD).lstrip(b"\xef\xbb\xbf\r\n")
    skipped = len(source.read(at, _MOST_HEAD)) - len(head)
    if head.startswith(b"--"):
        boundary = head.split(b"\n", 1)[0].strip()[2:].decode("latin_1")
        fields = (("Content-Type", f'multipart/related; boundary="{boundary}"'),)
        return HttpMessage("", "", 0, Headers(fields), source.part(at + skipped)), len(source)
    end = _HEADER_END.search(head)
    lines = head[: end.start() if end else len(head)]
    start = at + skipped + (end.end() if end else len(head))
    first, _, rest = lines.partition(b"\n")
    request, status = _REQUEST.match(first), _STATUS.match(first)
    headers = _headers(rest if request or status else lines)
    body, after = _body(source, start, headers, opened)
    return (
        HttpMessage(
            method=request[1].decode() if request else "",
            target=request[2].decode("latin_1") if request else "",
            status=int(status[2]) if status else 0,
            headers=headers,
            body=body,
        ),
        after,
    )


def _headers(octets: bytes) -> Headers:
    fields: list[tuple[str, str]] = []
    for line in octets.decode("latin_1").replace("\r\n", "\n").split("\n"):
        if line[:1] in (" ", "\t") and fields:
            name, value = fields[-1]
            fields[-1] = (name, f"{value} {line.strip()}")
        elif ":" in line:
            name, _, value = line.partition(":")
            fields.append((name.strip(), value.strip()))
    return Headers(tuple(fields))


def _body(source: Source, start: int, headers: Headers, opened: ExitStack) -> tuple[Source, int]:
    """The body of a message, and where the next one begins."""
    length = headers.get("content-length") or ""
    if _LENGTH.match(length) and start + int(length) <= len(source):
        return source.part(start, start + int(length)), start + int(length)
    following = source.find(b"\nHTTP/1.1 ", start)
    if (headers.get("transfer-encoding") or "").lower() == "chunked":
        return _dechunked(source, start, opened)
    end = following + 1 if following >= 0 else len(source)
    return source.part(start, end), end


_CHUNK: Final = re.compile(rb"([0-9A-Fa-f]{1,8})(?:;[^\r\n]*)?\r\n")
_MOST_CHUNKED: Final = 256 * 1024**2


def _dechunked(source: Source, start: int, opened: ExitStack) -> tuple[Source, int]:
    """A body in chunks; one whose chunks a recorder joined already is taken as it stands."""
    import tempfile

    at = start
    file = opened.enter_context(tempfile.SpooledTemporaryFile(max_size=1024**2))  # noqa: SIM115 - so does `opened`
    while (chunk := _CHUNK.match(source.read(at, 1024))) is not None and at - start < _MOST_CHUNKED:
        size = int(chunk[1], 16)
        at += chunk.end()
        if size == 0:
            trailer = source.find(b"\r\n", at)
            return Source(file), (trailer + 2 if trailer >= 0 else at)  # type: ignore[arg-type]
        for piece in source.part(at, at + size).pieces():
            file.write(piece)
        at += size + 2
    return source.part(start), len(source)


def parts(body: Source, boundary: str) -> Iterator[Part]:
    """The parts of a multipart body, whose bytes stay where they are.

    Raises
    ------
    ValueError
        The body has no delimiter, or none that closes it.
    """
    delimiter = b"--" + boundary.encode("latin_1", "replace")
    at = 0 if body.read(0, len(delimiter)) == delimiter else body.find(b"\n" + delimiter)
    if at < 0 or not boundary:
        raise ValueError("no boundary delimiter stands in the body")
    if at:
        at += 1
    number = 0
    while True:
        at += len(delimiter)
        if body.read(at, 2) == b"--":
            return
        start = body.find(b"\n", at) + 1
        end = body.find(b"\n" + delimiter, start - 1)
        if start == 0 or end < 0:
            raise ValueError("no closing boundary delimiter")
        number += 1
        yield _part(body, start, end, number)
        at = end + 1


def _part(body: Source, start: int, end: int, number: int) -> Part:
    if body.read(end - 1, 1) == b"\r":
        end -= 1
    head = body.read(start, min(_MOST_HEAD, max(0, end - start)))
    if head[:1] == b"\n" or head[:2] == b"\r\n":
        return Part(number, Headers(), body.part(start + (2 if head[:1] == b"\r" else 1), max(start, end)))
    blank = _HEADER_END.search(head)
    if blank is None:
        return Part(number, _headers(head), body.part(end, end))
    return Part(number, _headers(head[: blank.start()]), body.part(start + blank.end(), max(start, end)))


def same_content_id(href: str, content_id: str) -> bool:
    """Whether a `cid:` URL names a Content-ID (RFC 2392)."""
    return percent_decoded(href.removeprefix("cid:")) == content_id.removeprefix("<").removesuffix(">")
