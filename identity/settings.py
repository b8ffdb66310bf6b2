"""Settings of the identity service; `docs/settings.md` is printed from them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from shared.settings import Group, ServiceSettings
from shared.settings.kinds import CodeWithScheme, Issuer, KeySetPlace, Port, Seconds, SiteUrl

ClientId = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[!-~]+$")]
Digest = Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")]


class ProviderSettings(Group):
    """A provider at which people sign in (OpenID Connect)."""

    keys: KeySetPlace = Field(description="JWK Set with its keys, a file or a URL")
    client_ids: tuple[str, ...] = Field(min_length=1, description="its clients that are pages of ours")


class ClientSettings(Group):
    """A client at which people sign in here, or a program that asks for tokens of its own (OAuth 2.1)."""

    redirect_uris: tuple[SiteUrl, ...] = Field(
        (), description="where its people come back to, each exactly as it is sent; none: nobody signs in"
    )
    secret_sha256: Digest = Field("", description="SHA-256 of its secret (client_secret_basic)")
    node: Digest = Field(
        "", description="SHA-256 of the certificate by which alone it asks for tokens (tls_client_auth)"
    )
    keys: KeySetPlace | None = Field(
        None,
        description="JWK Set with the keys by which it signs assertions that prove it (private_key_jwt)",
    )


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
    clients: dict[ClientId, ClientSettings] = Field(
        default_factory=dict,
        examples=[{"xdsi-pages": {"redirect_uris": ["https://consumer.example:8040/sign-in/back"]}}],
        description="clients for which people sign in at this service itself, by password and code or by "
        "passkey: client id to {redirect_uris, secret_sha256, node, keys}; none: it is no provider",
    )
    second_factor: bool = Field(
        True,
        description="whether a password needs the code of an app beside it; a passkey is two factors itself",
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
    proof_nonce_seconds: Seconds = Field(
        0.0,
        ge=0,
        description="how long a nonce holds that proofs of possession (DPoP) have to name when a token is "
        "asked for; 0: none is asked for",
    )
    key_days: int = Field(30, ge=1, description="how old a key that signs access tokens may grow")


SETTINGS = IdentitySettings
