"""Raw endpoints among the routes of an application."""

from __future__ import annotations

import httpx2
import pytest
from fastapi import FastAPI

from shared.http.raw_asgi import raw_routes, send_body


async def tell_method(scope, receive, send):
    await send_body(send, status=200, headers=[], body=scope["method"].encode())


@pytest.mark.parametrize("path", ["/xds/registry", "/xds/registry/"])
@pytest.mark.parametrize("method", ["GET", "POST", "PUT"])
async def test_a_message_reaches_the_endpoint_without_a_redirect(path: str, method: str):
    application = FastAPI()
    application.router.routes.extend(raw_routes("/xds/registry", tell_method))
    transport = httpx2.ASGITransport(app=application)
    async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
        answer = await client.request(method, path)

    assert (answer.status_code, answer.text) == (200, method)
