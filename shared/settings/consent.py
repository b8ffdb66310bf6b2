"""Whom to ask for the policies of patients, and what holds without one."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

from pydantic import Field

from shared.settings.group import Group, derived
from shared.settings.kinds import HttpUrl, Seconds


class Default(StrEnum):
    """The answer when a patient has no policy."""

    PERMIT = "permit"
    DENY = "deny"


class ConsentSource(StrEnum):
    """Where the repository and the imaging source take the policies of patients from."""

    REGISTRY = "registry"
    POLICIES = "policies"
    NONE = "none"


class ConsentSettings(Group):
    """Consent: whom to ask, what holds without a policy, and how long a copy of policies may be used."""

    source: ConsentSource = Field(
        ConsentSource.REGISTRY,
        description="where the repository and the imaging source take policies from: registry (xdsi's own), "
        "policies (a file, beside a registry of another vendor) or none (consent is not asked: whoever is "
        "authenticated may retrieve); our registry always decides by its own",
    )
    url: HttpUrl | None = derived(
        "URL of the registry that hands out policies; the node there must be of the community",
        otherwise="`XDSI_REGISTRY_URL`",
    )
    policies: Path | None = Field(
        None,
        examples=["/etc/xdsi/policies.json"],
        description='JSON file for source policies: {"everyone": [policy], "patients": {"CX": [policy]}}; '
        "read again when a copy is too old",
    )

    default: Default | None = derived(
        "answer without a policy: permit or deny",
        otherwise="`permit` on loopback without TLS, else `deny`",
        examples=["deny"],
    )
    max_age_seconds: Seconds = Field(
        10.0, ge=0, le=30, description="age at which a copy of a patient's policies is fetched anew"
    )
