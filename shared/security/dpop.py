"""Proofs of possession beside access tokens (DPoP, RFC 9449): whoever sends a token shows that it has the key
to which the token is bound, anew with each request.
"""

from __future__ import annotations

import hmac
import json
import re
from base64 import urlsafe_b64encode
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, Final
from urllib.parse import urlsplit

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, Key, RSAKey
from pydantic import BaseModel, ConfigDict, Field, StrictStr, ValidationError

from shared.security.possession import ALGORITHMS, KeyProof, ProofFault

MAX_BYTES: Final = 8 * 1024
#: A proof is made for its request; what is older was kept by somebody.
LIFETIME: Final = timedelta(seconds=60)
_TYPE: Final = "dpop+jwt"
_KEYS: Final[dict[str, type[ECKey | RSAKey]]] = {"EC": ECKey, "RSA": RSAKey}
_SECRET: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
_COMPACT: Final = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_PORTS: Final = {"https": 443, "http": 80}


class _Registry(jws.JWSRegistry):
    # The public key stands in the header: one of RSA, of 4,096 bits, has 900 characters.
    max_header_length = 2_048


_REGISTRY: Final = _Registry(algorithms=list(ALGORITHMS))


class _PossessionClaims(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    jti: StrictStr = Field(min_length=1, max_length=1_024)
    htm: StrictStr
    htu: StrictStr
    iat: float
    ath: StrictStr = ""
    nonce: StrictStr = ""


def key_proof(
    proof: str, *, method: str, endpoint: str, token: str, now: datetime, skew: timedelta
) -> KeyProof:
    """What `proof` shows of a request to `endpoint`, the URI without query; with `token`, or to be given one
    where that is empty (RFC 9449 4.3).

    That it is used once is for the caller to see.

    Raises
    ------
    ProofFault
        The first rule that is broken.
    """
    if not proof:
        raise ProofFault("there is no proof of possession beside the token, or several (header DPoP)")
    if len(proof) > MAX_BYTES or not _COMPACT.fullmatch(proof):
        raise ProofFault("the proof of possession is no signed JWT, or a very long one")
    key, payload = _signed(proof)
    try:
        claims = _PossessionClaims.model_validate_json(payload)
        issued = datetime.fromtimestamp(claims.iat, UTC)
    except (ValidationError, ValueError, OverflowError, OSError):
        raise ProofFault("jti, htm, htu or iat of the proof is absent or malformed") from None
    if claims.htm != method or _place(claims.htu) != _place(endpoint):
        raise ProofFault("the proof is of another request: htm and htu are its method and its URI")
    if not now - LIFETIME - skew <= issued <= now + skew:
        raise ProofFault(f"the proof was not made within the last {LIFETIME}")
    if token and not hmac.compare_digest(claims.ath.encode(), _digest(token).encode()):
        raise ProofFault(
            "the proof is of another token: ath is the SHA-256 of the one that it goes along with"
        )
    jkt = key.thumbprint()
    used = sha256(json.dumps([_TYPE, jkt, claims.jti]).encode()).hexdigest()
    return KeyProof(jkt, used, issued + LIFETIME + 2 * skew, claims.nonce)


def _signed(proof: str) -> tuple[Key, bytes]:
    """The key in the header of a proof, which signed it, and what it says."""
    try:
        signed = jws.extract_compact(proof.encode(), registry=_REGISTRY)
        header = signed.headers()
        if str(header.get("typ", "")).lower() != _TYPE or header.get("alg") not in ALGORITHMS:
            raise ProofFault(f"the proof is of another type than {_TYPE}, or its algorithm is not accepted")
        key = _public_key(header.get("jwk"))
        if not jws.validate_compact(signed, key, registry=_REGISTRY):
            raise ProofFault("the signature of the proof is wrong")
    except (JoseError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise ProofFault(f"the proof cannot be verified ({type(error).__name__})") from None
    return key, signed.payload


def _public_key(jwk: Any) -> Key:
    if not isinstance(jwk, dict) or jwk.get("kty") not in _KEYS or _SECRET & jwk.keys():
        raise ProofFault("the header of the proof holds no public key (jwk)")
    return _KEYS[jwk["kty"]].import_key(jwk)


def _place(uri: str) -> tuple[str, str, int | None, str] | None:
    """A URI as two of them are compared: without query and fragment (RFC 9449 4.3, 9; RFC 3986 6.2). None for
    what is no URI."""
    try:
        parts = urlsplit(uri)
        scheme, port = parts.scheme.lower(), parts.port
    except ValueError:
        return None
    return scheme, parts.hostname or "", port or _PORTS.get(scheme), parts.path or "/"


def _digest(token: str) -> str:
    return urlsafe_b64encode(sha256(token.encode()).digest()).rstrip(b"=").decode()
