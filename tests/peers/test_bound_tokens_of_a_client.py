"""A client that is not ours (oauth4webapi of npm) gets a token that is bound to its key, and opens a resource
with it (RFC 9449)."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx2
import pytest

import identity.app
import imaging_source.app
from identity.settings import IdentitySettings
from imaging_source.settings import ImagingSourceSettings
from shared.http.server import start_server
from tests.support.certificates import communities
from tests.support.identity import (
    CLIENT,
    DR_ROE,
    Stand,
    given_credentials,
    settings_of,
)
from xdsi.stage import free_ports

ROOT = Path(__file__).parents[2]
#: Where `npm install oauth4webapi` may have put it.
PLACES = (ROOT / "node_modules", *map(Path, filter(None, os.environ.get("NODE_PATH", "").split(os.pathsep))))
MODULE = next((place for each in PLACES if (place := each / "oauth4webapi/build/index.js").exists()), None)

pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(
        MODULE is None or shutil.which("node") is None,
        reason="needs node, and oauth4webapi of npm in node_modules here or in NODE_PATH",
    ),
]


@asynccontextmanager
async def served(service: Any, settings: Any) -> AsyncIterator[None]:
    await service.start()
    server = await start_server(service.asgi, settings, on_tls_failure=service.node_refused)
    try:
        yield
    finally:
        await server.stop(1.0)
        await service.stop()


@pytest.mark.parametrize("seconds", [0, 60], ids=["without a nonce", "with a nonce"])
async def test_a_client_proves_its_key_from_the_code_to_the_resource(tmp_path: Path, seconds: float):
    of_identity, of_source = free_ports(2)
    issuer, resource = (f"http://127.0.0.1:{port}" for port in (of_identity, of_source))
    back = "http://127.0.0.1:9/back"
    clients = {CLIENT: {"redirect_uris": [back]}}
    given = settings_of(tmp_path, port=of_identity, clients=clients, proof_nonce_seconds=seconds)
    people = await identity.app.build(IdentitySettings.load(None, {}, **given))
    settings = ImagingSourceSettings.load(
        None,
        {},
        data=tmp_path,
        port=of_source,
        dimse_port=0,
        audit={"url": "tcp://127.0.0.1:9"},
        consent={"source": "none"},
        assertion=communities()[0].settings()["assertion"],
        token={"issuers": {issuer: f"{issuer}/jwks"}, "bound": True},
    )
    async with served(people, people.parts.settings):
        source = await imaging_source.app.build(settings)
        async with served(source, settings), httpx2.AsyncClient(base_url=issuer, trust_env=False) as http:
            assert (await http.post("/people/set", json=DR_ROE)).status_code == 200
            person = await given_credentials(Stand(people, http))
            program = ROOT / "tests/support/dpop_client.mjs"
            client = await asyncio.create_subprocess_exec(
                *("node", program, MODULE, issuer, CLIENT, back, resource), stdin=PIPE, stdout=PIPE
            )
            assert client.stdin is not None
            assert client.stdout is not None
            async with asyncio.timeout(60):
                asked = urlsplit((await client.stdout.readline()).decode().strip())
                await person.opens(asked.path, **dict(parse_qsl(asked.query)))
                sent_back = (await person.types()).headers["location"]
                client.stdin.write(f"{sent_back}\n".encode())
                told = json.loads(await client.stdout.readline())
                await client.wait()

    assert re.search(r"dpop_jkt=[A-Za-z0-9_-]{43}(&|$)", asked.query)
    assert told == {"nonces": int(seconds > 0), "type": "dpop", "bound": [200, 200], "bearer": 401}
