"""What a browser must be told before a page of another site may read an answer (CORS, Fetch standard 3.2).

Only for sites that a setting names: a viewer on another origin reads DICOMweb so. Cookies stay at home; who
asks shows a bearer token.
"""

from __future__ import annotations

from typing import Final

from shared.http.raw_asgi import Message, Scope, Send

_METHODS: Final = b"GET, HEAD, POST"
_REQUEST_HEADERS: Final = b"accept, authorization, content-type, dpop, if-none-match, range"
_ANSWER_HEADERS: Final = b"content-length, content-location, content-range, etag, warning"
#: Seconds for which a browser need not ask again.
_REMEMBERED: Final = b"600"


def is_preflight(scope: Scope) -> bool:
    """Whether a browser asks what it may send, and sends nothing yet."""
    return scope["method"] == "OPTIONS" and b"access-control-request-method" in dict(scope["headers"])


def permissions(origin: bytes) -> list[tuple[bytes, bytes]]:
    """What a page of `origin` may send."""
    return [
        *_readable_by(origin),
        (b"access-control-allow-methods", _METHODS),
        (b"access-control-allow-headers", _REQUEST_HEADERS),
        (b"access-control-max-age", _REMEMBERED),
    ]


def shown_to(origin: bytes, send: Send) -> Send:
    """`send`, with what lets a page of `origin` read the answer."""

    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            exposed = (b"access-control-expose-headers", _ANSWER_HEADERS)
            message = {**message, "headers": [*message["headers"], *_readable_by(origin), exposed]}
        await send(message)

    return sent


def _readable_by(origin: bytes) -> list[tuple[bytes, bytes]]:
    return [(b"access-control-allow-origin", origin), (b"vary", b"Origin")]
