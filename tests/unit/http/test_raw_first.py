"""Raw endpoints before an application."""

from __future__ import annotations

import httpx2
import pytest
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from shared.http.application import application
from shared.http.raw_asgi import raw_first, send_body


async def tell_method(scope, receive, send):
    await send_body(send, status=200, headers=[], body=scope["method"].encode())


@pytest.mark.parametrize("path", ["/xds/registry", "/xds/registry/"])
@pytest.mark.parametrize("method", ["GET", "POST", "PUT"])
async def test_a_message_reaches_the_endpoint_without_a_redirect(path: str, method: str):
    transport = httpx2.ASGITransport(app=raw_first("/xds/registry", tell_method, application([])))
    async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
        answer = await client.request(method, path)

    assert (answer.status_code, answer.text) == (200, method)


@pytest.mark.parametrize("path", ["/health", "/xds/registry/more", "/XDS/registry"])
async def test_every_other_path_is_the_application_s(path: str):
    app = application([Route("/health", lambda _: PlainTextResponse("well"))])
    transport = httpx2.ASGITransport(app=raw_first("/xds/registry", tell_method, app))
    async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
        answer = await client.get(path)

    assert answer.status_code == (200 if path == "/health" else 404)
