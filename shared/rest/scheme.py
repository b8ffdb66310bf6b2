"""How a request over REST names its user (RFC 9110 11), and how it is told that this does not do.

A transaction names the scheme; the service has its value, which may know more than a request says: sessions,
for example.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

from shared.faults import SecurityFault
from shared.http.problem import HttpProblem, Unauthorized
from shared.rest.message import HttpRequest


class Scheme(Protocol):
    """One way to name a user.

    `name` and `description` are those of its Security Scheme Object (OpenAPI 3.1, 4.8.27). Where a scheme
    `invites`, whoever may ask and names no user yet is asked for one, which is no refusal and not recorded.
    """

    name: ClassVar[str]
    description: ClassVar[Mapping[str, Any]]
    invites: ClassVar[bool]

    def token(self, request: HttpRequest) -> str | None:
        """The assertion that comes with a request, base64url without padding; None when there is none, and
        what nobody accepts when it cannot be read."""
        ...

    def refusal(self, fault: SecurityFault, request: HttpRequest) -> HttpProblem:
        """How it is told that the token of a request, or that there is none, is not accepted."""
        ...


class TokenNeeded(Unauthorized):
    """Nobody is named."""

    headers: ClassVar[Mapping[str, str]] = {"www-authenticate": 'Bearer realm="xdsi"'}


class TokenRefused(Unauthorized):
    """The token that came is not accepted."""

    headers: ClassVar[Mapping[str, str]] = {"www-authenticate": 'Bearer realm="xdsi", error="invalid_token"'}


class Bearer:
    """`Bearer`, with a SAML assertion as the token (ITI-72, SAML Token option)."""

    name: ClassVar[str] = "user"
    description: ClassVar[Mapping[str, Any]] = {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "SAML 2.0 assertion, base64url without padding (ITI-72)",
    }
    invites: ClassVar[bool] = False

    def token(self, request: HttpRequest) -> str | None:
        """What follows `Bearer`."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        return token.strip() if scheme.lower() == "bearer" else None

    def refusal(self, fault: SecurityFault, request: HttpRequest) -> HttpProblem:
        """By the challenge of RFC 6750 3."""
        return (TokenNeeded if self.token(request) is None else TokenRefused)(fault.reason)


class NodeAlone:
    """No user is named: what is asked is the same for all users of a node."""

    name: ClassVar[str] = "node"
    description: ClassVar[Mapping[str, Any]] = {}
    invites: ClassVar[bool] = False

    def token(self, _: HttpRequest) -> str | None:
        """None."""
        return None

    def refusal(self, fault: SecurityFault, _: HttpRequest) -> HttpProblem:
        """Without a challenge: no user would help."""
        return Unauthorized(fault.reason)
