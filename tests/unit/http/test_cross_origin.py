"""A page of a site that a setting names may read what is answered; no other page may (CORS)."""

from __future__ import annotations

import httpx2
import pytest

from shared.http.guard import Guard
from shared.http.raw_asgi import send_body
from shared.settings import ServiceSettings

VIEWER = "https://viewer.example:8443"
PREFLIGHT = {"access-control-request-method": "GET", "access-control-request-headers": "authorization,accept"}


async def answered(scope, receive, send) -> None:
    await send_body(send, status=200, headers=[(b"etag", b'"1"')], body=scope["method"].encode())


async def ask(method: str, origin: str, *, trusted: tuple[str, ...] = (VIEWER,), **headers: str):
    guard = Guard(answered, ServiceSettings(trusted_origins=trusted), "127.0.0.1")
    transport = httpx2.ASGITransport(app=guard)
    async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:8030") as client:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await client.request(method, "/dicomweb/studies", headers={"origin": origin, **named})


async def test_a_named_site_may_ask_what_it_may_send_and_reads_the_answer():
    told = await ask("OPTIONS", VIEWER, **PREFLIGHT)
    read = await ask("GET", VIEWER)

    assert (told.status_code, told.content) == (204, b"")
    assert told.headers["access-control-allow-origin"] == VIEWER
    assert {"authorization", "accept", "range"} <= set(
        told.headers["access-control-allow-headers"].split(", ")
    )
    assert "GET" in told.headers["access-control-allow-methods"]
    assert (read.status_code, read.content) == (200, b"GET")
    assert read.headers["access-control-allow-origin"] == VIEWER
    assert read.headers["vary"] == "Origin"
    assert "etag" in read.headers["access-control-expose-headers"]
    assert read.headers["etag"] == '"1"'
    assert "access-control-allow-credentials" not in {*told.headers, *read.headers}


@pytest.mark.parametrize("trusted", [(), (VIEWER,)])
@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "null",
        "https://viewer.example",
        "http://viewer.example:8443",
        f"{VIEWER}.evil",
    ],
)
@pytest.mark.parametrize("method", ["OPTIONS", "GET", "POST"])
async def test_another_site_is_refused_and_reads_nothing(method, origin, trusted):
    told = await ask(method, origin, trusted=trusted, **(PREFLIGHT if method == "OPTIONS" else {}))

    assert told.status_code == 403
    assert not [name for name in told.headers if name.startswith("access-control-")]


async def test_our_own_pages_are_answered_as_ever():
    told = await ask("GET", "http://127.0.0.1:8030")

    assert told.status_code == 200
    assert "access-control-allow-origin" not in told.headers


async def test_options_that_ask_for_no_permission_reach_the_service():
    assert (await ask("OPTIONS", VIEWER)).content == b"OPTIONS"
