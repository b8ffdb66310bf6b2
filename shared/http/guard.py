"""What holds for every request over HTTP, whatever it asks: the host that it names and the site that it comes
from.

A page of another site can make a browser send requests here, and by giving itself our address (DNS rebinding)
even read the answers. Neither is answered: a browser tells where a request comes from, and a host is taken
when it is ours: of the public URL, of our certificate, of the socket that the request came in by, or named by
a setting. (The types of body that a page can send without asking first are taken by no interface of ours:
SOAP, STOW-RS and JSON have types of their own, and our pages know their forms by a token.)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Final, Protocol, runtime_checkable
from urllib.parse import urlsplit

from shared.http import cross_origin
from shared.http.problem import CONTENT_TYPE, Forbidden, HttpProblem, Misdirected, asks_for_html
from shared.http.raw_asgi import App, Receive, Scope, Send, send_body
from shared.security.peer_certificate import names_of
from shared.settings import ServiceSettings, is_loopback

_OWN: Final = frozenset({b"same-origin", b"none"})
_REMEMBERED: Final = 256


@runtime_checkable
class ForPeople(Protocol):
    """An application with pages, which has one too for what is turned away before it."""

    async def turn_away(self, problem: HttpProblem, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, which is not looked at, with the page that says what is wrong."""


class Guard:
    """`application`, behind what holds for every request; `bound` is the address that is listened on."""

    def __init__(self, application: App, settings: ServiceSettings, bound: str) -> None:
        self._application = application
        self._names = frozenset(_names(settings, bound))
        self._trusted = frozenset(site.rstrip("/").lower().encode() for site in settings.trusted_origins)
        self._sites = self._trusted | frozenset(_public_site(settings))
        self._is_ours = lru_cache(_REMEMBERED)(self._decide)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if (problem := self._problem(scope)) is not None:
            await self._turn_away(problem, scope, receive, send)
        elif (origin := self._trusted_site(scope)) is None:
            await self._application(scope, receive, send)
        elif cross_origin.is_preflight(scope):
            await send_body(send, status=204, headers=cross_origin.permissions(origin))
        else:
            await self._application(scope, receive, cross_origin.shown_to(origin, send))

    async def _turn_away(self, problem: HttpProblem, scope: Scope, receive: Receive, send: Send) -> None:
        accept = dict(scope["headers"]).get(b"accept", b"").decode("latin-1")
        if isinstance(self._application, ForPeople) and asks_for_html(accept):
            await self._application.turn_away(problem, scope, receive, send)
            return
        await send_body(
            send,
            status=problem.status,
            headers=[(b"content-type", CONTENT_TYPE.encode())],
            body=problem.body(),
        )

    def _trusted_site(self, scope: Scope) -> bytes | None:
        """The other site that a request comes from, when a setting names it."""
        origin: bytes | None = dict(scope["headers"]).get(b"origin") if self._trusted else None
        return origin if origin is not None and origin.lower() in self._trusted else None

    def _problem(self, scope: Scope) -> HttpProblem | None:
        headers = dict(scope["headers"])
        host, origin = headers.get(b"host"), headers.get(b"origin")
        server = scope.get("server")
        # Whoever speaks HTTP/1.0 without naming a host is a probe, and no browser.
        if host is not None and not self._is_ours(host, server[0] if server else ""):
            return Misdirected(
                "the Host of the request is none of this service: it is called by the host of "
                "XDSI_PUBLIC_URL, a name in its certificate, its address, or a name in XDSI_HOST_NAMES"
            )
        if origin:
            own = b"%s://%s" % (scope.get("scheme", "http").encode(), (host or b"").lower())
            if origin.lower() != own and origin.lower() not in self._sites:
                return Forbidden(
                    "no page of another site may ask here; XDSI_TRUSTED_ORIGINS names sites that may"
                )
        elif b"sec-fetch-site" in headers and _from_elsewhere(scope["method"], headers):
            return Forbidden("a page of another site may link here, and nothing more")
        return None

    def _decide(self, host: bytes, address: str) -> bool:
        name = host_in(host.decode("latin-1"))
        if not name:
            return False
        return name in self._names or name == address.lower() or (is_loopback(address) and is_loopback(name))


def _from_elsewhere(method: str, headers: Mapping[bytes, bytes]) -> bool:
    followed = method == "GET" and headers.get(b"sec-fetch-mode") == b"navigate"
    return headers[b"sec-fetch-site"] not in _OWN and not followed


def host_in(authority: str) -> str:
    """The host of `host[:port]`, in lower case and without brackets; empty when it is none."""
    try:
        parts = urlsplit(f"//{authority}")
        if parts.username is not None or parts.path or parts.query or parts.fragment:
            return ""
        _ = parts.port
    except ValueError:
        return ""
    return (parts.hostname or "").lower()


def _names(settings: ServiceSettings, bound: str) -> Iterator[str]:
    yield bound.lower()
    yield from (name.lower() for name in settings.host_names)
    if settings.public_url:
        yield urlsplit(settings.public_url).hostname or ""
    if settings.tls.certificate is not None:
        yield from (name.lower() for name in names_of(settings.tls.certificate))


def _public_site(settings: ServiceSettings) -> Iterator[bytes]:
    if settings.public_url:
        public = urlsplit(settings.public_url)
        yield f"{public.scheme}://{public.netloc}".lower().encode()
