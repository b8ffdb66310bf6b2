"""Where people at browsers sign in (OpenID Connect)."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from shared.settings.group import Group, secret
from shared.settings.kinds import HttpUrl, SiteUrl


class SignInSettings(Group):
    """The provider at which people sign in to the pages of a service; without one they bring the file of an
    assertion."""

    issuer: SiteUrl | None = Field(
        None,
        examples=["https://login.example"],
        description="the provider, as `iss` of its ID tokens and below which its metadata stand",
    )
    name: str = Field("your provider", examples=["Hospital North"], description="what people call it")
    client_id: str = Field("", examples=["xdsi-pages"], description="what the provider calls these pages")
    client_secret: str | None = secret(
        "secret of that client, where it has one", examples=["…"], otherwise="none: a public client"
    )
    exchange_url: HttpUrl | None = Field(
        None,
        examples=["https://identity.example:8100/token"],
        description="where a sign-in is exchanged for an assertion: the token endpoint of the identity "
        "service; at the consumer, access tokens (XDSI_TOKEN__ISSUERS) too",
    )
    emergency_purpose: str = Field(
        "",
        examples=["BTG^^2.16.840.1.113883.5.8"],
        description="purpose of use of who signs in for an emergency, which asks to sign in anew; empty: "
        "nobody does",
    )
    trust: Path | None = Field(
        None,
        examples=["/etc/xdsi/issuers.pem"],
        description="PEM file with the authorities that certify the provider's site, where those are not the "
        "community's",
    )

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.issuer and not (self.client_id and self.exchange_url):
            raise ValueError("names a provider without client_id and exchange_url; name all three")
        return self
