"""People sign in at the identity service itself, and clients learn who it was (code with PKCE)."""

from __future__ import annotations

import json
import re
import time
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import httpx2
from joserfc import jws
from sqlalchemy import bindparam, select, update

from identity.store.lockout import OF_ONE_NAME
from identity.store.tables import session
from shared.store.engine import Transaction
from tests.support.identity import (
    BACK,
    CLIENT,
    CLIENTS,
    DR_ROE,
    PASSWORD,
    URL,
    VERIFIER,
    Person,
    Stand,
    asked,
    exchange,
    given_credentials,
    identity_service,
)
from tests.support.passkeys import Device

REDEMPTION = {
    "grant_type": "authorization_code",
    "redirect_uri": BACK,
    "code_verifier": VERIFIER,
    "client_id": CLIENT,
}


@asynccontextmanager
async def a_provider(folder: Path, *, app: bool = True, **changes) -> AsyncIterator[tuple[Stand, Person]]:
    async with identity_service(folder, **{"clients": CLIENTS} | changes) as stand:
        yield stand, await given_credentials(stand, app=app)


def told(answer: httpx2.Response) -> dict[str, str]:
    """What the address says to which the browser is sent back."""
    assert answer.status_code == 303, answer.text
    url = urlsplit(answer.headers["location"])
    assert f"{url.scheme}://{url.netloc}{url.path}" == BACK
    return dict(parse_qsl(url.query))


async def redeemed(stand: Stand, code: str, **changes: str) -> httpx2.Response:
    return await stand.http.post("/token", data=REDEMPTION | {"code": code} | changes)


async def test_who_signs_in_here_is_exchanged_for_an_assertion_as_who_signs_in_elsewhere(tmp_path: Path):
    async with a_provider(tmp_path) as (stand, person):
        form = await person.opens("/authorize", **asked())
        answer = told(await person.types())
        issued = await redeemed(stand, answer["code"])
        id_token = issued.json()["id_token"]
        exchanged = await stand.http.post("/token", data=exchange(id_token))
        records = await stand.records()

    assert form.status_code == 200
    assert (answer["state"], answer["iss"]) == ("a state", URL)
    assert (issued.status_code, issued.headers["cache-control"]) == (200, "no-store")
    assert exchanged.status_code == 200
    assert any(
        b'csd-code="110122"' in one and b"dr.roe" in one and b'Indicator="0"' in one for one in records
    )
    assert not any(PASSWORD.encode() in one for one in records)


async def test_an_id_token_says_who_for_whom_when_and_how(tmp_path: Path):
    async with a_provider(tmp_path) as (stand, person):
        await person.opens("/authorize", **asked())
        code = told(await person.types())["code"]
        token = (await redeemed(stand, code)).json()["id_token"]
        introspected = (await stand.http.post("/introspect", data={"token": token})).json()
    claims = json.loads(jws.extract_compact(token.encode()).payload)

    assert (claims["iss"], claims["sub"], claims["aud"], claims["nonce"]) == (
        URL,
        "dr.roe",
        CLIENT,
        "a nonce",
    )
    assert abs(claims["auth_time"] - time.time()) < 60
    assert claims["amr"] == ["pwd", "otp", "mfa"]
    # It opens nothing.
    assert introspected == {"active": False}


async def test_a_client_is_given_an_access_token_of_the_person(tmp_path: Path):
    async with a_provider(tmp_path) as (stand, person):
        await person.opens("/authorize", **asked(scope="RAD-107 everything"))
        code = told(await person.types())["code"]
        issued = (await redeemed(stand, code)).json()
        said = (await stand.http.post("/introspect", data={"token": issued["access_token"]})).json()

    assert "id_token" not in issued
    assert issued["scope"] == "RAD-107"
    assert (said["active"], said["sub"], said["client_id"]) == (True, "dr.roe", CLIENT)


async def signed_in_before(stand: Stand, *, seconds: int) -> None:
    """Have everybody who is signed in now be so for this long."""
    database = stand.service.parts.database

    async def work(transaction: Transaction) -> None:
        for key, content in await transaction.fetch(select(session.c.key, session.c.content)):
            person = json.loads(content)
            person["sign_in"]["seconds"] -= seconds
            changed = update(session).where(session.c.key == bindparam("of")).values(content=bindparam("now"))
            await transaction.execute(changed, of=key, now=json.dumps(person))

    await database.write(work)


async def test_who_is_signed_in_is_not_asked_again_unless_the_client_asks_for_it(tmp_path: Path):
    async with a_provider(tmp_path) as (stand, person):
        nobody = told(await person.opens("/authorize", **asked(prompt="none")))
        await person.opens("/authorize", **asked())
        before = dict(stand.http.cookies)
        await person.types()
        after = dict(stand.http.cookies)
        again = told(await person.opens("/authorize", **asked(prompt="none")))
        anew = await person.opens("/authorize", **asked(prompt="login", max_age="0"))
        await signed_in_before(stand, seconds=90)
        old = await person.opens("/authorize", **asked(max_age="60"))
        young = await person.opens("/authorize", **asked(max_age="120"))

    assert nobody["error"] == "login_required"
    assert "code" in again
    assert (anew.status_code, old.status_code, young.status_code) == (200, 200, 303)
    # The number that the browser had before is not that of the session.
    assert before != after


WRONG = {
    "another password": {"password": "correct horse batterz"},
    "another name": {"name": "dr.who"},
    "no password": {"password": ""},
    "another code": {"code": "000000"},
    "no code": {"code": ""},
}


async def test_what_is_wrong_is_told_in_one_sentence_and_recorded(tmp_path: Path):
    async with a_provider(tmp_path) as (stand, person):
        pages = {}
        for name, changes in WRONG.items():
            await person.opens("/authorize", **asked())
            pages[name] = await person.types(**changes)
        sessions, records = await stand.service.sessions.number(), await stand.records()

    notices = {re.search(r'role="alert">([^<]+)<', page.text)[1] for page in pages.values()}
    assert {page.status_code for page in pages.values()} == {400}
    assert len(notices) == 1
    assert sessions == 0
    refused = [one for one in records if b'csd-code="110122"' in one and b'Indicator="8"' in one]
    assert len(refused) == len(WRONG)
    assert sum(b"the password is wrong" in one for one in refused) == 3
    assert sum(b"the code is wrong" in one for one in refused) == 2


async def test_a_code_of_an_app_is_taken_once(tmp_path: Path):
    async with a_provider(tmp_path) as (_, person):
        code = person.app.code(int(time.time() // 30))
        answers = []
        for _ in range(2):
            await person.opens()
            answers.append(
                await person.sends(
                    "/password", name="dr.roe", password=PASSWORD, code=f"{code[:3]} {code[3:]}"
                )
            )
            person.http.cookies.clear()

    assert [answer.status_code for answer in answers] == [303, 400]


async def test_a_password_alone_is_enough_only_where_the_setting_says_so(tmp_path: Path):
    for second_factor in (True, False):
        async with a_provider(tmp_path, app=False, second_factor=second_factor) as (_, person):
            await person.opens()
            answer = await person.types()
        assert answer.status_code == (400 if second_factor else 303)


async def test_after_many_wrong_passwords_the_right_one_is_not_tried(tmp_path: Path):
    async with a_provider(tmp_path) as (stand, person):
        await person.opens()
        for _ in range(OF_ONE_NAME):
            await person.types(password="wrong and long enough")
        locked = await person.types()
        await stand.http.post("/people/password", json={"name": "dr.roe", "password": PASSWORD})
        unlocked = await person.types()

    assert locked.status_code == 429
    assert "Too many attempts" in locked.text
    assert unlocked.status_code == 303


async def test_a_passkey_signs_in_without_a_password_once_it_is_registered(tmp_path: Path):
    device = Device(URL)
    async with a_provider(tmp_path) as (stand, person):
        await person.opens()
        unknown = await person.sends("/passkey", **device.fields(person.challenge))
        await person.types()
        await person.opens()
        challenge = person.challenge
        added = await person.sends("/passkeys", **device.new_fields(challenge))
        shown = await person.opens()
        twice = await person.sends("/passkeys", **device.new_fields(person.challenge))
        await person.sends("/sign-out")
        stand.http.cookies.clear()
        await person.opens("/authorize", **asked())
        fields = device.fields(person.challenge)
        signed_in = told(await person.sends("/passkey", **fields))
        issued = await redeemed(stand, signed_in["code"])
        replayed = await person.sends("/passkey", **fields)
        stand.http.cookies.clear()
        await person.opens()
        old = await person.sends("/passkey", **fields)
        records = await stand.records()

    assert (unknown.status_code, added.status_code, twice.status_code) == (400, 303, 409)
    assert "<dt>Passkeys</dt><dd>1</dd>" in shown.text
    assert issued.status_code == 200
    assert replayed.status_code in (400, 403)
    assert old.status_code == 400
    assert any(b64encode(b"person given a passkey") in one for one in records)
    # Logout
    assert any(b'csd-code="110123"' in one for one in records)


async def test_nobody_who_is_not_signed_in_registers_a_passkey(tmp_path: Path):
    device = Device(URL)
    async with a_provider(tmp_path) as (_, person):
        await person.opens()
        answer = await person.sends("/passkeys", **device.new_fields(person.challenge))
        await person.opens()
        signed_in = await person.sends("/passkey", **device.fields(person.challenge))

    assert (answer.status_code, signed_in.status_code) == (303, 400)


async def test_who_is_forgotten_or_disabled_signs_in_no_more_and_sessions_give_no_code(tmp_path: Path):
    async with a_provider(tmp_path) as (stand, person):
        await person.opens()
        await person.types()
        await person.opens("/authorize", **asked())
        code = told(await person.opens("/authorize", **asked()))["code"]
        await stand.http.post("/people/disable", json={"name": "dr.roe"})
        of_session = told(await person.opens("/authorize", **asked()))
        late = await redeemed(stand, code)
        await person.opens()
        disabled = await person.types()
        await stand.http.post("/people/set", json=DR_ROE)
        await stand.http.post("/people/forget", json={"name": "dr.roe"})
        await person.opens()
        forgotten = await person.types()

    assert of_session["error"] == "access_denied"
    assert (late.status_code, late.json()["error"]) == (400, "invalid_grant")
    assert (disabled.status_code, forgotten.status_code) == (400, 400)


async def test_a_client_is_told_what_is_wrong_where_it_is_known_by(tmp_path: Path):
    cases = [
        ({"state": ""}, "invalid_request"),
        ({"code_challenge": ""}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"code_challenge_method": ""}, "invalid_request"),
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"request": "a.b.c"}, "request_not_supported"),
        ({"max_age": "-1"}, "invalid_request"),
        ({"resource": "x" * 2000}, "invalid_request"),
    ]
    async with a_provider(tmp_path) as (_, person):
        for changes, error in cases:
            assert told(await person.opens("/authorize", **asked(**changes)))["error"] == error, changes


async def test_nobody_is_sent_where_no_client_is_known_by(tmp_path: Path):
    cases = [
        {"client_id": "somebody"},
        {"client_id": ""},
        {"redirect_uri": "https://evil.example/"},
        {"redirect_uri": f"{BACK}/more"},
        {"redirect_uri": ""},
    ]
    async with a_provider(tmp_path) as (_, person):
        answers = [await person.opens("/authorize", **asked(**changes)) for changes in cases]

    assert {answer.status_code for answer in answers} == {400}
    assert not any("location" in answer.headers for answer in answers)


async def test_a_code_is_worth_nothing_to_anybody_else_and_nothing_after(tmp_path: Path):
    cases = [
        ({"code_verifier": "w" * 43}, "invalid_grant"),
        ({"redirect_uri": f"{BACK}/more"}, "invalid_grant"),
        ({"client_id": "other"}, "invalid_grant"),
        ({"client_id": "nobody"}, "invalid_client"),
        ({"code_verifier": ""}, "invalid_request"),
    ]
    clients = CLIENTS | {"other": {"redirect_uris": [BACK]}}
    async with a_provider(tmp_path, clients=clients) as (stand, person):
        await person.opens()
        await person.types()
        for changes, error in cases:
            code = told(await person.opens("/authorize", **asked()))["code"]
            answer = await redeemed(stand, code, **changes)
            after = await redeemed(stand, code)
            assert answer.json()["error"] == error
            assert answer.status_code == (401 if error == "invalid_client" else 400)
            # What could not be read took no code.
            assert after.status_code == (200 if error == "invalid_request" else 400)


async def test_a_code_is_redeemed_once(tmp_path: Path):
    async with a_provider(tmp_path) as (stand, person):
        await person.opens("/authorize", **asked())
        code = told(await person.types())["code"]
        answers = [(await redeemed(stand, code)).status_code for _ in range(2)]

    assert answers == [200, 400]


async def test_a_client_with_a_secret_proves_it_and_gets_a_token_of_its_own(tmp_path: Path):
    secret = "a secret: with % signs"
    clients = {
        **CLIENTS,
        "robot": {"secret_sha256": sha256(secret.encode()).hexdigest()},
        "bound": {"node": "0" * 64},
    }
    form = {"grant_type": "client_credentials", "scope": "RAD-107"}
    async with a_provider(tmp_path, clients=clients) as (stand, _):

        async def answer(name: str, word: str | None) -> httpx2.Response:
            from urllib.parse import quote

            auth = None if word is None else (quote(name, safe=""), quote(word, safe=""))
            sent = form if auth else form | {"client_id": name}
            return await stand.http.post("/token", data=sent, auth=auth)

        right = await answer("robot", secret)
        said = (await stand.http.post("/introspect", data={"token": right.json()["access_token"]})).json()
        wrong = [await answer("robot", "another"), await answer("robot", None), await answer("bound", None)]
        public = await answer(CLIENT, None)

    assert right.status_code == 200
    assert said["active"] is False or (said["sub"], said["scope"]) == ("robot", "RAD-107")
    assert {(one.status_code, one.json()["error"]) for one in wrong} == {(401, "invalid_client")}
    assert public.json()["error"] == "unauthorized_client"


async def test_where_no_client_is_named_nobody_signs_in(tmp_path: Path):
    async with identity_service(tmp_path) as stand:
        await given_credentials(stand)
        answers = [
            await stand.http.get("/"),
            await stand.http.get("/authorize", params=asked()),
        ]
        metadata = (await stand.http.get("/.well-known/openid-configuration")).json()

    assert [answer.status_code for answer in answers] == [404, 404]
    assert "authorization_endpoint" not in metadata


async def test_another_site_makes_no_form_of_ours(tmp_path: Path):
    async with a_provider(tmp_path) as (stand, person):
        await person.opens("/authorize", **asked())
        forged = await person.types(token="0" * 64)
        foreign = await stand.http.post(
            "/password", data=person.hidden, headers={"origin": "https://evil.example"}
        )
        await person.opens("/authorize", **asked())
        request = person.hidden["request"]
        stand.http.cookies.clear()
        await person.opens()
        stolen = await person.types(request=request)

    assert (forged.status_code, foreign.status_code, stolen.status_code) == (403, 403, 400)


async def test_a_form_leads_to_its_client_alone(tmp_path: Path):
    async with a_provider(tmp_path) as (_, person):
        of_client = await person.opens("/authorize", **asked())
        own = await person.opens()

    assert "form-action 'self' http://127.0.0.1:8040;" in of_client.headers["content-security-policy"]
    assert "form-action 'self';" in own.headers["content-security-policy"]


async def test_metadata_tell_what_is_offered(tmp_path: Path):
    async with a_provider(tmp_path) as (stand, _):
        told_as = [
            (await stand.http.get(f"/.well-known/{name}")).json()
            for name in ("openid-configuration", "oauth-authorization-server")
        ]

    assert told_as[0] == told_as[1]
    assert told_as[0]["authorization_endpoint"] == f"{URL}/authorize"
    assert told_as[0]["code_challenge_methods_supported"] == ["S256"]
    assert {"authorization_code", "client_credentials"} <= set(told_as[0]["grant_types_supported"])
