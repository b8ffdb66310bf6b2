"""The factory of outgoing HTTP against real sockets: who is believed, and under which name."""

from __future__ import annotations

import httpx2
import pytest

from shared.http.client import http_client, ourselves
from shared.http.limits import HttpLimits
from shared.http.raw_asgi import node_of, send_body
from shared.http.server import start_server
from shared.security.caller import Node
from shared.security.peer_certificate import subject_of
from shared.settings import ServiceSettings, TlsSettings
from tests.support.certificates import communities, stranger

# A loopback address that no certificate of the tests names.
UNNAMED = "127.0.0.2"


def tls_of(community, **changes) -> TlsSettings:
    return TlsSettings(
        certificate=community.node.certificate, key=community.node.key, trust=community.trust, **changes
    )


async def who_calls(scope, receive, send) -> None:
    await send_body(send, status=200, headers=[], body=node_of(scope).subject.encode())


@pytest.fixture
async def url():
    north, _ = communities()
    server = await start_server(
        who_calls, ServiceSettings(host=UNNAMED, tls=tls_of(north)), limits=HttpLimits(sweep_seconds=0.02)
    )
    yield f"https://{UNNAMED}:{server.port}/"
    await server.stop(grace_seconds=1)


async def test_both_sides_know_each_other_by_their_certificates(url):
    _, south = communities()
    async with http_client(tls_of(south), peers=[url]) as http:
        assert (await http.get(url)).text == subject_of(south.node.certificate)


async def test_the_name_of_the_host_counts_only_when_the_setting_says_so(url):
    _, south = communities()
    async with http_client(tls_of(south, check_host_names=True), peers=[url]) as http:
        with pytest.raises(httpx2.ConnectError, match=r"127\.0\.0\.2"):
            await http.get(url)


async def test_a_server_of_an_unknown_authority_is_not_believed(url):
    async with http_client(tls_of(stranger()), peers=[url]) as http:
        with pytest.raises(httpx2.ConnectError, match="verify failed"):
            await http.get(url)


async def test_without_tls_set_up_no_https_peer_is_believed(url):
    async with http_client(TlsSettings(), peers=[url]) as http:
        with pytest.raises(httpx2.ConnectError, match="verify failed"):
            await http.get(url)


async def test_nobody_at_the_other_end_is_told_apart_from_a_refusal():
    async with http_client(TlsSettings(), peers=["http://127.0.0.1:1"], timeout_seconds=2) as http:
        with pytest.raises(httpx2.ConnectError):
            await http.get("http://127.0.0.1:1/")


async def where_from(scope, receive, send) -> None:
    await send_body(send, status=200, headers=[], body=node_of(scope).address.encode())


@pytest.mark.parametrize("secured", [True, False])
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_we_know_ourselves_by_the_address_that_the_peer_sees(host: str, secured: bool):
    north, south = communities()
    tls = {"tls": tls_of(north)} if secured else {}
    server = await start_server(where_from, ServiceSettings(host=host, **tls))
    url = f"{'https' if secured else 'http'}://{f'[{host}]' if ':' in host else host}:{server.port}/"
    unreached = "http://127.0.0.1:1/"
    us = Node(address="the-name-of-this-machine", subject="CN=us")
    try:
        mine = tls_of(south) if secured else TlsSettings()
        async with http_client(mine, peers=[url, unreached]) as http:
            assert ourselves(us, http, url) == us
            seen = (await http.get(url)).text
            with pytest.raises(httpx2.ConnectError):
                await http.get(unreached)

            assert ourselves(us, http, url) == Node(address=seen, subject="CN=us")
            assert seen == host
            assert ourselves(us, http, unreached) == us
    finally:
        await server.stop(grace_seconds=1)
