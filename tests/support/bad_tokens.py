"""Tokens that nobody may take, by what is wrong with each; the same against every door that takes tokens."""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable
from typing import Any

from joserfc import jws
from joserfc.jwk import ECKey

from tests.support.tokens import (
    ISSUER,
    OTHER_ISSUER,
    SECRET_ISSUER,
    a_token,
    claims_of,
    key_of,
    part,
    token_of,
)


def _unsigned(**header: Any) -> str:
    return f"{part({'typ': 'at+jwt', **header})}.{part(claims_of())}."


def _with_public_key_as_secret() -> str:
    """The public key, which everybody knows, as the secret of an HMAC."""
    octets = key_of(ISSUER, "RSA").as_pem(private=False)
    signed = f"{part({'alg': 'HS256', 'typ': 'at+jwt', 'kid': 'RSA-1'})}.{part(claims_of())}"
    return f"{signed}.{part(hmac.digest(octets, signed.encode(), 'sha256'))}"


def _edited() -> str:
    head, _, signature = a_token().split(".")
    return f"{head}.{part(claims_of('dr.evil'))}.{signature}"


def _key_in_header(name: str) -> str:
    own = ECKey.generate_key("P-256")
    shown = own.as_dict(private=False) if name == "jwk" else "https://evil.example/keys"
    return token_of(claims_of(), own, **{name: shown, "kid": "EC-1"})


def _critical() -> str:
    header = {"alg": "ES256", "typ": "at+jwt", "kid": "EC-1", "crit": ["exp"], "exp": 1}
    head = part(header)
    good = a_token().split(".")
    return f"{head}.{good[1]}.{good[2]}"


def _one(**changes: Any) -> Callable[[], str]:
    return lambda: a_token(**changes)


def _at(**moments: float) -> Callable[[], str]:
    def made() -> str:
        now = time.time()
        return a_token(**{name: int(now + seconds) for name, seconds in moments.items()})

    return made


BAD_TOKENS: dict[str, Callable[[], str]] = {
    "unsigned": _unsigned,
    "algorithm none": lambda: _unsigned(alg="none"),
    "algorithm None": lambda: _unsigned(alg="None"),
    "signature cut off": lambda: a_token().rpartition(".")[0] + ".",
    "claims edited": _edited,
    "public key as secret": _with_public_key_as_secret,
    "another kind of key": lambda: token_of(claims_of(), key_of(ISSUER, "RSA"), kid="EC-1"),
    "a key in the header": lambda: _key_in_header("jwk"),
    "a key elsewhere": lambda: _key_in_header("jku"),
    "an unknown critical header": _critical,
    "an unknown key": lambda: token_of(claims_of(), ECKey.generate_key("P-256"), kid="EC-9"),
    "an id token": lambda: token_of(claims_of(), typ="JWT"),
    "no type": lambda: token_of(claims_of(), typ=None),
    "expired": _at(iat=-900, exp=-600),
    "not yet valid": _at(nbf=600),
    "issued later": _at(iat=600, exp=900),
    "valid for a day": _at(exp=86400),
    "valid for no time": _at(iat=0, exp=0),
    "expiry that is text": _one(exp="never"),
    "wrong audience": _one(aud="https://elsewhere.example"),
    "audience that begins like ours": _one(aud="http"),
    "no audience": _one(aud=None),
    "wrong issuer": lambda: token_of(claims_of(iss="https://evil.example"), key_of(ISSUER)),
    "key of another issuer": lambda: token_of(claims_of(), key_of(OTHER_ISSUER)),
    "issuer of another community claiming our organisation": lambda: a_token(iss=OTHER_ISSUER),
    "issuer claiming another home community": _one(iua={"home_community_id": "urn:oid:2.999.72"}),
    "shared secret of another": lambda: token_of(claims_of(), key_of(SECRET_ISSUER, "oct")),
    "name cut short": _one(user="dr.north\x00.evil"),
    "no user": _one(sub=None),
    "no client": _one(client_id=None),
    "no id": _one(jti=None),
    "no scope": _one(scope=None),
    "role without system": _one(iua={"subject_role": [{"code": "RAD-PHYS"}]}),
    "bound to the certificate of another node": _one(cnf={"x5t#S256": "A" * 43}),
    "bound to a key that is not shown": _one(cnf={"jkt": "A" * 43}),
    "encrypted": lambda: ".".join([part({"alg": "dir", "enc": "A256GCM"}), "", "AAAA", "AAAA", "AAAA"]),
    "claims that are a list": lambda: jws.serialize_compact(
        {"alg": "ES256", "typ": "at+jwt", "kid": "EC-1"}, b"[]", key_of(ISSUER)
    ),
    "too long": lambda: a_token(scope="x" * 20_000),
    "nested without end": lambda: f"{part(b'[' * 5000)}.{part(b'{}')}.AAAA",
}
