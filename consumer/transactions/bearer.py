"""How requests over plain HTTP name their user: by the assertion, as bearer token (ITI TF-2 3.72)."""

from __future__ import annotations

from base64 import urlsafe_b64encode

from consumer.unit import Unit


def authorization(unit: Unit) -> dict[str, str]:
    """The header, or nothing for the node itself."""
    if not (assertion := unit.assertion()):
        return {}
    return {"authorization": f"Bearer {urlsafe_b64encode(assertion).rstrip(b'=').decode()}"}
