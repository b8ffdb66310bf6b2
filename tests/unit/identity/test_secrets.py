"""Passwords, codes of an app, and how many wrong ones are taken."""

from __future__ import annotations

import pytest

from identity.domain.authorization import Authorization, CodeGrant, SignIn
from identity.domain.password import digest_of, is_password
from identity.domain.totp import AppSecret


def test_a_password_is_known_by_its_digest_alone():
    digest = digest_of("correct horse battery")

    assert digest.startswith("$argon2id$")
    assert digest != digest_of("correct horse battery")
    assert is_password("correct horse battery", digest)
    assert not is_password("correct horse batter", digest)
    assert not is_password("correct horse battery", None)


@pytest.mark.parametrize(
    ("seconds", "code"),
    # RFC 6238, appendix B, the last six digits
    [(59, "287082"), (1111111109, "081804"), (1234567890, "005924"), (20000000000, "353130")],
)
def test_codes_are_those_of_the_standard(seconds: int, code: str):
    app = AppSecret(octets=b"12345678901234567890")

    assert app.step_of(code, seconds) == seconds // 30
    assert app.step_of(code, seconds + 30) == seconds // 30
    assert app.step_of(code, seconds + 90) is None


def test_a_code_is_taken_once_and_none_before_it_after():
    app = AppSecret(octets=b"12345678901234567890", used=1)

    assert app.step_of(app.code(1), 59) is None
    assert app.step_of(app.code(0), 59) is None
    assert app.step_of(app.code(2), 59) == 2
    assert app.step_of("", 59) is None


def test_a_secret_is_told_to_an_app_as_apps_read_it():
    uri = AppSecret(octets=b"12345678901234567890").uri("dr.roe", "login.example")

    assert uri == (
        "otpauth://totp/login.example:dr.roe?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=login.example"
    )


def test_a_verifier_proves_the_challenge_that_was_made_of_it():
    # RFC 7636, appendix B
    wish = Authorization(
        client_id="c", redirect_uri="u", state="s", challenge="E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
    )
    grant = CodeGrant(wish, SignIn(name="dr.roe", seconds=0, methods=()))

    assert grant.is_proved_by("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk")
    assert not grant.is_proved_by("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXK")
    assert not grant.is_proved_by("")
