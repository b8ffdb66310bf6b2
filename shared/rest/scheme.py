"""How a request over REST names its user (RFC 9110 11), and how it is told that this does not do.

A transaction names the scheme; the service has its value, which may know more than a request says: sessions,
for example.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from shared.faults import SecurityFault
from shared.http.problem import Forbidden, HttpProblem, Unauthorized
from shared.rest.message import HttpRequest
from shared.rest.protected_resource import metadata_of, resource_of
from shared.security.possession import ALGORITHMS, SCHEME, ProofFault, SentToken, proof_in
from shared.security.scopes import ScopeInsufficient


class Scheme(Protocol):
    """One way to name a user.

    `name` and `description` are those of its Security Scheme Object (OpenAPI 3.1, 4.8.27). Where a scheme
    `invites`, whoever may ask and names no user yet is asked for one, which is no refusal and not recorded.
    """

    name: ClassVar[str]
    description: ClassVar[Mapping[str, Any]]
    invites: ClassVar[bool]

    def token(self, request: HttpRequest) -> str | None:
        """The token that comes with a request, a JWT or an assertion in base64url without padding; None when
        there is none, and what nobody accepts when it cannot be read."""
        ...

    def refusal(self, fault: SecurityFault, request: HttpRequest) -> HttpProblem:
        """How it is told that the token of a request, or that there is none, is not accepted."""
        ...


class TokenNeeded(Unauthorized):
    """Nobody is named, or by a token that is not accepted; `challenge` says which (RFC 6750 3)."""

    def __init__(self, detail: str, challenge: str) -> None:
        super().__init__(detail)
        self.headers = {"www-authenticate": challenge}  # type: ignore[misc]  # of this answer alone


class ScopeNeeded(Forbidden):
    """The token is for something else; `challenge` names the scope that would do."""

    def __init__(self, detail: str, challenge: str) -> None:
        super().__init__(detail)
        self.headers = {"www-authenticate": challenge}  # type: ignore[misc]  # of this answer alone


@dataclass(frozen=True, slots=True, kw_only=True)
class Bearer:
    """`Bearer`, with a JWT or a SAML assertion as the token (ITI-72); or `DPoP`, with a JWT and a proof that
    its bringer has the key to which it is bound (RFC 9449 7.1).

    A challenge names the `resource_metadata` of the service that stands below `public_url` (RFC 9728 5.1),
    where it `has_metadata`.
    """

    name: ClassVar[str] = "user"
    description: ClassVar[Mapping[str, Any]] = {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT (at+jwt), or SAML 2.0 assertion in base64url without padding (ITI-72)",
    }
    invites: ClassVar[bool] = False

    public_url: str | None = None
    has_metadata: bool = False

    def token(self, request: HttpRequest) -> str | None:
        """What follows `Bearer`, or `DPoP`."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == SCHEME:
            proof = proof_in(request.scope["headers"])
            return SentToken.of(token.strip(), proof=proof, method=request.scope["method"])
        return token.strip() if scheme.lower() == "bearer" else None

    def refusal(self, fault: SecurityFault, request: HttpRequest) -> HttpProblem:
        """By the challenge of RFC 6750 3."""
        if isinstance(fault, ScopeInsufficient):
            error = f'error="insufficient_scope", scope="{fault.scope}"'
            return ScopeNeeded(fault.reason, self._challenge(request, error))
        token = self.token(request)
        if isinstance(fault, ProofFault) or isinstance(token, SentToken):
            error = "invalid_dpop_proof" if isinstance(fault, ProofFault) else "invalid_token"
            algorithms = f'algs="{" ".join(ALGORITHMS)}"'
            return TokenNeeded(
                fault.reason, self._challenge(request, f'error="{error}", {algorithms}', scheme="DPoP")
            )
        error = "" if token is None else 'error="invalid_token"'
        return TokenNeeded(fault.reason, self._challenge(request, error))

    def _challenge(self, request: HttpRequest, error: str, scheme: str = "Bearer") -> str:
        parts = ['realm="xdsi"', *filter(None, (error,))]
        if self.has_metadata:
            parts.append(f'resource_metadata="{metadata_of(resource_of(request.scope, self.public_url))}"')
        return f"{scheme} {', '.join(parts)}"


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
