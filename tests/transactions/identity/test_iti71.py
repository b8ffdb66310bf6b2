"""ITI-71 at the identity service: a sign-in becomes an assertion or a token, which every service takes, and
whom nobody knows gets none."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from identity.store.keys import SigningKeys
from shared.security.authenticator import Authenticator
from shared.security.caller import Node
from shared.settings import ServiceSettings
from tests.support.certificates import communities
from tests.support.identity import DR_ROE, ROLE, exchange, id_token, identity_service, settings_of
from tests.support.metadata import PATIENT
from tests.support.tokens import ISSUER, OTHER_ISSUER, a_token, key_of, key_set, token_of

JWT = "urn:ietf:params:oauth:token-type:jwt"
NORTH = communities()[0]
EMERGENCY = "BTG^^2.16.840.1.113883.5.8"


async def user_of(bearer: str, **settings):
    given = {"assertion": NORTH.settings()["assertion"]} | settings
    caller = await Authenticator(ServiceSettings(**given)).caller(
        Node(address="127.0.0.1"),
        door="ITI-18",
        endpoint="http://127.0.0.1:8010/xds/registry",
        bearer=bearer,
        speaker_is_user=True,
    )
    return caller.user


async def test_a_sign_in_becomes_an_assertion_that_services_take(tmp_path: Path):
    async with identity_service(tmp_path) as stand:
        answer = await stand.http.post("/token", data=exchange(id_token(), patient_id=PATIENT))
        records = await stand.records()

    told = answer.json()
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    assert told["issued_token_type"] == "urn:ietf:params:oauth:token-type:saml2"
    user = await user_of(told["access_token"])
    assert (user.name_id, user.subject_id, user.organization) == ("dr.roe", "Dr. Roe", "North Hospital")
    assert [str(role) for role in user.roles] == [ROLE]
    assert [purpose.value for purpose in user.purposes] == ["TREAT"]
    assert user.resource_ids == (PATIENT,)
    assert any(b'csd-code="ITI-71"' in record and b"dr.roe" in record for record in records)


async def test_a_sign_in_becomes_an_access_token_that_services_take(tmp_path: Path):
    async with identity_service(tmp_path) as stand:
        answer = await stand.http.post(
            "/token", data=exchange(id_token(), requested_token_type=JWT, scope="RAD-107 xdsi everything")
        )
        metadata = (await stand.http.get("/.well-known/oauth-authorization-server")).json()
        keys = await stand.http.get("/jwks")
    place = tmp_path / "shown.json"
    place.write_bytes(keys.content)

    told = answer.json()
    user = await user_of(told["access_token"], token={"issuers": {metadata["issuer"]: str(place)}})
    assert told["scope"] == "RAD-107 xdsi"
    assert user.name_id == "dr.roe"
    assert [str(role) for role in user.roles] == [ROLE]
    assert "d" not in json.loads(keys.content)["keys"][0]


async def test_an_access_token_is_introspected_while_it_holds_and_its_person_is_let_in(tmp_path: Path):
    async with identity_service(tmp_path) as stand:
        issued = (await stand.http.post("/token", data=exchange(id_token(), requested_token_type=JWT))).json()
        token = issued["access_token"]
        edited = f"{token[:-8]}AAAAAAAA"
        told = {
            name: (await stand.http.post("/introspect", data={"token": one})).json()
            for name, one in {"own": token, "edited": edited, "of another": a_token(), "none": "x"}.items()
        }
        without = await stand.http.post("/introspect", data={"token_type_hint": "x"})
        asked = await stand.http.get("/introspect", params={"token": token})
        await stand.http.post("/people/disable", json={"name": "dr.roe"})
        told["disabled"] = (await stand.http.post("/introspect", data={"token": token})).json()

    own = told.pop("own")
    assert (own["active"], own["sub"], own["scope"]) == (True, "dr.roe", issued["scope"])
    assert own["extensions"]["ihe_iua"]["subject_name"] == "Dr. Roe"
    assert {name: one for name, one in told.items() if one != {"active": False}} == {}
    assert (without.status_code, asked.status_code) == (400, 405)


REFUSED = {
    "of nobody": lambda: id_token(sub="9999"),
    "of another client": lambda: id_token(aud="somebody-else"),
    "made for another of its audiences": lambda: id_token(aud=["xdsi-pages", "x"], azp="x"),
    "without a party": lambda: id_token(aud=["xdsi-pages", "x"]),
    "of another provider": lambda: id_token(iss=OTHER_ISSUER),
    "signed by another": lambda: token_by(OTHER_ISSUER),
    "expired": lambda: id_token(iat=int(time.time()) - 900, exp=int(time.time()) - 600),
    "of tomorrow": lambda: id_token(iat=int(time.time()) + 900, exp=int(time.time()) + 1200),
    "an access token": lambda: id_token(header={"typ": "at+jwt"}),
    "nonsense": lambda: "a.b.c",
}


def token_by(issuer: str) -> str:
    now = int(time.time())
    claims = {"iss": ISSUER, "sub": "2440", "aud": "xdsi-pages", "iat": now, "exp": now + 300}
    return token_of(claims, key_of(issuer), typ="JWT")


async def test_a_sign_in_that_is_not_believed_gets_nothing_and_is_recorded(tmp_path: Path):
    wrong = {}
    async with identity_service(tmp_path) as stand:
        for name, made in REFUSED.items():
            answer = await stand.http.post("/token", data=exchange(made()))
            if (answer.status_code, answer.json()["error"]) != (400, "invalid_grant"):
                wrong[name] = answer.text
        records = await stand.records()

    assert wrong == {}
    assert any(b'csd-code="110122"' in record for record in records)
    assert sum(b'csd-code="ITI-71"' in record for record in records) == len(REFUSED)


async def test_a_provider_speaks_for_its_own_clients_alone(tmp_path: Path):
    """Whoever is a client of two providers is another one at each."""
    keys = tmp_path / "other.json"
    keys.write_bytes(key_set(key_of(OTHER_ISSUER)))
    providers = settings_of(tmp_path)["providers"] | {
        OTHER_ISSUER: {"keys": str(keys), "client_ids": ["other-pages"]}
    }
    async with identity_service(tmp_path, providers=providers) as stand:
        login = {"issuer": OTHER_ISSUER, "subject": "2440"}
        await stand.http.post("/people/set", json=DR_ROE | {"logins": [*DR_ROE["logins"], login]})
        own = await stand.http.post("/token", data=exchange(id_token(iss=OTHER_ISSUER, aud="other-pages")))
        wrong = await stand.http.post("/token", data=exchange(id_token(iss=OTHER_ISSUER)))

    assert (own.status_code, wrong.status_code) == (200, 400)


async def test_who_is_disabled_gets_nothing_from_then_on(tmp_path: Path):
    async with identity_service(tmp_path) as stand:
        before = await stand.http.post("/token", data=exchange(id_token()))
        await stand.http.post("/people/disable", json={"name": "dr.roe"})
        after = await stand.http.post("/token", data=exchange(id_token()))
        listed = (await stand.http.post("/people/list", json={})).json()["people"]

    assert (before.status_code, after.status_code) == (200, 400)
    assert [(one["name"], one["disabled"]) for one in listed] == [("dr.roe", True)]


async def test_an_access_token_becomes_an_assertion_that_says_no_more_and_holds_no_longer(tmp_path: Path):
    async with identity_service(tmp_path) as stand:
        form = exchange(id_token(), requested_token_type=JWT, patient_id=PATIENT, purpose_of_use=EMERGENCY)
        token = (await stand.http.post("/token", data=form)).json()["access_token"]
        passed = exchange(token, subject_token_type=JWT)
        answer = await stand.http.post("/token", data=passed)
        stand.service.parts.keys._clock = lambda: time.time() + 700
        late = await stand.http.post("/token", data=passed)

    user = await user_of(answer.json()["access_token"])
    assert (user.name_id, user.resource_ids) == ("dr.roe", (PATIENT,))
    assert [purpose.value for purpose in user.purposes] == ["BTG"]
    assert answer.json()["expires_in"] <= 600
    assert late.json()["error"] == "invalid_grant"


async def test_an_emergency_needs_a_sign_in_of_this_moment(tmp_path: Path):
    old = int(datetime.now(UTC).timestamp()) - 600
    async with identity_service(tmp_path) as stand:
        answers = [
            await stand.http.post("/token", data=exchange(id_token(auth_time=when), purpose_of_use=EMERGENCY))
            for when in (int(time.time()), old, None)
        ]

    assert [answer.status_code for answer in answers] == [200, 400, 400]
    assert answers[1].json()["error"] == "insufficient_user_authentication"
    assert [one.value for one in (await user_of(answers[0].json()["access_token"])).purposes] == ["BTG"]


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"grant_type": "password"}, "unsupported_grant_type"),
        ({"subject_token_type": "urn:ietf:params:oauth:token-type:saml1"}, "invalid_request"),
        ({"subject_token_type": JWT}, "invalid_grant"),
        ({"subject_token_type": JWT, "patient_id": PATIENT}, "invalid_request"),
        ({"subject_token_type": JWT, "requested_token_type": JWT}, "invalid_request"),
        ({"requested_token_type": "urn:x"}, "invalid_request"),
        ({"purpose_of_use": "RESEARCH^^2.16.840.1.113883.5.8"}, "invalid_request"),
        ({"patient_id": "P-1001"}, "invalid_request"),
        ({"requested_token_type": JWT, "scope": "everything"}, "invalid_scope"),
    ],
)
async def test_what_is_not_offered_is_told_by_its_code(tmp_path: Path, changes, error):
    async with identity_service(tmp_path) as stand:
        answer = await stand.http.post("/token", data=exchange(id_token()) | changes)

    assert (answer.status_code, answer.json()["error"]) == (400, error)
    assert answer.json()["error_description"]


async def test_a_patient_is_given_nothing_about_another(tmp_path: Path):
    async with identity_service(tmp_path) as stand:
        await stand.http.post("/people/set", json=DR_ROE | {"patient_id": PATIENT})
        other = await stand.http.post(
            "/token", data=exchange(id_token(), patient_id=PATIENT.replace("^", "9^", 1))
        )
        own = await stand.http.post("/token", data=exchange(id_token()))

    assert other.status_code == 400
    assert (await user_of(own.json()["access_token"])).resource_ids == (PATIENT,)


async def test_a_login_is_of_one_person(tmp_path: Path):
    async with identity_service(tmp_path) as stand:
        taken = await stand.http.post("/people/set", json=DR_ROE | {"name": "dr.doe"})
        own = await stand.http.post("/people/set", json=DR_ROE | {"display_name": "Dr. R. Roe"})

    assert (taken.status_code, own.status_code) == (409, 200)
    assert "dr.roe" in taken.json()["detail"]


async def test_keys_are_changed_and_older_ones_shown_while_tokens_of_theirs_hold(tmp_path: Path):
    now = [0.0]
    keys = SigningKeys(tmp_path, 30, lambda: now[0])
    (first,) = keys.shown()["keys"]
    now[0] = 31 * 86_400.0
    keys.rotate()
    both = [key["kid"] for key in keys.shown()["keys"]]
    again = SigningKeys(tmp_path, 30, lambda: now[0]).shown()
    now[0] = 62 * 86_400.0
    keys.rotate()

    assert both[1] == first["kid"]
    assert again["keys"] == [key for key in again["keys"] if key["kid"] in both]
    assert first["kid"] not in [key["kid"] for key in keys.shown()["keys"]]
    assert (tmp_path / "token-keys.json").stat().st_mode & 0o077 == 0
