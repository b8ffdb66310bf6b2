"""An access token is bound to the key that its client proves when it asks for it (DPoP, RFC 9449 5)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx2
import pytest

from shared.faults import SecurityFault
from shared.security.authenticator import Authenticator
from shared.security.caller import Node
from shared.security.possession import SentToken
from shared.settings import ServiceSettings
from tests.support.certificates import communities
from tests.support.identity import (
    CLIENTS,
    URL,
    Stand,
    asked,
    exchange,
    given_credentials,
    id_token,
    identity_service,
)
from tests.support.proofs import a_key, a_proof, wrong_proofs
from tests.transactions.identity.test_provider import REDEMPTION, told

JWT = "urn:ietf:params:oauth:token-type:jwt"
ENDPOINT = f"{URL}/token"
RESOURCE = "http://127.0.0.1:8030/dicom-web/studies"


async def authenticator(folder: Path, http: httpx2.AsyncClient, **token: Any) -> Authenticator:
    """That of a service, which believes the identity service."""
    place = folder / "shown.json"
    place.write_bytes((await http.get("/jwks")).content)
    issuer = (await http.get("/.well-known/oauth-authorization-server")).json()["issuer"]
    issuers = {"issuers": {issuer: str(place)}, **token}
    return Authenticator(ServiceSettings(assertion=communities()[0].settings()["assertion"], token=issuers))


async def user_of(of: Authenticator, bearer: str) -> str:
    caller = await of.caller(
        Node(address="127.0.0.1"), door="ITI-18", endpoint=RESOURCE, bearer=bearer, speaker_is_user=True
    )
    assert caller.user is not None
    return caller.user.name_id


def sent(token: str, **changes: Any) -> SentToken:
    return SentToken.of(token, proof=a_proof("GET", RESOURCE, token, **changes), method="GET")


async def test_a_token_is_bound_to_the_key_that_its_client_proves(tmp_path: Path):
    form = exchange(id_token(), requested_token_type=JWT)
    async with identity_service(tmp_path) as stand:
        answer = await stand.http.post("/token", data=form, headers={"dpop": a_proof("POST", ENDPOINT)})
        token = answer.json()["access_token"]
        said = (await stand.http.post("/introspect", data={"token": token})).json()
        own = {"authorization": f"Bearer {token}"}
        as_bearer = await stand.http.post("/introspect", data={"token": token}, headers=own)
        metadata = (await stand.http.get("/.well-known/oauth-authorization-server")).json()
        # That every token is bound is met by a key as by a certificate.
        service = await authenticator(tmp_path, stand.http, bound=True)
        user = await user_of(service, sent(token))
        for wrong in (token, sent(token, key=a_key("a thief's"))):
            with pytest.raises(SecurityFault):
                await user_of(service, wrong)

    assert (answer.status_code, answer.json()["token_type"]) == (200, "DPoP")
    assert (said["active"], said["token_type"]) == (True, "DPoP")
    assert said["cnf"] == {"jkt": a_key().thumbprint()}
    assert as_bearer.status_code == 401
    assert "ES256" in metadata["dpop_signing_alg_values_supported"]
    assert user == "dr.roe"


async def test_a_code_is_redeemed_for_a_token_that_is_bound(tmp_path: Path):
    async with identity_service(tmp_path, clients=CLIENTS) as stand:
        person = await given_credentials(stand, app=True)
        await person.opens("/authorize", **asked())
        code = told(await person.types())["code"]
        answer = await stand.http.post(
            "/token", data=REDEMPTION | {"code": code}, headers={"dpop": a_proof("POST", ENDPOINT)}
        )

    assert (answer.status_code, answer.json()["token_type"]) == (200, "DPoP")


async def test_a_proof_that_does_not_hold_gets_no_token_and_is_recorded(tmp_path: Path):
    form = exchange(id_token(), requested_token_type=JWT)
    proofs = wrong_proofs("POST", ENDPOINT, "")
    # Any key will do, and no token is there yet.
    for name in ("another key", "another token", "no token"):
        del proofs[name]
    used = a_proof("POST", ENDPOINT)
    async with identity_service(tmp_path) as stand:
        first = await stand.http.post("/token", data=form, headers={"dpop": used})
        answers = {
            name: await stand.http.post("/token", data=form, headers={"dpop": proof})
            for name, proof in {**proofs, "used": used}.items()
        }
        several = await stand.http.post(
            "/token", data=form, headers=[("dpop", a_proof("POST", ENDPOINT)) for _ in range(2)]
        )
        of_an_assertion = await stand.http.post(
            "/token", data=exchange(id_token()), headers={"dpop": a_proof("POST", ENDPOINT)}
        )
        records = await stand.records()

    assert first.status_code == 200
    assert {(one.status_code, one.json()["error"]) for one in (*answers.values(), several)} == {
        (400, "invalid_dpop_proof")
    }
    assert (of_an_assertion.status_code, of_an_assertion.json()["error"]) == (400, "invalid_request")
    # The first of a minute; those that follow are counted.
    assert any(b"there is no proof of possession" in one for one in records)


async def given_code(stand: Stand, **changes: str) -> str:
    person = await given_credentials(stand, app=True)
    await person.opens("/authorize", **asked(**changes))
    return told(await person.types())["code"]


@pytest.mark.parametrize("proof", ["none", "of another key", "of the key"])
async def test_a_code_that_was_asked_for_with_a_key_is_redeemed_with_its_proof_alone(tmp_path, proof):
    proofs = {
        "none": {},
        "of another key": {"dpop": a_proof("POST", ENDPOINT, key=a_key("a thief's"))},
        "of the key": {"dpop": a_proof("POST", ENDPOINT)},
    }
    async with identity_service(tmp_path, clients=CLIENTS) as stand:
        code = await given_code(stand, dpop_jkt=a_key().thumbprint())
        answer = await stand.http.post("/token", data=REDEMPTION | {"code": code}, headers=proofs[proof])
        records = await stand.records()

    if proof == "of the key":
        assert (answer.status_code, answer.json()["token_type"]) == (200, "DPoP")
    else:
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")
        assert any(b"another key" in one for one in records)


async def test_a_key_that_is_no_thumbprint_gets_no_code(tmp_path: Path):
    async with identity_service(tmp_path, clients=CLIENTS) as stand:
        person = await given_credentials(stand, app=True)
        answer = told(await person.opens("/authorize", **asked(dpop_jkt="a key")))

    assert answer["error"] == "invalid_request"


async def test_a_proof_names_the_nonce_that_was_given_where_one_is_asked_for(tmp_path: Path):
    form = exchange(id_token(), requested_token_type=JWT)
    async with identity_service(tmp_path, proof_nonce_seconds=60) as stand:

        async def answer_to(**changes: Any) -> httpx2.Response:
            headers = {"dpop": a_proof("POST", ENDPOINT, **changes)}
            return await stand.http.post("/token", data=form, headers=headers)

        first = await answer_to()
        with_it = await answer_to(nonce=first.headers["dpop-nonce"])
        made_up = await answer_to(nonce=with_it.headers["dpop-nonce"][:-4] + "AAAA")
        without_proof = await stand.http.post("/token", data=form)
        in_its_time = await answer_to(nonce=with_it.headers["dpop-nonce"])

    for refused in (first, made_up):
        assert (refused.status_code, refused.json()["error"]) == (400, "use_dpop_nonce")
        assert refused.headers["dpop-nonce"]
    assert (with_it.status_code, with_it.json()["token_type"]) == (200, "DPoP")
    assert in_its_time.status_code == 200
    assert (without_proof.status_code, without_proof.json()["token_type"]) == (200, "Bearer")


async def test_nobody_asks_for_a_nonce_unless_a_setting_says_so(tmp_path: Path):
    form = exchange(id_token(), requested_token_type=JWT)
    async with identity_service(tmp_path) as stand:
        answer = await stand.http.post("/token", data=form, headers={"dpop": a_proof("POST", ENDPOINT)})

    assert answer.status_code == 200
    assert "dpop-nonce" not in answer.headers
