"""How programs name their user: by the whole assertion, in a header of its own scheme, or by a bearer token
as everywhere (ITI-72)."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Mapping
from typing import Any, ClassVar

from shared.faults import SecurityFault
from shared.http.problem import HttpProblem, Unauthorized
from shared.pages.visitors import token_of
from shared.rest.message import HttpRequest
from shared.security.xua import MAX_BYTES

HOW = (
    "send the user's own SAML 2.0 assertion for this affinity domain: "
    "Authorization: SAML <base64 of the assertion>, or Bearer and a token of ITI-72"
)
_MOST_CHARACTERS = MAX_BYTES * 4 // 3 + 4


class Saml:
    """`SAML <base64 of the assertion>`, or `Bearer` and a token, by which programs name their user."""

    name: ClassVar[str] = "saml"
    description: ClassVar[Mapping[str, Any]] = {
        "type": "http",
        "scheme": "saml",
        "description": "SAML 2.0 assertion of the user, base64 (RFC 4648 4); or `Bearer` with an access "
        "token or an assertion (ITI-72)",
    }
    invites: ClassVar[bool] = False

    def token(self, request: HttpRequest) -> str | None:
        """What the header holds; what cannot be read becomes an assertion that nobody accepts."""
        authorization = request.headers.get("authorization", "")
        if not authorization:
            return None
        scheme, _, text = authorization.partition(" ")
        if scheme.lower() == "bearer":
            return text.strip()
        readable = scheme.lower() == "saml" and len(text) <= _MOST_CHARACTERS
        return _base64url(text.strip()) if readable else ""

    def refusal(self, fault: SecurityFault, request: HttpRequest) -> HttpProblem:
        """With what to send."""
        if self.token(request) is None:
            return Unauthorized(f"a user's assertion is needed; {HOW}")
        reason = fault.subcode[1] if fault.subcode else ""
        return Unauthorized(f"the assertion is not accepted ({reason}); {HOW}")


def _base64url(text: str) -> str:
    try:
        return token_of(b64decode(text, validate=True))
    except ValueError:
        return ""
