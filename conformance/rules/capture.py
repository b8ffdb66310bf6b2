"""Captured HTTP: a request, an answer, or both behind one another."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Final

from conformance.findings import Finding
from conformance.judgement import Judgement
from conformance.readers.http import HttpMessage, http_messages
from conformance.readers.source import Source
from conformance.requirements import finding
from conformance.rules import dicomweb, message, wado_uri, web_commitment

_SOAP: Final = frozenset({"application/soap+xml", "text/xml", "application/xml", "application/xop+xml"})


@dataclass(slots=True)
class _Exchanges:
    """What a request tells of its answer, by what it may be one of."""

    soap: message.Exchange = field(default_factory=message.Exchange)
    web: dicomweb.WebExchange = field(default_factory=dicomweb.WebExchange)
    uri: wado_uri.UriExchange = field(default_factory=wado_uri.UriExchange)
    commitment: web_commitment.CommitmentExchange = field(default_factory=web_commitment.CommitmentExchange)


def judged(source: Source) -> Judgement:
    """Every message of a capture."""
    judgement = Judgement("HTTP capture")
    judgement.findings = _messages(source, judgement)
    return judgement


def _messages(source: Source, judgement: Judgement) -> Iterator[Finding]:
    exchanges = _Exchanges()
    titles: list[str] = []
    with ExitStack() as opened:
        for one in http_messages(source, opened):
            yield from _message(one, exchanges, judgement)
            titles.append(judgement.title)
    judgement.title = "; ".join(dict.fromkeys(titles)) or judgement.title


def _message(one: HttpMessage, exchanges: _Exchanges, judgement: Judgement) -> Iterator[Finding]:
    if web_commitment.is_commitment(one, exchanges.commitment):
        yield from web_commitment.captured(one, exchanges.commitment, judgement)
    elif wado_uri.is_wado_uri(one, exchanges.uri):
        yield from wado_uri.captured(one, exchanges.uri, judgement)
    elif dicomweb.is_dicomweb(one, exchanges.web):
        yield from dicomweb.captured(one, exchanges.web, judgement)
    elif _is_soap(one):
        yield from message.captured(one, exchanges.soap, judgement)
    else:
        judgement.title = "HTTP message"
        yield finding(
            "HTTP-001", "HTTP Content-Type", "none of the kinds that are judged", one.media_type.raw
        )


def _is_soap(one: HttpMessage) -> bool:
    media_type = one.media_type
    if media_type.value == "multipart/related":
        type = media_type.parameters.get("type", "").lower()
        return type in _SOAP or "start-info" in media_type.parameters or b"Envelope" in one.body.read(0, 8192)
    return media_type.value in _SOAP or b"Envelope" in one.body.read(0, 512)
