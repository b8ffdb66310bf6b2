"""How a request over REST names its user (RFC 9110 11), and how it is told that this does not do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final, Protocol

from shared.faults import SecurityFault
from shared.http.problem import Unauthorized


class Scheme(Protocol):
    """A scheme of the Authorization header."""

    def token(self, authorization: str) -> str | None:
        """The assertion in the header, base64url without padding; None when there is none, and what nobody
        accepts when it cannot be read."""
        ...

    def refusal(self, fault: SecurityFault, token: str | None) -> Unauthorized:
        """How it is told that `token`, or that there is none, is not accepted."""
        ...


class TokenNeeded(Unauthorized):
    """Nobody is named."""

    headers: ClassVar[Mapping[str, str]] = {"www-authenticate": 'Bearer realm="xdsi"'}


class TokenRefused(Unauthorized):
    """The token that came is not accepted."""

    headers: ClassVar[Mapping[str, str]] = {"www-authenticate": 'Bearer realm="xdsi", error="invalid_token"'}


class Bearer:
    """`Bearer`, with a SAML assertion as the token (ITI-72, SAML Token option)."""

    def token(self, authorization: str) -> str | None:
        """What follows `Bearer`."""
        scheme, _, token = authorization.partition(" ")
        return token.strip() if scheme.lower() == "bearer" else None

    def refusal(self, fault: SecurityFault, token: str | None) -> Unauthorized:
        """By the challenge of RFC 6750 3."""
        return (TokenNeeded if token is None else TokenRefused)(fault.reason)


BEARER: Final = Bearer()
