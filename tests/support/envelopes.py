"""SOAP envelopes with a Security header, built as text so that a test can put in anything."""

from __future__ import annotations

from shared.faults import SOAP12, WSSE, WSU
from shared.xml import Element, parse


def security(*tokens: bytes, attributes: bytes = b"") -> bytes:
    """A `wsse:Security` header with these octets in it."""
    return (
        b'<wsse:Security xmlns:wsse="%s" xmlns:wsu="%s"%s>' % (WSSE.encode(), WSU.encode(), attributes)
        + b"".join(tokens)
        + b"</wsse:Security>"
    )


def envelope(*headers: bytes, body: bytes = b"") -> bytes:
    """A SOAP 1.2 envelope with these header blocks."""
    return (
        b'<soap:Envelope xmlns:soap="%s"><soap:Header>' % SOAP12.encode()
        + b"".join(headers)
        + b"</soap:Header><soap:Body>"
        + body
        + b"</soap:Body></soap:Envelope>"
    )


def security_header(octets: bytes) -> Element:
    """The first Security header of an envelope, in its message."""
    found = parse(octets).find(f"{{{SOAP12}}}Header/{{{WSSE}}}Security")
    assert found is not None
    return found
