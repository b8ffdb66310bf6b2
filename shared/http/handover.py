"""Handing a request over, whole, to another process of this service on the same machine.

The facts of the original connection travel in one header. Only an application behind `believing` reads it,
and only a Unix socket that no one else can open is served by one; `Handover` takes the header away from what
a client sent, and no other listener knows it.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import httpx2

from shared.http.client import unix_client
from shared.http.raw_asgi import (
    PEER_CERTIFICATE,
    App,
    BodyBroken,
    Receive,
    Scope,
    Send,
    body_chunks,
)
from shared.telemetry.trace import TRACEPARENT, left_to_another, traceparent

ORIGIN = b"x-xdsi-origin"
_TRACE = TRACEPARENT.encode()

#: No statement and no wait for a lock takes nearly as long; beyond it the other process is given up.
ANSWER_SECONDS = 120.0
CONNECT_SECONDS = 5.0

_TIMEOUT = {
    "connect": CONNECT_SECONDS,
    "pool": CONNECT_SECONDS,
    "read": ANSWER_SECONDS,
    "write": ANSWER_SECONDS,
}
_HOP_BY_HOP = frozenset(
    (
        b"connection",
        b"expect",
        b"keep-alive",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        ORIGIN,
    )
)
#: Each process' own server writes the date.
_NOT_ANSWERED = _HOP_BY_HOP | {b"date"}


class PeerAway(Exception):
    """The other process is away; `certain` when it surely has not seen the request."""

    def __init__(self, *, certain: bool) -> None:
        super().__init__("the process that should answer is away")
        self.certain = certain


class Handover:
    """The way to the process that listens at a Unix socket; its `asgi` answers with that process' answers."""

    def __init__(self, path: Path) -> None:
        self._client = unix_client(path)

    async def asgi(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand one request over and its answer back, both in constant memory.

        Raises
        ------
        PeerAway
            There is no answer; nothing was sent to the client.
        BodyBroken
            The answer broke off after its beginning.
        ClientGone
            The client's connection ended.
        """
        started = False
        try:
            async with aclosing(body_chunks(receive)) as body, self._answer(scope, body) as response:
                headers = [
                    (name.lower(), value)
                    for name, value in response.headers.raw
                    if name.lower() not in _NOT_ANSWERED
                ]
                started = True
                left_to_another()
                await send(
                    {"type": "http.response.start", "status": response.status_code, "headers": headers}
                )
                async for chunk in response.aiter_raw():
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout):
            raise PeerAway(certain=True) from None
        except httpx2.TransportError as error:
            if started:
                raise BodyBroken("the answer of the other process broke off") from error
            raise PeerAway(certain=False) from None

    async def check(self, path: str) -> int:
        """The status of a GET of `path` in the other process.

        Raises
        ------
        PeerAway
            It does not answer.
        """
        try:
            return (await self._client.get(f"http://unix{path}")).status_code
        except httpx2.TransportError:
            raise PeerAway(certain=False) from None

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    @asynccontextmanager
    async def _answer(self, scope: Scope, body: AsyncGenerator[bytes]) -> AsyncIterator[httpx2.Response]:
        headers = [pair for pair in scope["headers"] if pair[0] not in _HOP_BY_HOP and pair[0] != _TRACE]
        announced = {b"content-length", b"transfer-encoding"}.intersection(dict(scope["headers"]))
        request = httpx2.Request(
            scope["method"],
            "http://unix/",
            headers=[*headers, (ORIGIN, origin_of(scope)), (_TRACE, traceparent().encode())],
            content=body if announced else None,
            extensions={"target": _target(scope), "timeout": _TIMEOUT},
        )
        response = await self._client.send(request, stream=True)
        try:
            yield response
        finally:
            await response.aclose()


def _target(scope: Scope) -> bytes:
    path: bytes = scope.get("raw_path") or scope["path"].encode()
    query: bytes = scope.get("query_string", b"")
    return path + b"?" + query if query else path


def origin_of(scope: Scope) -> bytes:
    """The facts of the connection of `scope`, as the value of the header."""
    client, server = scope.get("client"), scope.get("server")
    certificate = scope.get("extensions", {}).get(PEER_CERTIFICATE)
    return json.dumps(
        {
            "client": list(client) if client else None,
            "server": list(server) if server else None,
            "scheme": scope.get("scheme", "http"),
            "certificate": b64encode(certificate).decode() if certificate else None,
        }
    ).encode()


def believing(app: App) -> App:
    """`app`, seeing each request that was handed over as it was at its own connection.

    To be served where nobody but processes of this service can connect. A request without the header comes
    from such a process itself: it has no address and no certificate, so that it is nobody's.
    """

    async def asgi(scope: Scope, receive: Receive, send: Send) -> None:
        origins = [value for name, value in scope["headers"] if name == ORIGIN]
        await app(_as_it_was(scope, origins[0]) if origins else scope, receive, send)

    return asgi


def _as_it_was(scope: Scope, origin: bytes) -> Scope:
    facts = json.loads(origin)
    certificate = facts["certificate"]
    return {
        **scope,
        "client": tuple(facts["client"]) if facts["client"] else None,
        "server": tuple(facts["server"]) if facts["server"] else None,
        "scheme": facts["scheme"],
        "headers": [pair for pair in scope["headers"] if pair[0] != ORIGIN],
        "extensions": {
            **scope.get("extensions", {}),
            PEER_CERTIFICATE: b64decode(certificate) if certificate else None,
        },
    }
