"""An identity service in this process, and a provider that signs in whom a test wants."""

from __future__ import annotations

import re
import time
from base64 import b32decode, urlsafe_b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2

from identity.app import Identity, build
from identity.domain.totp import AppSecret
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


PASSWORD = "correct horse battery"
BACK = "http://127.0.0.1:8040/sign-in/back"
VERIFIER = "v" * 43
CLIENTS = {CLIENT: {"redirect_uris": [BACK]}}
_TOKEN = re.compile(r'name="token" value="([^"]+)"')
_REQUEST = re.compile(r'name="request" value="([^"]*)"')
_CHALLENGE = re.compile(r'data-challenge="([^"]+)"')


def asked(**changes: str) -> dict[str, str]:
    """What a page asks when it sends a browser to sign in."""
    challenge = urlsafe_b64encode(sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
    values = {
        "response_type": "code",
        "client_id": CLIENT,
        "redirect_uri": BACK,
        "scope": "openid",
        "state": "a state",
        "nonce": "a nonce",
        "code_challenge": challenge,
        "code_challenge_method": "S256",
    }
    return {name: value for name, value in (values | changes).items() if value}


@dataclass
class Person:
    """A person at a browser, who signs in at the service; `app` is the secret of the person's app."""

    http: httpx2.AsyncClient
    app: AppSecret | None = None
    page: httpx2.Response | None = None
    steps: int = 0

    async def opens(self, path: str = "/", **values: str) -> httpx2.Response:
        """The page at an address."""
        self.page = await self.http.get(path, params=values)
        return self.page

    async def types(self, **changes: str) -> httpx2.Response:
        """The answer to name, password and the next code."""
        code = ""
        if self.app is not None:
            # Each code is taken once: the test does not wait for the next.
            code = self.app.code(int(time.time() // 30) + (-1, 0, 1)[self.steps % 3])
            self.steps += 1
        typed = {"name": "dr.roe", "password": PASSWORD, "code": code}
        return await self.sends("/password", **typed | changes)

    async def sends(self, path: str, **fields: str) -> httpx2.Response:
        """The answer to the form of the page that is open."""
        answer = await self.http.post(path, data=self.hidden | fields)
        self.page = answer if _TOKEN.search(answer.text) else self.page
        return answer

    @property
    def hidden(self) -> dict[str, str]:
        """What the form holds beside what people type."""
        assert self.page is not None
        request = _REQUEST.search(self.page.text)
        return {"token": _found(_TOKEN, self.page), "request": request[1] if request else ""}

    @property
    def challenge(self) -> str:
        """What a passkey of the open page is to sign."""
        assert self.page is not None
        return _found(_CHALLENGE, self.page)


def _found(pattern: re.Pattern[str], page: httpx2.Response) -> str:
    found = pattern.search(page.text)
    assert found is not None, page.text
    return found[1]


async def given_credentials(stand: Stand, *, app: bool = True) -> Person:
    """Dr. Roe with a password, and an app."""
    given = await stand.http.post("/people/password", json={"name": "dr.roe", "password": PASSWORD})
    assert given.status_code == 200
    secret = None
    if app:
        told = (await stand.http.post("/people/app", json={"name": "dr.roe"})).json()["uri"]
        (text,) = parse_qs(urlsplit(told).query)["secret"]
        secret = AppSecret(octets=b32decode(text))
    return Person(stand.http, secret)


def exchange(token: str, **changes: str) -> dict[str, str]:
    """The form of a token exchange."""
    return {
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
        "subject_token": token,
        "subject_token_type": "urn:ietf:params:oauth:token-type:id_token",
    } | changes
