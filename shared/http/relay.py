"""Handing a request to another process of the same service, through a Unix socket below its data folder.

What is decided by the connection goes along in one header: the peer's certificate and address, and the
scheme. Only the listener on that socket believes it; whoever hands over sends its own and never what a client
sent under this name.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from pathlib import Path
from typing import Any

import httpx2

from shared.http.raw_asgi import PEER_CERTIFICATE, App, Receive, Scope, Send, ServerBusy, body_chunks
from shared.telemetry.log import logger

CONNECTION = b"xdsi-connection"
CONNECT_SECONDS = 2.0

_log = logger(__name__)

# What belongs to one connection (RFC 9110 7.6.1), and what each server adds by itself.
_OF_A_HOP = frozenset(
    {b"connection", b"keep-alive", b"transfer-encoding", b"te", b"trailer", b"upgrade", b"date"}
)


class Relay:
    """Hands requests to the process that listens at `path`; memory does not grow with their bodies."""

    def __init__(self, path: Path) -> None:
        self._http = httpx2.AsyncClient(
            # A kept connection may be closed by the other side while a body is already on its way.
            transport=httpx2.AsyncHTTPTransport(
                uds=str(path), limits=httpx2.Limits(max_connections=None, max_keepalive_connections=0)
            ),
            timeout=httpx2.Timeout(None, connect=CONNECT_SECONDS),
            trust_env=False,
        )

    async def asgi(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as the other process does.

        Raises
        ------
        ServerBusy
            It is away, or went away before it answered.
        """
        query = b"?" + scope["query_string"] if scope.get("query_string") else b""
        request = self._http.build_request(
            scope["method"],
            httpx2.URL("http://worker", raw_path=scope.get("raw_path", scope["path"].encode()) + query),
            headers=[*_passed_on(scope["headers"]), (CONNECTION, _written(scope))],
            content=body_chunks(receive),
        )
        try:
            response = await self._http.send(request, stream=True)
        except httpx2.TransportError as error:
            _log.warning("the first worker does not answer", reason=type(error).__name__)
            raise ServerBusy("the process that does this is not there; try again in a moment") from None
        try:
            headers = _passed_on(response.headers.raw)
            await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
            async for chunk in response.aiter_raw():
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            await response.aclose()

    async def close(self) -> None:
        """Close its connections."""
        await self._http.aclose()


def _passed_on(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    named = [(name.lower(), value) for name, value in headers]
    return [(name, value) for name, value in named if name not in _OF_A_HOP and name != CONNECTION]


def _written(scope: Scope) -> bytes:
    certificate: bytes | None = scope.get("extensions", {}).get(PEER_CERTIFICATE)
    facts = {
        "client": scope.get("client"),
        "scheme": scope.get("scheme", "http"),
        "certificate": b64encode(certificate).decode() if certificate else None,
    }
    return json.dumps(facts).encode()


def believing(app: App) -> App:
    """`app` for the listener on the Unix socket: its requests are those of the connections that they came by.

    A request without these facts was not handed over, and is refused.
    """

    async def asgi(scope: Scope, receive: Receive, send: Send) -> None:
        told = [value for name, value in scope["headers"] if name == CONNECTION]
        if len(told) != 1:
            raise ServerBusy("this socket is for the workers of this service")
        facts = json.loads(told[0])
        certificate = b64decode(facts["certificate"]) if facts["certificate"] else None
        original: dict[str, Any] = {
            **scope,
            "client": tuple(facts["client"]) if facts["client"] else None,
            "scheme": facts["scheme"],
            "headers": [(name, value) for name, value in scope["headers"] if name != CONNECTION],
            "extensions": {**scope.get("extensions", {}), PEER_CERTIFICATE: certificate},
        }
        await app(original, receive, send)

    return asgi
