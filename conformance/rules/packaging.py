"""How a SOAP message is carried: HTTP, SIMPLE SOAP and MTOM/XOP (ITI TF-2 Appendix V)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

from conformance.findings import Finding
from conformance.readers.http import HttpMessage, MediaType, Part, parts
from conformance.requirements import finding
from conformance.transactions import Transaction

SIMPLE: Final = "application/soap+xml"
_XOP: Final = "application/xop+xml"
_AT: Final = "HTTP Content-Type"


def head(message: HttpMessage, transaction: Transaction | None, action: str) -> Iterator[Finding]:
    """Method and Content-Type."""
    if message.method not in ("", "POST"):
        yield finding("SOAP-001", "HTTP request line", "another method", message.method)
    media_type = message.media_type
    is_package = media_type.value == "multipart/related"
    if transaction is not None and transaction.mtom and not is_package:
        yield finding("SOAP-010", _AT, f"no package in {transaction.number}", media_type.raw)
    elif transaction is not None and not transaction.mtom and is_package:
        yield finding("SOAP-011", _AT, f"a package in {transaction.number}", media_type.raw)
    if not is_package and media_type.value != SIMPLE:
        yield finding("SOAP-002", _AT, "another media type", media_type.raw)
    if not is_package and media_type.parameters.get("charset", "utf-8").lower() != "utf-8":
        yield finding("SOAP-003", _AT, "another character set", media_type.raw)
    stated = media_type.parameters.get("action")
    if stated is not None and action and stated != action:
        yield finding("SOAP-004", _AT, "not the wsa:Action", stated, right=action)
    yield from _quotes(media_type, _AT)


def _quotes(media_type: MediaType, at: str) -> Iterator[Finding]:
    for name in media_type.unquoted:
        value = media_type.parameters[name]
        if any(character in value for character in '()<>@,;:\\"/[]?= '):
            yield finding("SOAP-022", at, f"{name} is not quoted", value)


def packaged(message: HttpMessage) -> tuple[list[Part], str]:
    """The parts of a package, and what is wrong where they end early."""
    listed: list[Part] = []
    try:
        listed.extend(parts(message.body, message.media_type.parameters.get("boundary", "")))
    except ValueError as error:
        return listed, str(error)
    return listed, ""


def root_of(message: HttpMessage, listed: Sequence[Part]) -> Part | None:
    """The root part: that of `start`, else the first."""
    start = message.media_type.parameters.get("start", "").strip()
    bare = start.strip("<>")
    by_id = (part for part in listed if bare and part.content_id.strip("<>") == bare)
    return next(by_id, listed[0] if listed else None)


def package(message: HttpMessage, listed: Sequence[Part], broken: str) -> Iterator[Finding]:
    """The headers of a package and of its parts."""
    if broken:
        yield finding("SOAP-015", "multipart body", broken)
    parameters = message.media_type.parameters
    if message.status or message.method or len(message.headers.fields) > 1:
        if parameters.get("type", "").lower() != _XOP:
            yield finding("SOAP-012", _AT, "type is absent, or another", parameters.get("type", ""))
        start_info = parameters.get("start-info", "").partition(";")[0].strip().lower()
        if start_info != SIMPLE:
            yield finding("SOAP-013", _AT, "start-info is absent, or another", start_info)
        yield from _start(parameters.get("start"), listed)
    root = root_of(message, listed)
    if root is not None:
        at = f"part {root.number}, Content-Type"
        media_type = MediaType.of(root.headers.get("content-type") or "")
        if media_type.value != _XOP or media_type.parameters.get("type", "").partition(";")[0] != SIMPLE:
            yield finding("SOAP-016", at, "not that of a root part", media_type.raw)
    for part in listed:
        yield from _part(part)
    for id, times in Counter(part.content_id for part in listed if part.content_id).items():
        if times > 1:
            yield finding("SOAP-017", "multipart body", f"{times} parts of one Content-ID", id)


def _start(start: str | None, listed: Sequence[Part]) -> Iterator[Finding]:
    if start is None:
        return
    if not (start.startswith("<") and start.endswith(">")):
        yield finding("SOAP-014", _AT, "start without angle brackets", start)
    if listed and not any(part.content_id.strip("<>") == start.strip("<>") for part in listed):
        yield finding("SOAP-014", _AT, "start names no part", start)


def _part(part: Part) -> Iterator[Finding]:
    at = f"part {part.number}"
    if not (part.content_id.startswith("<") and part.content_id.endswith(">")):
        yield finding("SOAP-017", f"{at}, Content-ID", "absent, or without angle brackets", part.content_id)
    encoding = (part.headers.get("content-transfer-encoding") or "").lower()
    if encoding not in ("binary", "8bit"):
        yield finding("SOAP-018", f"{at}, Content-Transfer-Encoding", "absent, or another", encoding)
