"""Storage commitment over the web as captured (PS3.18 13): what is asked about, and what is told of each."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from conformance.findings import Finding
from conformance.judgement import Judgement
from conformance.readers.http import HttpMessage
from conformance.readers.json import Node, NotJson, read_json
from conformance.requirements import finding
from conformance.rules.dicom import UID

_PATH: Final = re.compile(r"/commitment-requests/(?P<transaction>[^/?]+)\Z")
_JSON: Final = "application/dicom+json"
_REFERENCED: Final = "00081199"
_FAILED: Final = "00081198"
#: Failure reasons of a result (PS3.3 C.14.1.1).
_REASONS: Final = frozenset({0x0110, 0x0112, 0x0119, 0x0122, 0x0131, 0x0213})


@dataclass(slots=True)
class CommitmentExchange:
    """What a request tells of its answer: the transaction, and the instances that were asked about."""

    transaction: str = ""
    instances: set[str] = field(default_factory=set)


def is_commitment(message: HttpMessage, exchange: CommitmentExchange) -> bool:
    """Whether a message is about a commitment, by its path or by the request before it."""
    if message.method:
        return _PATH.search(urlsplit(message.target).path) is not None
    return bool(exchange.transaction)


def captured(message: HttpMessage, exchange: CommitmentExchange, judgement: Judgement) -> Iterator[Finding]:
    """A request or an answer."""
    if message.method:
        judgement.title = "Storage commitment request"
        match = _PATH.search(urlsplit(message.target).path)
        exchange.transaction = match["transaction"] if match else ""
        if not UID.match(exchange.transaction):
            yield finding("WCOM-001", "HTTP request line", "no UID of a transaction", exchange.transaction)
        if message.method == "POST":
            yield from _request(message, exchange)
        return
    judgement.title = "Storage commitment answer"
    if message.status == 200:
        yield from _result(message, exchange)


def _document(message: HttpMessage) -> Iterator[Finding | Node]:
    """What is wrong with the body as JSON; then its one data set, if there is one."""
    if message.media_type.value != _JSON:
        if "xml" not in message.media_type.value:
            yield finding("WCOM-002", "HTTP Content-Type", "another media type", message.media_type.raw)
        return
    try:
        root = read_json(message.body, "$")
    except NotJson as error:
        yield finding("WCOM-003", "HTTP body", str(error))
        return
    listed = root.value if isinstance(root.value, list) else [root.value]
    if len(listed) != 1 or not isinstance(listed[0], dict):
        yield finding("WCOM-003", "$", f"{len(listed)} data sets", type(root.value).__name__)
        return
    yield Node(listed[0], "$[0]" if isinstance(root.value, list) else "$")


def _request(message: HttpMessage, exchange: CommitmentExchange) -> Iterator[Finding]:
    for one in _document(message):
        if isinstance(one, Finding):
            yield one
            continue
        items = one.child(_REFERENCED).children("Value")
        if not items:
            yield finding("WCOM-004", f"{one.path}.{_REFERENCED}", "no instance is named")
        for item in items:
            yield from _reference(item)
            uid = _first(item, "00081155")
            if uid in exchange.instances:
                yield finding("WCOM-006", item.path, "an instance twice", uid)
            exchange.instances.add(uid)


def _reference(item: Node) -> Iterator[Finding]:
    for name in ("00081150", "00081155"):
        if not UID.match(_first(item, name)):
            yield finding("WCOM-005", f"{item.path}.{name}", "absent, or no UID", _first(item, name))


def _first(node: Node, name: str) -> str:
    values = node.child(name).children("Value")
    return str(values[0].value) if values else ""


def _result(message: HttpMessage, exchange: CommitmentExchange) -> Iterator[Finding]:
    for one in _document(message):
        if isinstance(one, Finding):
            yield one
            continue
        stated = _first(one, "00081195")
        if stated and exchange.transaction and stated != exchange.transaction:
            yield finding(
                "WCOM-010", f"{one.path}.00081195", "another transaction", stated, right=exchange.transaction
            )
        committed, failed = (one.child(name).children("Value") for name in (_REFERENCED, _FAILED))
        for item in (*committed, *failed):
            yield from _reference(item)
        for item in failed:
            reason = item.child("00081197").children("Value")
            if not reason or reason[0].value not in _REASONS:
                value = reason[0].value if reason else ""
                yield finding("WCOM-011", f"{item.path}.00081197", "absent, or none of PS3.3 C.14", value)
        yield from _told_once(
            exchange, [_first(item, "00081155") for item in (*committed, *failed)], one.path
        )


def _told_once(exchange: CommitmentExchange, uids: list[str], at: str) -> Iterator[Finding]:
    """Of every instance that was asked about it is told once what became of it, and of no other."""
    for uid in sorted({one for one in uids if uids.count(one) > 1}):
        yield finding("WCOM-012", at, "an instance is told of more than once", uid)
    if not exchange.instances:
        return
    for uid in sorted(exchange.instances - set(uids)):
        yield finding("WCOM-012", at, "nothing is told of an instance", uid)
    for uid in sorted(set(uids) - exchange.instances):
        yield finding("WCOM-012", at, "nobody asked about this instance", uid)
