"""Where a request arrived, without asking the request: a client chooses its Host, and must not choose thereby
who an assertion is for."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any


def called(scope: MutableMapping[str, Any], public_url: str | None) -> str:
    """The URI that was called, without query: below `public_url` when there is one, else at the address of
    the socket that the request came in by."""
    path = str(scope["path"])
    if public_url:
        return public_url.rstrip("/") + path
    host, port = scope.get("server") or ("", None)
    return f"{scope.get('scheme', 'http')}://{authority(host, port)}{path}"


def authority(host: str, port: int | None) -> str:
    """Host and port as they stand in a URL."""
    literal = f"[{host}]" if ":" in host else host
    return literal if port is None else f"{literal}:{port}"
