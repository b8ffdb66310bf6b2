"""Outgoing HTTP from one factory, so that no input makes a service connect to a place of its choosing."""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, NamedTuple

import httpx2

from shared.http.links import PeerTransport
from shared.security.caller import Node
from shared.security.certificate_check import Known, http_certificate_known
from shared.security.tls import client_context
from shared.settings import TlsSettings
from shared.telemetry.trace import TRACEPARENT, traceparent

MAX_CONNECTIONS = 64
MAX_IDLE_CONNECTIONS = 16
# Shorter than our own server keeps an idle connection, so that a request seldom meets one that is closing.
IDLE_SECONDS = 20.0
CONNECT_SECONDS = 10.0

_DEFAULT_PORTS = {"http": 80, "https": 443}


class EgressRefused(Exception):
    """A request went to an address that is not a configured peer; nothing was sent."""


class PeerOrigin(NamedTuple):
    """Scheme, host and port: what a peer is known by."""

    scheme: str
    host: str
    port: int

    @classmethod
    def of(cls, url: httpx2.URL | str) -> PeerOrigin:
        """The origin of an absolute http or https URL.

        Raises
        ------
        ValueError
            `url` is neither.
        """
        parsed = _parsed(url) if isinstance(url, str) else url
        if parsed.scheme not in _DEFAULT_PORTS or not parsed.host:
            raise ValueError(
                f"{parsed.scheme}://{parsed.host}: a peer is named by an http:// or https:// URL"
            )
        return cls(parsed.scheme, parsed.host.lower(), parsed.port or _DEFAULT_PORTS[parsed.scheme])

    def __str__(self) -> str:
        return f"{self.scheme}://{self.host}:{self.port}"


# A service asks few peers, and each again and again.
@lru_cache(maxsize=64)
def _parsed(url: str) -> httpx2.URL:
    try:
        return httpx2.URL(url)
    except httpx2.InvalidURL:
        raise ValueError("a peer is named by an http:// or https:// URL, and this is none") from None


class GuardedTransport(httpx2.AsyncBaseTransport):
    """Lets requests through to `allowed` origins alone; every request of a client passes here, and takes its
    trace along.

    `own_addresses` are ours, as the peer at each origin saw them last.
    """

    def __init__(
        self,
        inner: httpx2.AsyncBaseTransport,
        allowed: Iterable[PeerOrigin],
        apart: Mapping[PeerOrigin, httpx2.AsyncBaseTransport] | None = None,
    ) -> None:
        """Send by `inner`, and to the origins of `apart` by a transport of their own."""
        self._inner = inner
        self._allowed = frozenset(allowed)
        self._apart = apart or {}
        self.own_addresses: dict[PeerOrigin, str] = {}

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send `request` to one of the allowed origins.

        Raises
        ------
        EgressRefused
            It is for another one.
        """
        origin = PeerOrigin.of(request.url)
        if origin not in self._allowed:
            raise EgressRefused(f"{origin} is not a configured peer; configured are {self._named()}")
        request.headers[TRACEPARENT] = traceparent()
        if origin.scheme == "https":
            request.extensions["trace"] = http_certificate_known
        response = await self._apart.get(origin, self._inner).handle_async_request(request)
        if stream := response.extensions.get("network_stream"):
            address = stream.get_extra_info("client_addr")
            if isinstance(address, tuple):
                self.own_addresses[origin] = str(address[0])
        return response

    async def aclose(self) -> None:
        """Close the connections."""
        for transport in (self._inner, *self._apart.values()):
            await transport.aclose()

    def _named(self) -> str:
        return ", ".join(sorted(map(str, self._allowed))) or "none"


class PeerClient(httpx2.AsyncClient):
    """The client of `http_client`, which knows as whom its peers see us."""

    def __init__(self, transport: GuardedTransport, **settings: Any) -> None:
        super().__init__(transport=transport, **settings)
        self._own_addresses = transport.own_addresses

    def own_address(self, url: str) -> str:
        """Our own address on the connection by which `url` was reached last; empty when it was not yet."""
        return self._own_addresses.get(PeerOrigin.of(url), "")


def ourselves(node: Node, http: httpx2.AsyncClient | None, url: str) -> Node:
    """`node`, which is ourselves, as the peer at `url` sees us; as it is when `http` did not reach that."""
    address = http.own_address(url) if isinstance(http, PeerClient) else ""
    return replace(node, address=address) if address else node


def http_client(
    tls: TlsSettings,
    *,
    peers: Sequence[str],
    known: Mapping[str, Known] | None = None,
    timeout_seconds: float = 30,
    transport: httpx2.AsyncBaseTransport | None = None,
    relaying: bool = False,
) -> httpx2.AsyncClient:
    """Make the client through which a service speaks to `peers`; close it with `aclose`.

    Redirects are not followed, proxies and other settings of the environment are not read. With TLS set up,
    both sides authenticate by the community's authorities alone; whether a certificate must also name its
    host is a setting that is off, because ATNA knows a node by its certificate and not by its place in the
    network.

    Parameters
    ----------
    peers
        URLs of the systems that may be spoken to; scheme, host and port count, the rest is ignored.
    known
        Of some of them, by URL, which node may answer there; elsewhere any for which an authority vouches.
        Without TLS no node is known by anything.
    timeout_seconds
        For each read and write and for a place in the pool; connecting is given at most 10 s.
    transport
        What sends instead of sockets, for applications in the same process; the allow-list still holds.
    relaying
        Whether the bodies of answers go on to somebody else: they are read in large pieces then, and may pass
        from socket to socket (`shared.http.links`).

    Raises
    ------
    ValueError
        A peer is not an http or https URL.
    """
    new_transport = _link_transport if relaying else _socket_transport
    inner = transport or new_transport(tls)
    known = known if known and tls.enabled and transport is None else {}
    apart = {PeerOrigin.of(url): new_transport(tls, may_answer) for url, may_answer in known.items()}
    return PeerClient(
        GuardedTransport(inner, map(PeerOrigin.of, peers), apart),
        timeout=httpx2.Timeout(timeout_seconds, connect=min(CONNECT_SECONDS, timeout_seconds)),
        follow_redirects=False,
        trust_env=False,
    )


def _socket_transport(tls: TlsSettings, known: Known | None = None) -> httpx2.AsyncHTTPTransport:
    return httpx2.AsyncHTTPTransport(
        verify=_context(tls, known),
        trust_env=False,
        retries=0,
        limits=httpx2.Limits(
            max_connections=MAX_CONNECTIONS,
            max_keepalive_connections=MAX_IDLE_CONNECTIONS,
            keepalive_expiry=IDLE_SECONDS,
        ),
    )


def _link_transport(tls: TlsSettings, may_answer: Known | None = None) -> PeerTransport:
    return PeerTransport(
        _context(tls, may_answer),
        connections=MAX_CONNECTIONS,
        idle_connections=MAX_IDLE_CONNECTIONS,
        idle_seconds=IDLE_SECONDS,
    )


def _context(tls: TlsSettings, known: Known | None = None) -> ssl.SSLContext:
    # Without TLS set up there is no trust either: an https peer then fails at its handshake.
    context = client_context(tls, known=known) if tls.enabled else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = tls.check_host_names
    return context
