"""Settings of the identity service; `docs/settings.md` is printed from them."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pydantic import Field

from shared.settings import Group, ServiceSettings
from shared.settings.kinds import CodeWithScheme, Issuer, KeySetPlace, Port, Seconds


class ProviderSettings(Group):
    """A provider at which people sign in (OpenID Connect)."""

    keys: KeySetPlace = Field(description="JWK Set with its keys, a file or a URL")
    client_ids: tuple[str, ...] = Field(min_length=1, description="its clients that are pages of ours")


class IdentitySettings(ServiceSettings):
    """At which providers people sign in, and what is issued to them."""

    service: ClassVar[str] = "identity"

    port: Port = Field(8100, description="port to listen on; 0 takes a free one")
    providers: dict[Issuer, ProviderSettings] = Field(
        default_factory=dict,
        examples=[
            {
                "https://login.example": {
                    "keys": "https://login.example/jwks",
                    "client_ids": ["xdsi-pages"],
                }
            }
        ],
        description="providers whose sign-ins are believed: issuer to {keys, client_ids}",
    )
    provider_trust: Path | None = Field(
        None,
        examples=["/etc/xdsi/issuers.pem"],
        description="PEM file with the authorities that certify the sites of providers, where those are not "
        "the community's",
    )
    lifetime_seconds: Seconds = Field(
        600.0, gt=0, le=3600, description="how long assertions and access tokens are valid"
    )
    purposes: tuple[CodeWithScheme, ...] = Field(
        ("TREAT^^2.16.840.1.113883.5.8",), description="purposes of use that whoever is known may name"
    )
    emergency_purposes: tuple[CodeWithScheme, ...] = Field(
        ("BTG^^2.16.840.1.113883.5.8",),
        description="purposes of use that need a sign-in of this moment (step-up)",
    )
    emergency_seconds: Seconds = Field(
        120.0, gt=0, description="how old a sign-in may be for an emergency purpose"
    )
    scopes: tuple[str, ...] = Field(
        ("RAD-107", "RAD-129", "RAD-55", "ITI-81", "xdsi"),
        description="scopes that access tokens may have",
    )
    key_days: int = Field(30, ge=1, description="how old a key that signs access tokens may grow")


SETTINGS = IdentitySettings
