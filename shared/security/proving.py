"""The key of a client to which its access tokens are bound, and proofs by it (DPoP, RFC 9449 4.2)."""

from __future__ import annotations

import json
import secrets
import time
from base64 import urlsafe_b64encode
from hashlib import sha256
from typing import Final

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

_ALGORITHM: Final = "ES256"
_CURVE: Final = "P-256"


class ProvingKey:
    """A private key on P-256, as PEM without a password; made for this process without one.

    Raises
    ------
    ValueError
        It is no such key.
    """

    def __init__(self, pem: bytes | None = None) -> None:
        try:
            self._key = ECKey.generate_key(_CURVE) if pem is None else ECKey.import_key(pem)
        except (JoseError, ValueError, TypeError) as error:
            raise ValueError(f"no private key in PEM ({type(error).__name__})") from None
        if not self._key.is_private or self._key.curve_name != _CURVE:
            raise ValueError(f"the key is no private one on {_CURVE}")
        self._head = {"typ": "dpop+jwt", "alg": _ALGORITHM, "jwk": self._key.as_dict(private=False)}

    @property
    def thumbprint(self) -> str:
        """What a client sends as `dpop_jkt`, and what its tokens name (RFC 7638)."""
        return self._key.thumbprint()

    def proof(self, method: str, url: str, token: str = "", *, nonce: str = "") -> str:
        """A proof for one request, of now."""
        claims = {
            "jti": secrets.token_urlsafe(16),
            "htm": method,
            "htu": url.partition("#")[0].partition("?")[0],
            "iat": int(time.time()),
        }
        if token:
            claims["ath"] = urlsafe_b64encode(sha256(token.encode()).digest()).rstrip(b"=").decode()
        if nonce:
            claims["nonce"] = nonce
        return jws.serialize_compact(
            self._head, json.dumps(claims).encode(), self._key, algorithms=[_ALGORITHM]
        )
