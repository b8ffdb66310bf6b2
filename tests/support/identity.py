"""An identity service in this process, and a provider that signs in whom a test wants."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from identity.app import Identity, build
from identity.settings import IdentitySettings
from tests.support.certificates import communities
from tests.support.tokens import ISSUER, key_of, key_set, token_of

URL = "http://127.0.0.1:8100"
CLIENT = "xdsi-pages"
ROLE = "RAD-PHYS^^2.999.40.1"
DR_ROE = {
    "name": "dr.roe",
    "display_name": "Dr. Roe",
    "roles": [ROLE],
    "organization": "North Hospital",
    "organization_ids": ["urn:oid:2.999.7"],
    "logins": [{"issuer": ISSUER, "subject": "2440"}],
}


def settings_of(folder: Path, **changes: Any) -> dict[str, Any]:
    """Settings by which a provider is believed, and assertions are signed as a community's provider."""
    keys = folder / "provider.json"
    keys.write_bytes(key_set(key_of(ISSUER)))
    north = communities()[0]
    return {
        "data": folder,
        "audit": {"url": "tcp://127.0.0.1:9"},
        "providers": {ISSUER: {"keys": str(keys), "client_ids": [CLIENT]}},
        "assertion": {
            "issuer": north.issuer,
            "key": north.provider.key,
            "certificate": north.provider.certificate,
        },
        **changes,
    }


@dataclass(frozen=True, slots=True)
class Stand:
    """The service, and a client of it."""

    service: Identity
    http: httpx2.AsyncClient

    async def records(self) -> list[bytes]:
        """What waits to be sent to the audit repository, of reads and of refusals."""
        spool = self.service.parts.recorder.spool
        return [event for _, event in await spool.reader("test").next(100)]


@asynccontextmanager
async def identity_service(folder: Path, **changes: Any) -> AsyncIterator[Stand]:
    """The service with one person who can sign in; `changes` are settings."""
    service = await build(IdentitySettings.load(None, {}, **settings_of(folder, **changes)))
    await service.start()
    transport = httpx2.ASGITransport(service.asgi, client=("127.0.0.1", 1))
    async with httpx2.AsyncClient(transport=transport, base_url=URL, trust_env=False) as http:
        assert (await http.post("/people/set", json=DR_ROE)).status_code == 200
        yield Stand(service, http)
    await service.stop()


def id_token(**changes: Any) -> str:
    """What the provider says of Dr. Roe."""
    now = int(time.time())
    claims = {"iss": ISSUER, "sub": "2440", "aud": CLIENT, "iat": now, "exp": now + 300, "auth_time": now}
    header = changes.pop("header", {})
    claims = {name: value for name, value in (claims | changes).items() if value is not None}
    return token_of(claims, **{"typ": "JWT"} | header)


def exchange(token: str, **changes: str) -> dict[str, str]:
    """The form of a token exchange."""
    return {
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
        "subject_token": token,
        "subject_token_type": "urn:ietf:params:oauth:token-type:id_token",
    } | changes
