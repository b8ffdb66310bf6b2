"""Captured HTTP: a request, an answer, or both behind one another."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Final

from conformance.findings import Finding
from conformance.judgement import Judgement
from conformance.readers.http import HttpMessage, http_messages
from conformance.readers.source import Source
from conformance.requirements import finding
from conformance.rules import dicomweb, message

_SOAP: Final = frozenset({"application/soap+xml", "text/xml", "application/xml", "application/xop+xml"})


def judged(source: Source) -> Judgement:
    """Every message of a capture."""
    judgement = Judgement("HTTP capture")
    judgement.findings = _messages(source, judgement)
    return judgement


def _messages(source: Source, judgement: Judgement) -> Iterator[Finding]:
    exchange, web = message.Exchange(), dicomweb.WebExchange()
    titles: list[str] = []
    with ExitStack() as opened:
        for one in http_messages(source, opened):
            yield from _message(one, exchange, web, judgement)
            titles.append(judgement.title)
    judgement.title = "; ".join(dict.fromkeys(titles)) or judgement.title


def _message(
    one: HttpMessage, exchange: message.Exchange, web: dicomweb.WebExchange, judgement: Judgement
) -> Iterator[Finding]:
    if dicomweb.is_dicomweb(one, web):
        yield from dicomweb.captured(one, web, judgement)
        return
    if _is_soap(one):
        yield from message.captured(one, exchange, judgement)
        return
    judgement.title = "HTTP message"
    yield finding("HTTP-001", "HTTP Content-Type", "none of the kinds that are judged", one.media_type.raw)


def _is_soap(one: HttpMessage) -> bool:
    media_type = one.media_type
    if media_type.value == "multipart/related":
        type = media_type.parameters.get("type", "").lower()
        return type in _SOAP or "start-info" in media_type.parameters or b"Envelope" in one.body.read(0, 8192)
    return media_type.value in _SOAP or b"Envelope" in one.body.read(0, 512)
