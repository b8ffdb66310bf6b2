"""Access tokens of users and clients (ITI-72): whom to believe."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from shared.settings.group import Group
from shared.settings.kinds import Issuer, KeySetPlace


class TokenSettings(Group):
    """Access tokens in JWT (IUA, ITI-72): whom to believe.

    For whom an issuer may speak stands in `assertion.speaks_for`, its clock and longest validity in
    `assertion` too: a token says the same things as an assertion.
    """

    issuers: dict[Issuer, KeySetPlace] = Field(
        default_factory=dict,
        examples=[{"https://login.example": "https://login.example/jwks"}],
        description="believed issuers: what tokens have as `iss`, to the JWK Set with its keys, a file or "
        "the URL where the issuer shows it",
    )
    trust: Path | None = Field(
        None,
        examples=["/etc/xdsi/issuers.pem"],
        description="PEM file with the authorities that certify the sites of issuers, where those are not "
        "the community's",
    )
    bound: bool = Field(
        False,
        description="whether a token must be bound, to the certificate of the node that brings it (RFC 8705) "
        "or to a key of which it brings a proof (DPoP, RFC 9449); one that is bound is always compared",
    )
