"""Clients prove at the token endpoint that it is they who ask: by assertions that they sign (RFC 7523), each
for once; and keys change without a restart."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
from joserfc import jws
from joserfc.jwk import ECKey, RSAKey

from identity.app import build
from identity.domain.authorization import CODE_SECONDS, Authorization, CodeGrant, SignIn
from identity.settings import IdentitySettings
from identity.store import single_use
from identity.store.keys import SigningKeys
from shared.security.issuer import AssertionContent, WatchedIssuer
from shared.store.opening import open_database
from shared.xml import parse
from tests.support.certificates import communities
from tests.support.identity import URL, Stand, exchange, id_token, identity_service, settings_of
from tests.support.tokens import key_set

PROGRAM = "archive-program"
KEYS = {
    "ES384": ECKey.generate_key("P-384", {"use": "sig", "kid": "es"}),
    "RS384": RSAKey.generate_key(2048, {"use": "sig", "kid": "rs"}),
}
STRANGER = ECKey.generate_key("P-384", {"use": "sig", "kid": "es"})
KIND = "urn:ietf:params:oauth:token-type:"
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


def clients(folder: Path) -> dict[str, Any]:
    place = folder / "program.json"
    place.write_bytes(key_set(*KEYS.values()))
    return {"clients": {PROGRAM: {"keys": str(place)}}}


def proof(algorithm: str = "ES384", *, key: Any = None, typ: str = "JWT", **changes: Any) -> str:
    ends, number = int(time.time()) + 60, os.urandom(8).hex()
    claims = {"iss": PROGRAM, "sub": PROGRAM, "aud": f"{URL}/token", "jti": number, "exp": ends}
    key = key or KEYS[algorithm]
    content = json.dumps({name: value for name, value in (claims | changes).items() if value is not None})
    head = {"alg": algorithm, "kid": key.kid, "typ": typ}
    return jws.serialize_compact(head, content.encode(), key, algorithms=[algorithm])


async def asked(stand: Stand, assertion: str, **changes: str) -> httpx2.Response:
    form = {
        "grant_type": "client_credentials",
        "client_assertion_type": ASSERTION_TYPE,
        "client_assertion": assertion,
        "scope": "RAD-107",
    }
    return await stand.http.post("/token", data=form | changes)


@pytest.mark.parametrize("algorithm", KEYS)
async def test_a_client_is_given_a_token_for_an_assertion_that_it_signed(tmp_path: Path, algorithm: str):
    async with identity_service(tmp_path, **clients(tmp_path)) as stand:
        answer = await asked(stand, proof(algorithm))
        without_type = await asked(stand, proof(algorithm, aud=[URL]))
        metadata = (await stand.http.get("/.well-known/oauth-authorization-server")).json()
        said = (await stand.http.post("/introspect", data={"token": answer.json()["access_token"]})).json()

    assert (answer.status_code, without_type.status_code) == (200, 200)
    assert (said["active"], said["sub"], said["scope"]) == (True, PROGRAM, "RAD-107")
    assert "private_key_jwt" in metadata["token_endpoint_auth_methods_supported"]
    assert {"RS384", "ES384"} <= set(metadata["token_endpoint_auth_signing_alg_values_supported"])


async def test_an_assertion_counts_once_at_whichever_process(tmp_path: Path):
    async with identity_service(tmp_path, **clients(tmp_path)) as stand:
        assertion = proof()
        first, again = await asked(stand, assertion), await asked(stand, assertion)
        # Another process is another object on the same database.
        database = await open_database(
            f"sqlite:///{tmp_path}/other.sqlite3", folder=tmp_path, migrations="identity.store:migrations"
        )
        ends = int(time.time()) + 60
        at_once = [await single_use.use_assertion(database, PROGRAM, "j", ends) for _ in range(2)]
        await database.close()

    assert (first.status_code, again.status_code) == (200, 401)
    assert again.json()["error"] == "invalid_client"
    assert at_once == [True, False]


REFUSED: dict[str, Callable[[], str]] = {
    "of another key": lambda: proof(key=STRANGER),
    "unsigned": lambda: proof().rpartition(".")[0] + ".",
    "of another client": lambda: proof(iss="other", sub="other"),
    "about another": lambda: proof(sub="other"),
    "for another endpoint": lambda: proof(aud="https://other.example/token"),
    "over": lambda: proof(exp=int(time.time()) - 600),
    "for a day": lambda: proof(exp=int(time.time()) + 86_400),
    "without an end": lambda: proof(exp=None),
    "without a number": lambda: proof(jti=None),
    "an access token": lambda: proof(typ="at+jwt"),
    "nonsense": lambda: "a.b.c",
}


async def test_any_other_assertion_proves_nothing(tmp_path: Path):
    async with identity_service(tmp_path, **clients(tmp_path)) as stand:
        answers = {name: await asked(stand, made(), client_id=PROGRAM) for name, made in REFUSED.items()}
        grant = {"grant_type": "client_credentials"}
        none = await stand.http.post("/token", data=grant | {"client_id": PROGRAM})
        both = await stand.http.post(
            "/token",
            data=grant | {"client_assertion": proof()},
            auth=(PROGRAM, "secret"),
        )

    assert {name: answer.json()["error"] for name, answer in answers.items()} == dict.fromkeys(
        REFUSED, "invalid_client"
    )
    assert none.json()["error"] == "invalid_client"
    assert both.json()["error"] == "invalid_request"


async def test_a_code_is_worth_it_once_and_for_a_minute_at_every_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    wish = Authorization(client_id="c", redirect_uri="u", state="s", challenge="x")
    grant = CodeGrant(wish, SignIn(name="dr.roe", seconds=0, methods=("pwd", "otp")))
    service = await build(IdentitySettings.load(None, {}, **settings_of(tmp_path)))
    database = service.parts.database
    await service.start()
    try:
        first, second = [await single_use.give_code(database, grant) for _ in range(2)]
        assert await single_use.take_code(database, "nonsense") is None
        assert await single_use.take_code(database, first) == grant
        assert await single_use.take_code(database, first) is None
        later = time.time() + CODE_SECONDS + 1
        monkeypatch.setattr(single_use.time, "time", lambda: later)
        assert await single_use.take_code(database, second) is None
    finally:
        monkeypatch.undo()
        await service.stop()


async def test_who_asks_about_a_token_may_bring_one_of_its_own_and_it_must_be_good(tmp_path: Path):
    async with identity_service(tmp_path, **clients(tmp_path)) as stand:
        own = (await asked(stand, proof())).json()["access_token"]
        of_person = (
            await stand.http.post("/token", data=exchange(id_token(), requested_token_type=f"{KIND}jwt"))
        ).json()["access_token"]
        answers = [
            await stand.http.post(
                "/introspect", data={"token": of_person}, headers={"authorization": f"Bearer {token}"}
            )
            for token in (own, of_person, "nonsense")
        ]
        metadata = (await stand.http.get("/.well-known/oauth-authorization-server")).json()

    assert [answer.status_code for answer in answers] == [200, 401, 401]
    assert answers[0].json()["sub"] == "dr.roe"
    assert "Bearer" in metadata["introspection_endpoint_auth_methods_supported"]


async def test_a_token_is_for_one_target(tmp_path: Path):
    async with identity_service(tmp_path, **clients(tmp_path)) as stand:
        one = await asked(stand, proof(), resource="https://a.example/fhir", aud="https://a.example/fhir")
        two = await asked(stand, proof(), resource="https://a.example/fhir", aud="https://b.example/fhir")

    assert one.status_code == 200
    assert two.json()["error"] == "invalid_target"


# --- keys that change -----------------------------------------------------------------------------------


def test_assertions_are_signed_by_a_changed_key_once_it_can_be_used(tmp_path: Path):
    key, certificate = tmp_path / "idp.key", tmp_path / "idp.pem"
    north, south = communities()
    for source, place in ((north.provider.key, key), (north.provider.certificate, certificate)):
        shutil.copy(source, place)
    issuer = WatchedIssuer("https://idp.example", key, certificate, look_seconds=0.0)

    def signer() -> str:
        content = AssertionContent(name_id="dr.roe", audience="urn:a")
        root = parse(issuer.sign(content))
        text = root.findtext(".//{http://www.w3.org/2000/09/xmldsig#}X509Certificate") or ""
        return "".join(text.split())

    def listed(path: Path) -> str:
        lines = path.read_text().split("-----")[2]
        return "".join(lines.split())

    assert signer() == listed(north.provider.certificate)
    shutil.copy(south.provider.key, key)
    assert signer() == listed(north.provider.certificate), "key and certificate do not belong together yet"
    shutil.copy(south.provider.certificate, certificate)
    assert signer() == listed(south.provider.certificate)


def test_a_key_of_tokens_that_another_process_made_signs_here_and_older_ones_hold(tmp_path: Path):
    now = [1_000_000.0]
    here, there = (SigningKeys(tmp_path, 30, lambda: now[0]) for _ in range(2))
    claims = {"sub": "dr.roe", "exp": now[0] + 31 * 86_400 + 600}
    before = here.access_token(claims)
    now[0] += 31 * 86_400
    there.rotate()
    here.rotate()

    assert here.shown() == there.shown()
    assert len(here.shown()["keys"]) == 2
    assert here.claims_of(before) == claims
    assert there.claims_of(here.access_token(claims)) == claims
