"""Outgoing HTTP goes to configured peers and nowhere else."""

from __future__ import annotations

import httpx2
import pytest

from shared.http.client import EgressRefused, PeerOrigin, http_client
from shared.settings import TlsSettings

PEERS = ("http://registry.test:8010/xds/registry", "https://audit.test")


async def app(scope, receive, send):
    headers = [(b"location", b"http://elsewhere.test/")] if scope["path"] == "/away" else []
    await send({"type": "http.response.start", "status": 302 if headers else 200, "headers": headers})
    await send({"type": "http.response.body", "body": scope["path"].encode()})


def client() -> httpx2.AsyncClient:
    return http_client(TlsSettings(), peers=PEERS, transport=httpx2.ASGITransport(app))


@pytest.mark.parametrize(
    "url",
    [
        "http://registry.test:8010/xds/registry",
        "http://registry.test:8010/any/other?path",
        "http://REGISTRY.test:8010/",
        "https://audit.test/",
        "https://audit.test:443/",
    ],
)
async def test_a_configured_peer_is_reached_at_any_path(url):
    async with client() as http:
        assert (await http.get(url)).status_code == 200


@pytest.mark.parametrize(
    "url",
    [
        "https://registry.test:8010/",
        "http://registry.test/",
        "http://registry.test:8011/",
        "http://registry.test.evil.test:8010/",
        "http://registry.test@evil.test:8010/",
        "http://audit.test/",
        "http://127.0.0.1:8010/",
        "http://[::1]:8010/",
    ],
)
async def test_any_other_address_is_refused(url):
    async with client() as http:
        with pytest.raises(EgressRefused, match="not a configured peer"):
            await http.get(url)


async def test_a_redirect_is_not_followed():
    async with client() as http:
        assert (await http.get("http://registry.test:8010/away")).status_code == 302


async def test_following_a_redirect_by_hand_meets_the_same_list():
    async with client() as http:
        with pytest.raises(EgressRefused):
            await http.get("http://registry.test:8010/away", follow_redirects=True)


async def test_proxies_of_the_environment_are_not_used(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    async with client() as http:
        assert http.trust_env is False
        assert (await http.get("http://registry.test:8010/")).status_code == 200


async def test_without_peers_nothing_can_be_reached():
    async with http_client(TlsSettings(), peers=(), transport=httpx2.ASGITransport(app)) as http:
        with pytest.raises(EgressRefused, match="configured are none"):
            await http.get(PEERS[0])


@pytest.mark.parametrize("url", ["registry.test:8010", "ftp://registry.test/", "/xds/registry", "http://"])
def test_a_peer_that_is_no_url_is_refused_at_start(url):
    with pytest.raises(ValueError, match="http"):
        http_client(TlsSettings(), peers=(url,))


def test_an_origin_has_the_port_of_its_scheme():
    assert str(PeerOrigin.of("http://a.test/x")) == "http://a.test:80"
    assert PeerOrigin.of("https://a.test") == PeerOrigin.of("HTTPS://A.test:443/y")
