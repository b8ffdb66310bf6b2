"""Settings: environment and TOML file to one frozen value, all mistakes at once.

Sources, strongest first: `XDSI_<SERVICE>__NAME`, `XDSI_NAME`, the file's `[<service>]` table, the file's top
level, the default. Nothing else in the product reads the environment. `docs/settings.md` is printed from
these classes.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Mapping
from enum import StrEnum
from functools import lru_cache
from ipaddress import ip_address
from pathlib import Path
from typing import Any, ClassVar, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError

PREFIX = "XDSI_"
_ORIGIN = re.compile(r"https?://[^/?#@\s]+/?")
SEPARATOR = "__"


class SettingsError(Exception):
    """The settings cannot be used; each line names one setting, what is wrong and what would be right."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class Group(BaseModel):
    """A group of settings, `XDSI_GROUP__NAME`."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class TlsSettings(Group):
    """Mutual TLS on every socket when set; without it a service binds to loopback only."""

    certificate: Path | None = Field(None, description="PEM file with the certificate (chain) of this node")
    key: Path | None = Field(None, description="PEM file with its private key")
    trust: Path | None = Field(
        None, description="PEM file with the certificates of the community's authorities"
    )
    check_host_names: bool = Field(
        False,
        description="whether a server's certificate must also name its host (the FQDN option of ATNA)",
    )

    @property
    def enabled(self) -> bool:
        """Whether sockets speak TLS."""
        return self.certificate is not None


class XuaMode(StrEnum):
    """Whether a user assertion must come with queries and retrievals."""

    REQUIRED = "required"
    OPTIONAL = "optional"
    OFF = "off"


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
    url: str | None = Field(
        None,
        description="URL of the registry that hands out policies, when it is not registry_url; the node "
        "there must be of the community",
    )
    policies: Path | None = Field(
        None,
        description='JSON file for source policies: {"everyone": [policy], "patients": {"CX": [policy]}}; '
        "read again when a copy is too old",
    )

    default: Default | None = Field(
        None,
        description="answer without a policy: permit or deny (permit on loopback without TLS, else deny)",
    )
    max_age_seconds: float = Field(
        10.0, ge=0, le=30, description="age at which a copy of a patient's policies is fetched anew"
    )


class VoiceSettings(Group):
    """For whom an issuer of assertions may speak."""

    communities: tuple[str, ...] = Field((), description="homeCommunityIds (our own alone when empty)")
    organizations: tuple[str, ...] = Field((), description="organisation ids")


class AssertionSettings(Group):
    """Assertions of users: whom to believe, and how this community's own provider signs."""

    issuers: dict[str, Path] = Field(
        default_factory=dict,
        description="believed issuers: issuer URI to PEM file with its signing certificate(s)",
    )
    speaks_for: dict[str, VoiceSettings] = Field(
        default_factory=dict,
        description="for whom issuers may speak: issuer URI to {communities: homeCommunityIds, "
        "organizations: ids}; others speak for our home community, and for every organisation that no issuer "
        "is named for; one of another community claims only organisations that stand here",
    )
    audience: str | None = Field(
        None, description="audience that an assertion must name (urn:oid: + affinity domain)"
    )
    skew_seconds: float = Field(60.0, ge=0, le=180, description="clock skew allowed")
    max_lifetime_seconds: float = Field(3600.0, gt=0, description="longest validity accepted")
    issuer: str | None = Field(
        None, description="issuer URI under which `xdsi` signs assertions for its users"
    )
    key: Path | None = Field(None, description="PEM private key of that issuer")
    certificate: Path | None = Field(None, description="PEM certificate of that issuer")


class RightsSettings(Group):
    """Nodes beside those of the community, for each right: subject DNs (RFC 4514) or SHA-256 of
    certificates."""

    feed: tuple[str, ...] = Field((), description="nodes that feed patient identities (ITI-8, ITI-44)")
    submit: tuple[str, ...] = Field(
        (), description="nodes that provide and register documents (ITI-41, RAD-68, ITI-42, ITI-61)"
    )
    update: tuple[str, ...] = Field(
        (),
        description="nodes from which administrators change and remove (ITI-57, ITI-62, ITI-86, ITI-92)",
    )
    store: tuple[str, ...] = Field((), description="nodes that store instances (C-STORE, STOW-RS)")
    reject: tuple[str, ...] = Field((), description="nodes whose rejection notes hide instances")
    publish: tuple[str, ...] = Field(
        (),
        description="nodes that publish, and have manifests made on demand (`/api` of source and repository)",
    )
    ask: tuple[str, ...] = Field(
        (),
        description="nodes that query and retrieve for their users (ITI-18, ITI-43, ITI-51, RAD-69, WADO-RS, "
        "the consumer)",
    )
    policies: tuple[str, ...] = Field((), description="nodes that read consent policies, to decide by them")
    consent: tuple[str, ...] = Field((), description="nodes that set, remove and explain consent policies")
    trail: tuple[str, ...] = Field((), description="nodes that read the trail")
    record: tuple[str, ...] = Field((), description="nodes that send audit records (ITI-20)")


class OnFull(StrEnum):
    """What happens when audit events can no longer be kept."""

    BLOCK = "block"
    DROP = "drop-oldest-with-record"


class AuditSettings(Group):
    """The trail: where it goes, and how much may wait."""

    url: str | None = Field(
        None, description="tls://host:port or tcp://127.0.0.1:port of the audit repository"
    )
    source_id: str | None = Field(None, description="AuditSourceID (xdsi-<service>)")
    enterprise_site_id: str = Field("", description="AuditEnterpriseSiteID")
    spool_max_bytes: int = Field(
        5 * 1024**3,
        ge=1024**2,
        description="most that may wait to be sent, in the spool on disk and in the outbox table together",
    )
    on_full: OnFull = Field(OnFull.BLOCK, description="block work, or drop the oldest and record that")
    refusals_seconds: float = Field(
        60, gt=0, le=3600, description="time over which further refusals of one address are one record"
    )
    unsent_seconds: float = Field(
        3600, gt=0, description="age of the oldest unsent record above which the service is not ready"
    )
    set_aside_max: int = Field(
        100,
        ge=0,
        description="records set aside, because the audit repository does not take them, above which the "
        "service is not ready",
    )


class PatientPolicy(StrEnum):
    """For whom submissions are accepted."""

    KNOWN = "known"
    ANY = "any"


class ServiceSettings(BaseModel):
    """What every service is told; a service adds its own."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    service: ClassVar[str] = ""

    host: str = Field("127.0.0.1", description="address to listen on; anything but loopback needs TLS")
    port: int = Field(0, ge=0, le=65535, description="port to listen on; 0 takes a free one")
    connections: int = Field(2_000, ge=1, description="HTTP connections at a time, then 503")
    connections_per_peer: int = Field(
        200, ge=1, description="HTTP connections of one address at a time, counted from their accept"
    )
    public_url: str | None = Field(
        None, description="URL under which others reach this service, when it is not host and port"
    )
    host_names: tuple[str, ...] = Field(
        (),
        description="further names and addresses by which this service is called, for example of a load "
        "balancer; beside these, the host of public_url, the names in the certificate and the address of the "
        "socket, a Host is refused",
    )
    trusted_origins: tuple[str, ...] = Field(
        (),
        description="origins (scheme://host:port) of other sites whose pages may ask here from a browser and "
        "read the answers (CORS)",
    )
    data: Path = Field(Path("var"), description="folder of the embedded defaults")
    database_url: str | None = Field(
        None,
        description="SQLAlchemy URL; SQLite below the data folder when absent, postgresql://… in production",
    )
    affinity_domain: str = Field(
        "1.3.6.1.4.1.21367.2005.13.20.1000", description="assigning authority of patient ids"
    )
    home_community_id: str = Field(
        "urn:oid:1.3.6.1.4.1.21367.2026.10", description="homeCommunityId of this community"
    )
    xua: XuaMode | None = Field(None, description="required with TLS, optional without; off on loopback only")
    community_nodes: tuple[str, ...] = Field(
        (),
        description="nodes that speak for this community and may do everything, beside our own: subject DNs "
        "(RFC 4514) or SHA-256 of certificates",
    )
    rights: RightsSettings = RightsSettings()
    registry_url: str = Field("http://127.0.0.1:8010/xds/registry", description="where the registry is")
    registry_urls: dict[str, str] = Field(
        default_factory=dict,
        description="number of a transaction (ITI-18, ITI-42, ITI-57, ITI-61) to the registry's endpoint for "
        "it, where it has several; the others go to registry_url",
    )
    repository_url: str = Field("http://127.0.0.1:8020/xds/repository", description="where the repository is")
    tls: TlsSettings = TlsSettings()
    consent: ConsentSettings = ConsentSettings()
    assertion: AssertionSettings = AssertionSettings()
    audit: AuditSettings = AuditSettings()

    @property
    def public_host(self) -> str:
        """The host of `public_url`; empty when there is none."""
        return urlsplit(self.public_url or "").hostname or ""

    @property
    def folder(self) -> Path:
        """The service's own folder below `data`."""
        return self.data / self.service.replace("_", "-")

    @property
    def xua_mode(self) -> XuaMode:
        """`xua`, or its default: required with TLS, optional without."""
        if self.xua is not None:
            return self.xua
        return XuaMode.REQUIRED if self.tls.enabled else XuaMode.OPTIONAL

    @property
    def consent_default(self) -> Default:
        """`consent.default`, or its default: deny, but permit on loopback without TLS."""
        if self.consent.default is not None:
            return self.consent.default
        return Default.DENY if self.tls.enabled else Default.PERMIT

    def registry_endpoint(self, transaction: str) -> str:
        """Where the registry takes a transaction, by its number."""
        return self.registry_urls.get(transaction, self.registry_url)

    @property
    def registry_endpoints(self) -> tuple[str, ...]:
        """Every address of the registry."""
        return (self.registry_url, *self.registry_urls.values())

    @property
    def consent_url(self) -> str:
        """URL of the registry that hands out policies, of its SOAP endpoint or its base."""
        return self.consent.url or self.registry_url

    @property
    def audience(self) -> str:
        """The audience that assertions must name."""
        return self.assertion.audience or f"urn:oid:{self.affinity_domain}"

    def named_nodes(self, right: str) -> tuple[str, ...]:
        """The nodes that have `right` beside those of the community."""
        return tuple(getattr(self.rights, right, ()))

    @classmethod
    def load(
        cls, config: Path | None = None, environ: Mapping[str, str] | None = None, **changes: Any
    ) -> Self:
        """Read `config` (TOML) and the environment; `changes` win over both.

        Raises
        ------
        SettingsError
            With every mistake at once.
        """
        environment = os.environ if environ is None else environ
        table = tomllib.loads(config.read_text("utf-8")) if config else {}
        given = nested(environment)
        merged: dict[str, Any] = {}
        for layer in (table, table.get(cls.service, {}), given, given.get(cls.service, {})):
            _merge(merged, layer)
        _merge(merged, changes)
        try:
            settings = cls.model_validate(merged)
        except ValidationError as error:
            raise SettingsError(tuple(_problem(detail) for detail in error.errors())) from None
        if problems := tuple(settings.problems()):
            raise SettingsError(problems)
        return settings

    def problems(self) -> list[str]:
        """Contradictions between settings, each with its remedy."""
        found = []
        tls = self.tls
        if tls.enabled and not (tls.key and tls.trust):
            found.append(
                "XDSI_TLS__KEY and XDSI_TLS__TRUST: needed beside XDSI_TLS__CERTIFICATE; name all three"
            )
        for name in ("certificate", "key", "trust"):
            path = getattr(tls, name)
            if path is not None and not path.is_file():
                found.append(f"XDSI_TLS__{name.upper()}: {path} is not a file; name a PEM file")
        if not tls.enabled and not is_loopback(self.host):
            found.append(
                f"XDSI_HOST: {self.host} is not loopback and TLS is not set up; set XDSI_TLS__CERTIFICATE, "
                "XDSI_TLS__KEY and XDSI_TLS__TRUST, or listen on 127.0.0.1"
            )
        if self.consent.source is ConsentSource.POLICIES:
            path = self.consent.policies
            if path is None or not path.is_file():
                found.append(
                    f"XDSI_CONSENT__POLICIES: {path or 'nothing'} is not a file; name the JSON file of "
                    "policies, or take them from the registry (XDSI_CONSENT__SOURCE=registry)"
                )
        found += [
            f"XDSI_TRUSTED_ORIGINS: {origin!r} is no origin; name scheme://host or scheme://host:port"
            for origin in self.trusted_origins
            if not _ORIGIN.fullmatch(origin)
        ]
        if self.xua is XuaMode.OFF and not is_loopback(self.host):
            found.append("XDSI_XUA: off is for loopback only; use required")
        return found


@lru_cache(maxsize=1_024)
def is_loopback(host: str) -> bool:
    """Whether `host` is an address or name of this machine alone; a pure function, asked by every request."""
    if host == "localhost":
        return True
    try:
        found = ip_address(host)
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None)
    return bool((mapped or found).is_loopback)


def nested(environ: Mapping[str, str]) -> dict[str, Any]:
    """`XDSI_TLS__KEY=x` as `{"tls": {"key": "x"}}`; JSON lists and tables are read as such."""

    found: dict[str, Any] = {}
    for name, value in sorted(environ.items()):
        if not name.startswith(PREFIX):
            continue
        place = found
        *groups, last = name.removeprefix(PREFIX).lower().split(SEPARATOR)
        for group in groups:
            inner = place.get(group)
            if not isinstance(inner, dict):
                inner = place[group] = {}
            place = inner
        place[last] = json.loads(value) if value[:1] in "[{" and value else value
    return found


def _merge(base: dict[str, Any], layer: Mapping[str, Any]) -> None:
    for name, value in layer.items():
        if isinstance(value, Mapping) and isinstance(base.get(name), dict):
            _merge(base[name], value)
        else:
            base[name] = dict(value) if isinstance(value, Mapping) else value


def _problem(detail: Any) -> str:
    name = PREFIX + SEPARATOR.join(str(part).upper() for part in detail["loc"])
    return f"{name}: {detail['msg']}"
