"""Access tokens for tests: issuers with keys of their own, and tokens that say and are signed as asked."""

from __future__ import annotations

import json
import time
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from joserfc import jws
from joserfc.jwk import ECKey, Key, OctKey, RSAKey

from tests.support.certificates import LOCAL_ROLES

ISSUER = "https://login.example"
OTHER_ISSUER = "https://login.elsewhere.example"
SECRET_ISSUER = "https://bilateral.example"  # an issuer, whose key is a shared secret

DOMAIN = "urn:oid:1.3.6.1.4.1.21367.2005.13.20.1000"


def key_of(issuer: str, kind: str = "EC") -> Key:
    """A key of an issuer, made once."""
    return _made(issuer, kind)


@cache
def _made(issuer: str, kind: str) -> Key:
    named = {"kid": f"{kind}-1", "use": "sig"}
    if kind == "RSA":
        return RSAKey.generate_key(2048, named)
    if kind == "oct":
        return OctKey.generate_key(256, named)
    return ECKey.generate_key("P-256", named)


def key_set(*keys: Key, private: bool = False) -> bytes:
    """A JWK Set."""
    return json.dumps(
        {"keys": [key.as_dict(private=private or isinstance(key, OctKey)) for key in keys]}
    ).encode()


def trusted_issuers(folder: Path) -> dict[str, str]:
    """The setting by which these issuers are believed, their keys in files."""
    sets = {
        ISSUER: key_set(key_of(ISSUER), key_of(ISSUER, "RSA")),
        OTHER_ISSUER: key_set(key_of(OTHER_ISSUER)),
        SECRET_ISSUER: key_set(key_of(SECRET_ISSUER, "oct")),
    }
    places = {}
    for number, (issuer, octets) in enumerate(sets.items()):
        place = folder / f"keys-{number}.json"
        place.write_bytes(octets)
        places[issuer] = str(place)
    return places


def claims_of(
    user: str = "dr.north", *, iua: Mapping[str, Any] | None = None, **changes: Any
) -> dict[str, Any]:
    """What a token of a radiologist says; a change to None leaves a claim out."""
    now = int(time.time())
    said = {
        "iss": ISSUER,
        "sub": user,
        "client_id": "viewer",
        "aud": DOMAIN,
        "jti": urlsafe_b64encode(str(time.perf_counter_ns()).encode()).decode(),
        "iat": now,
        "exp": now + 300,
        "scope": "ITI-20 ITI-81 ITI-82 RAD-55 RAD-107 RAD-108 RAD-129 xdsi",
        "extensions": {
            "ihe_iua": {
                "subject_name": "Dr. North",
                "subject_organization": "North Hospital",
                "subject_organization_id": "urn:oid:2.999.7",
                "subject_role": [
                    {"code": "RAD-PHYS", "system": f"urn:oid:{LOCAL_ROLES}", "display": "Radiologist"}
                ],
                "purpose_of_use": [{"code": "TREAT", "system": "urn:oid:2.16.840.1.113883.5.8"}],
                **(iua or {}),
            }
        },
    }
    return {name: value for name, value in (said | changes).items() if value is not None}


def token_of(claims: Mapping[str, Any], key: Key | None = None, **header: Any) -> str:
    """`claims` as a JWT, signed by the first key of their issuer unless another is given."""
    key = key or key_of(str(claims.get("iss")))
    algorithm = {"EC": "ES256", "RSA": "RS256", "oct": "HS256"}[key.key_type]
    head = {"alg": algorithm, "typ": "at+jwt", "kid": key.kid} | header
    head = {name: value for name, value in head.items() if value is not None}
    return jws.serialize_compact(head, json.dumps(claims).encode(), key, algorithms=[str(head["alg"])])


def part(content: Any) -> str:
    """One part of a JWT, as nobody signed it."""
    octets = content if isinstance(content, bytes) else json.dumps(content).encode()
    return urlsafe_b64encode(octets).rstrip(b"=").decode()


def a_token(user: str = "dr.north", **changes: Any) -> str:
    """A token that holds, unless a change says otherwise."""
    return token_of(claims_of(user, **changes))
