"""Access tokens as JWT (ITI TF-2 3.71.4.2.2, IUA 2.4; RFC 7519, RFC 9068)."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator
from typing import Any, Final

from conformance.findings import Finding
from conformance.identifiers import is_oid_urn, wrong_cx
from conformance.judgement import Judgement
from conformance.readers.source import Source
from conformance.requirements import finding
from conformance.rules.signature import of_token

_ALGORITHMS: Final = frozenset(
    {"RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256", "PS384", "PS512", "HS256", "EdDSA"}
)
_REQUIRED: Final = {
    "iss": "JWT-005", "sub": "JWT-006", "client_id": "JWT-007", "aud": "JWT-008", "jti": "JWT-009",
    "scope": "JWT-012",
}  # fmt: skip
_MOST: Final = 256 * 1024
_LONGEST_SECONDS: Final = 3600


def judged(source: Source) -> Judgement:
    """A token."""
    judgement = Judgement("JSON Web Token (IUA)")
    judgement.findings = _token(source)
    return judgement


def _token(source: Source) -> Iterator[Finding]:
    parts = source.read(0, _MOST).decode("latin_1").strip().removeprefix("Bearer").strip().split(".")
    header, claims = (_decoded(part) for part in parts[:2])
    if header is None or claims is None or not parts[2]:
        yield finding("JWT-001", "token", "not two JSON objects and a signature in base64url")
        return
    algorithm = str(header.get("alg"))
    if algorithm not in _ALGORITHMS:
        yield finding("JWT-002", "header.alg", "no algorithm that is allowed", algorithm)
    if str(header.get("typ", "")).lower() not in ("at+jwt", "application/at+jwt", "jwt", "iua-jwt"):
        yield finding("JWT-003", "header.typ", "absent, or another", header.get("typ", ""))
    if not header.get("kid") and algorithm != "HS256":
        yield finding("JWT-004", "header.kid", "absent")
    for name, id in _REQUIRED.items():
        if not claims.get(name):
            yield finding(id, name, "absent")
    yield from _times(claims)
    yield from _extensions(claims)
    if algorithm in _ALGORITHMS:
        yield from of_token(header, ".".join(parts[:2]), parts[2])


def _decoded(part: str) -> dict[str, Any] | None:
    try:
        octets = base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
        value = json.loads(octets)
    except (binascii.Error, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _times(claims: dict[str, Any]) -> Iterator[Finding]:
    numbers: dict[str, float] = {}
    for name, id in (("exp", "JWT-010"), ("iat", "JWT-011")):
        value = claims.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            yield finding(id, name, "absent, or no number of seconds", value)
        else:
            numbers[name] = value
    if len(numbers) == 2 and numbers["exp"] <= numbers["iat"]:
        yield finding("JWT-010", "exp", "not after iat", numbers["exp"])
    elif len(numbers) == 2 and numbers["exp"] - numbers["iat"] > _LONGEST_SECONDS:
        yield finding("JWT-016", "exp", "more than an hour after iat", numbers["exp"] - numbers["iat"])


def _extensions(claims: dict[str, Any]) -> Iterator[Finding]:
    extensions = claims.get("extensions")
    if extensions is None:
        return
    user = extensions.get("ihe_iua") if isinstance(extensions, dict) else None
    consent = extensions.get("ihe_bppc") if isinstance(extensions, dict) else None
    if not isinstance(user or {}, dict) or not isinstance(consent or {}, dict) or not (user or consent):
        yield finding("JWT-013", "extensions", "neither ihe_iua nor ihe_bppc")
        return
    for name in ("subject_role", "purpose_of_use"):
        for coding in _listed((user or {}).get(name)):
            if not isinstance(coding, dict) or not coding.get("code") or not coding.get("system"):
                yield finding("JWT-014", f"extensions.ihe_iua.{name}", "no Coding", coding)
    home = (user or {}).get("home_community_id")
    if home is not None and not is_oid_urn(str(home)):
        yield finding("JWT-015", "extensions.ihe_iua.home_community_id", "no urn:oid:", home)
    patient = (consent or {}).get("patient_id")
    if patient is not None and not str(patient).startswith("http") and (wrong := wrong_cx(str(patient))):
        yield finding("JWT-017", "extensions.ihe_bppc.patient_id", wrong, patient)


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]
