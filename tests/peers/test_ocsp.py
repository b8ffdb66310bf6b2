"""Responders are asked about certificates of peers, on either side: `openssl ocsp` answers, and what it says
is done; `openssl s_client` is shown what its own server's responder says."""

from __future__ import annotations

import asyncio
import shutil
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from shared.audit.connection import opened
from shared.http.client import http_client
from shared.http.server import start_server
from shared.security.responders import responders
from shared.security.tls import client_context
from shared.settings import ServiceSettings, TlsSettings
from tests.support.ocsp import CERTIFICATE, NORTH, in_process, responder
from tests.support.waiting import until

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")


@pytest.fixture(autouse=True)
def nothing_is_known() -> Iterator[None]:
    responders.cache_clear()
    yield
    responders.cache_clear()


def tls(url: str = "", **changes: Any) -> TlsSettings:
    """Our own settings; with `url`, asking there."""
    asking = {"revocation": "hard", "ocsp": True, "ocsp_url": url} if url else {}
    return TlsSettings(**NORTH.settings()["tls"] | asking | changes)


async def hello(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})


@asynccontextmanager
async def serving(settings: TlsSettings, refused: list[str] | None = None) -> AsyncIterator[int]:
    async def note(_: str, reason: str) -> None:
        if refused is not None:
            refused.append(reason)

    server = await start_server(hello, ServiceSettings(tls=settings), on_tls_failure=note)
    try:
        yield server.port
    finally:
        await server.stop(1.0)


async def asked(port: int, settings: TlsSettings, *, relaying: bool = False) -> str:
    """What a client is answered; empty when there was no connection."""
    url = f"https://127.0.0.1:{port}/"
    async with http_client(settings, peers=[url], relaying=relaying) as http:
        try:
            return (await http.get(url)).text
        except httpx2.TransportError:
            return ""


async def refusal(port: int, settings: TlsSettings, *, relaying: bool) -> str:
    url = f"https://127.0.0.1:{port}/"
    async with http_client(settings, peers=[url], relaying=relaying) as http:
        with pytest.raises(httpx2.ConnectError) as told:
            await http.get(url)
    return str(told.value)


@pytest.mark.parametrize("delegated", [False, True], ids=["authority", "delegate"])
async def test_a_server_lets_in_whom_the_responder_calls_good(tmp_path: Path, delegated: bool):
    with responder(tmp_path, delegated=delegated) as url:
        async with serving(tls(url)) as port:
            assert await asked(port, tls()) == "hello"


async def test_a_server_refuses_whom_the_responder_calls_revoked_and_says_so(tmp_path: Path):
    refused: list[str] = []
    with responder(tmp_path, CERTIFICATE, good=()) as url:
        for mode in ("hard", "soft"):
            async with serving(tls(url, revocation=mode), refused) as port:
                assert await asked(port, tls()) == ""
                await until(lambda: refused != [])
                assert refused.pop() == "certificate revoked"


@pytest.mark.parametrize("relaying", [False, True], ids=["client", "relaying client"])
async def test_a_client_sends_nothing_to_a_server_that_the_responder_calls_revoked(
    tmp_path: Path, relaying: bool
):
    async with serving(tls()) as port:
        with responder(tmp_path) as url:
            assert await asked(port, tls(url), relaying=relaying) == "hello"
        with responder(tmp_path, CERTIFICATE, good=()) as url:
            assert await refusal(port, tls(url), relaying=relaying) == "certificate revoked"


async def test_audit_records_and_associations_go_to_no_revoked_server_either(tmp_path: Path):
    def in_a_thread(port: int, settings: TlsSettings) -> None:
        with socket.create_connection(("127.0.0.1", port)) as plain:
            client_context(settings).wrap_socket(plain, server_hostname="localhost").close()

    async with serving(tls()) as port:
        with responder(tmp_path, CERTIFICATE, good=()) as url:
            with pytest.raises(ssl.SSLCertVerificationError, match="revoked"):
                async with opened("127.0.0.1", port, client_context(tls(url))):
                    pass
            with pytest.raises(ssl.SSLCertVerificationError, match="revoked"):
                await asyncio.to_thread(in_a_thread, port, tls(url))


async def test_without_an_answer_hard_refuses_and_soft_lets_in():
    with in_process() as there:
        there.said = None
        async with serving(tls(there.url)) as port:
            assert await asked(port, tls()) == ""
        async with serving(tls(there.url, revocation="soft")) as port:
            assert await asked(port, tls()) == "hello"


async def test_nothing_else_waits_while_a_responder_is_slow_and_nothing_comes_through_before_it_answers():
    with in_process() as there:
        there.lets_go.clear()
        async with serving(tls(there.url)) as port:
            first = asyncio.create_task(asked(port, tls()))
            await until(lambda: there.questions == 1)
            # This coroutine runs on the server's own loop.
            assert not first.done()
            there.lets_go.set()
            assert await first == "hello"
            assert await asked(port, tls()) == "hello"
        assert there.questions == 1


async def test_what_a_server_brings_along_of_itself_is_believed_and_shown_to_others(tmp_path: Path):
    with in_process() as there, in_process() as silent:
        silent.said = None
        staple = tls(ocsp_staple=True, ocsp_url=there.url)
        async with serving(staple) as port:
            await until(lambda: responders(there.url, with_nonce=False).outcomes["good"] == 1)
            assert await asked(port, tls(silent.url)) == "hello"
            assert silent.questions == 0
            client = await asyncio.create_subprocess_exec(
                *("openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-status"),
                *(
                    "-CAfile",
                    str(NORTH.trust),
                    "-cert",
                    str(NORTH.node.certificate),
                    "-key",
                    str(NORTH.node.key),
                ),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
            )
            said, _ = await client.communicate()
    assert b"OCSP Response Status: successful" in said
    assert b"Cert Status: good" in said
