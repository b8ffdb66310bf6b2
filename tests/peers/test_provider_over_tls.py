"""The provider of the identity service over mutual TLS: people sign in, their client redeems the code, and
what it is given is bound to its own certificate (RFC 8705)."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import httpx2
from joserfc import jws

import identity.app
from identity.settings import IdentitySettings
from shared.http.server import start_server
from shared.security.access_token import thumbprint
from shared.security.peer_certificate import fingerprint_of
from shared.security.tls import client_context
from shared.settings import TlsSettings
from tests.support.certificates import communities
from tests.support.identity import (
    BACK,
    CLIENT,
    CLIENTS,
    DR_ROE,
    VERIFIER,
    Stand,
    asked,
    given_credentials,
    settings_of,
)
from xdsi.stage import free_ports

NORTH = communities()[0]


async def test_the_whole_way_goes_over_tls_and_its_token_is_the_clients_alone(tmp_path: Path):
    (port,) = free_ports(1)
    tls = NORTH.settings()["tls"]
    given = settings_of(tmp_path, port=port, clients=CLIENTS, tls=tls, token={"bound": True})
    service = await identity.app.build(IdentitySettings.load(None, {}, **given))
    await service.start()
    server = await start_server(service.asgi, service.parts.settings, on_tls_failure=service.node_refused)
    base = f"https://127.0.0.1:{port}"
    context = client_context(TlsSettings(**tls))
    try:
        async with httpx2.AsyncClient(verify=context, base_url=base, trust_env=False) as http:
            assert (await http.post("/people/set", json=DR_ROE)).status_code == 200
            person = await given_credentials(Stand(service, http))
            await person.opens("/authorize", **asked(scope="openid RAD-107"))
            back = urlsplit((await person.types()).headers["location"])
            said = dict(parse_qsl(back.query))
            form = {
                "grant_type": "authorization_code",
                "redirect_uri": BACK,
                "code_verifier": VERIFIER,
                "client_id": CLIENT,
                "code": said["code"],
            }
            issued = (await http.post("/token", data=form)).json()
            keys = (await http.get("/jwks")).json()["keys"]
    finally:
        await server.stop(1.0)
        await service.stop()

    signed = jws.extract_compact(issued["access_token"].encode())
    claims = json.loads(signed.payload)
    assert said["iss"] == claims["iss"] == base
    assert signed.headers()["kid"] in {key["kid"] for key in keys}
    assert claims["cnf"] == {"x5t#S256": thumbprint(fingerprint_of(NORTH.node.certificate))}
    assert issued["id_token"]
