"""Proofs of possession beside access tokens (DPoP), right and wrong."""

from __future__ import annotations

import json
import secrets
import time
from base64 import urlsafe_b64encode
from functools import cache
from hashlib import sha256
from typing import Any

from joserfc import jws
from joserfc.jwk import ECKey, Key, OctKey, RSAKey


class _Registry(jws.JWSRegistry):
    max_header_length = 4_096


@cache
def a_key(name: str = "a client's", kind: str = "EC") -> Key:
    """A key of a client, made once."""
    return ECKey.generate_key("P-256") if kind == "EC" else RSAKey.generate_key(2048)


def a_proof(
    method: str, url: str, token: str = "", *, key: Key | None = None, header: Any = None, **changes: Any
) -> str:
    """A proof for a request with `token`, unless a change says otherwise; None leaves a claim out."""
    key = key or a_key()
    said = {
        "jti": secrets.token_urlsafe(16),
        "htm": method,
        "htu": url.partition("?")[0],
        "iat": int(time.time()),
        "ath": urlsafe_b64encode(sha256(token.encode()).digest()).rstrip(b"=").decode() if token else None,
    }
    claims = {name: value for name, value in (said | changes).items() if value is not None}
    algorithm = {"EC": "ES256", "RSA": "RS256", "oct": "HS256"}[key.key_type]
    head = {"typ": "dpop+jwt", "alg": algorithm, "jwk": key.as_dict(private=False)} | (header or {})
    return jws.serialize_compact(
        {name: value for name, value in head.items() if value is not None},
        json.dumps(claims).encode(),
        key,
        registry=_Registry(algorithms=[algorithm]),
    )


def wrong_proofs(method: str, url: str, token: str) -> dict[str, str]:
    """Proofs beside a token of `a_key()` that nobody may take, by what is wrong with each."""
    now = int(time.time())
    secret = OctKey.generate_key(256)
    head, body, signature = a_proof(method, url, token).split(".")
    another_body = a_proof(method, url, token).split(".")[1]
    return {
        "none": "",
        "no JWT": "abc",
        "another method": a_proof("PATCH", url, token),
        "another resource": a_proof(method, f"{url.partition('?')[0]}/more", token),
        "another service": a_proof(method, "https://elsewhere.example/", token),
        "another token": a_proof(method, url, token + "x"),
        "no token": a_proof(method, url, token, ath=None),
        "old": a_proof(method, url, token, iat=now - 600),
        "of later": a_proof(method, url, token, iat=now + 600),
        "no time": a_proof(method, url, token, iat=None),
        "no number": a_proof(method, url, token, jti=None),
        "another key": a_proof(method, url, token, key=a_key("a thief's")),
        "the key of another": a_proof(
            method, url, token, key=a_key("a thief's"), header={"jwk": a_key().as_dict(private=False)}
        ),
        "a private key": a_proof(method, url, token, header={"jwk": a_key().as_dict(private=True)}),
        "no key": a_proof(method, url, token, header={"jwk": None}),
        "a shared secret": a_proof(
            method, url, token, key=secret, header={"jwk": secret.as_dict(private=True)}
        ),
        "another type": a_proof(method, url, token, header={"typ": "jwt"}),
        "edited": f"{head}.{another_body}.{signature}",
        "unsigned": f"{head}.{body}.",
    }
