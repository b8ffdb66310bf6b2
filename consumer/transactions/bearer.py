"""How requests over plain HTTP name their user: by the assertion or the access token, as bearer token
(ITI TF-2 3.72)."""

from __future__ import annotations

from base64 import urlsafe_b64encode

from consumer.unit import Unit


def authorization(unit: Unit) -> dict[str, str]:
    """The header, or nothing for the node itself."""
    proof = unit.proof()
    if not proof:
        return {}
    token = proof if isinstance(proof, str) else urlsafe_b64encode(proof).rstrip(b"=").decode()
    return {"authorization": f"Bearer {token}"}
