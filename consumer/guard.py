"""What holds for every request of this service, whatever it asks: the host that it names, the site that it
comes from, and the headers of its answer.

A page of another site can make a browser send requests here, and without TLS it can even give itself our
address (DNS rebinding). Neither is answered: a browser says where a request comes from, and without TLS a
name is taken that means this machine alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from consumer.settings import ConsumerSettings
from shared.http.problem import CONTENT_TYPE, Forbidden, HttpProblem, Misdirected
from shared.http.raw_asgi import App, Message, Receive, Scope, Send, send_body
from shared.settings import is_loopback

POLICY: Final = (
    "default-src 'self'; script-src 'self'; object-src 'none'; frame-ancestors 'none'; base-uri 'none'; "
    "form-action 'self'; require-trusted-types-for 'script'"
)
_HEADERS: Final = (
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    # A stricter one would make the Origin of our own forms `null`.
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)
_FOR_MACHINES: Final = ("/health/", "/metrics")
_OWN: Final = frozenset({"", "same-origin", "none"})


class Guard:
    """An application, guarded."""

    def __init__(self, application: App, settings: ConsumerSettings) -> None:
        self._application = application
        self._tls = settings.tls.enabled
        self._public = urlsplit(settings.public_url or "").hostname

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["path"].startswith(_FOR_MACHINES):
            await self._application(scope, receive, send)
            return
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        if problem := self._problem(scope["method"], headers):
            await send_body(
                _completed(send),
                status=problem.status,
                headers=[(b"content-type", CONTENT_TYPE.encode())],
                body=problem.body(),
            )
            return
        await self._application(scope, receive, _completed(send))

    def _problem(self, method: str, headers: Mapping[bytes, str]) -> HttpProblem | None:
        host = _host(headers.get(b"host", ""))
        if not self._tls and host != self._public and not is_loopback(host):
            return Misdirected("without TLS this service answers to the names of this machine alone")
        if headers.get(b"sec-fetch-site", "") not in _OWN and not _followed_link(method, headers):
            return Forbidden("a page of another site may link here, and nothing more")
        return None


def _host(header: str) -> str:
    try:
        return urlsplit(f"//{header}").hostname or ""
    except ValueError:
        return ""


def _followed_link(method: str, headers: Mapping[bytes, str]) -> bool:
    return method == "GET" and headers.get(b"sec-fetch-mode") == "navigate"


def _completed(send: Send) -> Send:
    """`send`, with our headers where an answer does not say otherwise."""

    async def completed(message: Message) -> None:
        if message["type"] == "http.response.start":
            given = list(message.get("headers", ()))
            named = {name.lower() for name, _ in given}
            message = {**message, "headers": [*given, *(one for one in _HEADERS if one[0] not in named)]}
        await send(message)

    return completed
