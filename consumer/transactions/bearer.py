"""How requests over plain HTTP name their user: by the assertion or the access token, as bearer token
(ITI TF-2 3.72), or with a proof of the key to which the token is bound (RFC 9449)."""

from __future__ import annotations

from base64 import urlsafe_b64encode

from consumer.unit import Unit
from shared.security.possession import BoundToken


def authorization(unit: Unit, method: str, url: str) -> dict[str, str]:
    """The headers of one request, or nothing for the node itself."""
    proof = unit.proof()
    if not proof:
        return {}
    if isinstance(proof, BoundToken):
        return proof.headers(method, url)
    token = proof if isinstance(proof, str) else urlsafe_b64encode(proof).rstrip(b"=").decode()
    return {"authorization": f"Bearer {token}"}
