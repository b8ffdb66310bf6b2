"""The conformance service in process, on a socket, and a client of it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from conformance.app import Conformance, build
from conformance.settings import ConformanceSettings
from shared.http.client import http_client
from shared.http.server import start_server
from shared.settings import TlsSettings


@dataclass
class Served:
    """A service that runs, and a client of it."""

    service: Conformance
    http: httpx2.AsyncClient
    base: str
    folder: Path

    async def post(self, content: bytes, query: str = "", **headers: str) -> httpx2.Response:
        """Send a file to be judged."""
        headers = {"content-type": "application/octet-stream", **headers}
        return await self.http.post(f"{self.base}/rest/validations{query}", content=content, headers=headers)

    async def posted(self, path: str = "/judge", **fields: Any) -> httpx2.Response:
        """Send the form of a page."""
        return await self.http.post(f"{self.base}{path}", **fields)

    async def page(self, path: str = "") -> httpx2.Response:
        """Open a page."""
        return await self.http.get(f"{self.base}{path}")

    async def records(self) -> list[bytes]:
        """What waits to be sent to the audit repository."""
        return [event for _, event in await self.service.recorder.spool.reader("test").next(100)]

    async def token(self) -> str:
        """The token of the forms in this browser."""
        page = await self.page()
        match = re.search(r'name="token" value="([^"]+)"', page.text)
        assert match, page.text
        return match[1]


@asynccontextmanager
async def conformance_served(folder: Path, **changes: Any) -> AsyncIterator[Served]:
    """The service, with settings that differ by `changes`."""
    usual = {"port": 0, "audit": {"url": "tcp://127.0.0.1:9"}}
    settings = ConformanceSettings.load(None, {}, data=folder, **{**usual, **changes})
    service = await build(settings)
    await service.start()
    server = await start_server(service.asgi, settings, on_tls_failure=service.node_refused)
    base = f"http://127.0.0.1:{server.port}"
    try:
        async with http_client(TlsSettings(), peers=(base,)) as http:
            yield Served(service, http, base, settings.folder)
    finally:
        await server.stop(1.0)
        await service.stop()
