"""Assertions of users (ITI-40): whom to believe."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from shared.settings.group import Group, derived
from shared.settings.kinds import HomeCommunityId, Issuer, Seconds, Uri


class VoiceSettings(Group):
    """For whom an issuer of assertions may speak."""

    communities: tuple[HomeCommunityId, ...] = Field(
        (), description="homeCommunityIds (our own alone when empty)"
    )
    organizations: tuple[str, ...] = Field((), description="organisation ids")


class AssertionSettings(Group):
    """Assertions of users: whom to believe, and how this community's own provider signs."""

    issuers: dict[Issuer, Path] = Field(
        default_factory=dict,
        examples=[{"urn:oid:2.999.1.5": "/etc/xdsi/issuer.pem"}],
        description="believed issuers: what assertions have as saml:Issuer, to PEM file with its signing "
        "certificate(s), which is read again when it was changed",
    )
    speaks_for: dict[Issuer, VoiceSettings] = Field(
        default_factory=dict,
        examples=[{"urn:oid:2.999.1.5": {"communities": ["urn:oid:2.999.1"]}}],
        description="for whom issuers may speak: issuer URI to {communities: homeCommunityIds, "
        "organizations: ids}; others speak for our home community, and for every organisation that no issuer "
        "is named for; one of another community claims only organisations that stand here",
    )
    audience: Uri | None = derived(
        "audience that an assertion must name", otherwise="`urn:oid:` and `XDSI_AFFINITY_DOMAIN`"
    )
    skew_seconds: Seconds = Field(60.0, ge=0, le=180, description="clock skew allowed")
    max_lifetime_seconds: Seconds = Field(3600.0, gt=0, description="longest validity accepted")
    issuer: Uri | None = Field(
        None, description="issuer URI under which `xdsi` signs assertions for its users"
    )
    key: Path | None = Field(
        None, examples=["/etc/xdsi/issuer.key"], description="PEM private key of that issuer"
    )
    certificate: Path | None = Field(
        None, examples=["/etc/xdsi/issuer.pem"], description="PEM certificate of that issuer"
    )
