"""A service as a site for browsers: the headers that its every answer has, so that a browser shows its pages
as they are meant and lends them to no other site, and the name under which it keeps cookies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from starlette.responses import Response

from shared.http.problem import HttpProblem
from shared.http.raw_asgi import App, Message, Receive, Scope, Send

POLICY: Final = (
    "default-src 'self'; script-src 'self'; img-src 'self' data:; object-src 'none'; frame-ancestors 'none'; "
    "base-uri 'none'; form-action 'self'; require-trusted-types-for 'script'"
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


_SITE: Final = "xdsi.site"


class Site:
    """`application` as the site `name`, with our headers where an answer does not say otherwise; `page` tells
    what was refused before it. Paths that begin with one of `machines` are for programs alone, whose answers
    stay as they are."""

    def __init__(
        self,
        application: App,
        name: str,
        page: Callable[[HttpProblem], Response],
        *,
        machines: tuple[str, ...] = (),
    ) -> None:
        self._application = application
        self._name = name
        self._page = page
        self._for_machines = (*_FOR_MACHINES, *machines)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        scope = {**scope, _SITE: self._name}
        for_people = not scope["path"].startswith(self._for_machines)
        await self._application(scope, receive, _completed(send) if for_people else send)

    async def turn_away(self, problem: HttpProblem, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with the page about what was refused."""
        await self._page(problem)(scope, receive, _completed(send))


def site_of(scope: Scope) -> str:
    """The name of the site that is asked."""
    return str(scope[_SITE])


def _completed(send: Send) -> Send:
    async def completed(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = list(message.get("headers", ()))
            names = {name.lower() for name, _ in headers}
            message = {**message, "headers": [*headers, *(one for one in _HEADERS if one[0] not in names)]}
        await send(message)

    return completed
