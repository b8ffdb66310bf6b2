"""What every service is told."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from socket import gaierror
from typing import Any, Self
from urllib.parse import urlsplit

from pydantic import Field

from shared.settings import names
from shared.settings.assertion import AssertionSettings
from shared.settings.audit import AuditSettings
from shared.settings.consent import ConsentSettings, ConsentSource, Default
from shared.settings.error import SettingsError
from shared.settings.group import derived, secret
from shared.settings.kinds import (
    DatabaseUrl,
    HomeCommunityId,
    Host,
    HttpUrl,
    Network,
    Oid,
    Origin,
    Port,
    Seconds,
    syslog_urls,
)
from shared.settings.loading import OwnedSettings, loaded
from shared.settings.loopback import is_loopback
from shared.settings.names import PREFIX, SEPARATOR
from shared.settings.rights import RightsSettings
from shared.settings.sources import layers
from shared.settings.tls import Revocation, TlsSettings
from shared.settings.token import TokenSettings


class XuaMode(StrEnum):
    """Whether a user assertion must come with queries and retrievals."""

    REQUIRED = "required"
    OPTIONAL = "optional"
    OFF = "off"


class LogLevel(StrEnum):
    """From which level on the log tells."""

    DEBUG = "DEBUG"
    INFO = "INFO"
    WARNING = "WARNING"
    ERROR = "ERROR"

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        """Levels are written in small letters too."""
        name = value.upper() if isinstance(value, str) else ""
        return cls(name) if name in cls.__members__ else None


class PatientPolicy(StrEnum):
    """For whom submissions are accepted."""

    KNOWN = "known"
    ANY = "any"


class ServiceSettings(OwnedSettings):
    """What every service is told; a service adds its own."""

    host: Host = Field("127.0.0.1", description="address to listen on; anything but loopback needs TLS")
    port: Port = Field(0, description="port to listen on; 0 takes a free one")
    health_port: Port | None = Field(
        None,
        examples=[8070],
        description="port for /health/live, /health/ready and /metrics alone, by plain HTTP, for probes that "
        "have no certificate; it answers from the start on, while the database is waited for too",
    )
    health_host: Host = Field(
        "127.0.0.1",
        examples=["0.0.0.0"],  # noqa: S104  # what is shown there says nothing of patients
        description="address of health_port, which any network may be that asks",
    )
    drain_seconds: Seconds = Field(
        0.0,
        ge=0,
        le=10,
        examples=[5],
        description="for so long a service that is told to stop goes on to take requests, while /health/live "
        "and /health/ready answer 503 and each answer closes its connection: at least what a balancer needs "
        "to notice",
    )
    connections: int = Field(2_000, ge=1, description="HTTP connections at a time, then 503")
    connections_per_peer: int = Field(
        200, ge=1, description="HTTP connections of one address at a time, counted from their accept"
    )
    proxies: tuple[Network, ...] = Field(
        (),
        examples=[["10.0.0.7", "10.1.0.0/24"]],
        description="addresses and networks of proxies, whose every connection, over whatever protocol, "
        "begins with a header of the PROXY protocol (version 1 or 2): who it names is the peer for limits, "
        "log and trail; from any other address such a header is not read",
    )
    public_url: HttpUrl | None = derived(
        "URL under which others reach this service, when it is not host and port", otherwise="host and port"
    )
    host_names: tuple[Host, ...] = Field(
        (),
        examples=[["xds.hospital.example"]],
        description="further names and addresses by which this service is called, for example of a load "
        "balancer; beside these, the host of public_url, the names in the certificate and the address of the "
        "socket, a Host is refused",
    )
    trusted_origins: tuple[Origin, ...] = Field(
        (),
        examples=[["https://portal.hospital.example"]],
        description="origins (scheme://host:port) of other sites whose pages may ask here from a browser and "
        "read the answers (CORS)",
    )
    log_level: LogLevel = Field(
        LogLevel.INFO,
        description="from which level on the log tells: DEBUG (also probes of health and metrics), INFO "
        "(each answered request), WARNING or ERROR",
    )
    otlp_url: HttpUrl | None = Field(
        None,
        examples=["http://127.0.0.1:4318"],
        description="OpenTelemetry collector (OTLP over HTTP) to which a span of each answered request goes; "
        "with https by the certificates of tls; needs the extra xdsi[opentelemetry]; absent: none",
    )
    wire_folder: Path | None = Field(
        None,
        examples=["wire"],
        description="folder in which each request and answer over HTTP and MLLP is kept as files, with all "
        "that they say of patients: for development, on loopback without TLS alone",
    )
    data: Path = Field(Path("var"), description="folder of the embedded defaults")
    database_url: DatabaseUrl | None = secret(
        "URL of the database, postgresql://… in production",
        otherwise="SQLite below `XDSI_DATA`",
    )
    database_wait_seconds: Seconds = Field(
        0.0,
        ge=0,
        examples=[300],
        description="for so long a PostgreSQL that does not answer is waited for at the start; without it a "
        "service ends at once",
    )
    affinity_domain: Oid = Field(
        "1.3.6.1.4.1.21367.2005.13.20.1000", description="assigning authority of patient ids"
    )
    home_community_id: HomeCommunityId = Field(
        "urn:oid:1.3.6.1.4.1.21367.2026.10", description="homeCommunityId of this community"
    )
    xua: XuaMode | None = derived(
        "whether queries and retrievals need the assertion of a user: required, optional (checked when "
        "present) or off, on loopback only",
        otherwise="`required` with TLS, else `optional`",
        examples=["required"],
    )
    community_nodes: tuple[str, ...] = Field(
        (),
        examples=[["CN=repository,O=Hospital North"]],
        description="nodes that speak for this community and may do everything, beside our own: subject DNs "
        "(RFC 4514) or SHA-256 of certificates",
    )
    rights: RightsSettings = RightsSettings()
    nodes: Path | None = Field(
        None,
        examples=["/etc/xdsi/nodes.json"],
        description="the register of nodes, a JSON file that `xdsi node` writes and each service reads again "
        "when it was changed: which certificate is which actor of which community, and what it may do. Once "
        "a node stands in it, community_nodes, rights and community_gateways give nobody anything; absent or "
        "empty, they alone do",
    )
    registry_url: HttpUrl = Field("http://127.0.0.1:8010/xds/registry", description="where the registry is")
    registry_urls: dict[str, HttpUrl] = Field(
        default_factory=dict,
        examples=[{"ITI-18": "https://registry.example/query"}],
        description="number of a transaction (ITI-18, ITI-42, ITI-57, ITI-61) to the registry's endpoint for "
        "it, where it has several; the others go to registry_url",
    )
    repository_url: HttpUrl = Field(
        "http://127.0.0.1:8020/xds/repository", description="where the repository is"
    )
    tls: TlsSettings = TlsSettings()
    consent: ConsentSettings = ConsentSettings()
    assertion: AssertionSettings = AssertionSettings()
    token: TokenSettings = TokenSettings()
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
    def endpoint(self) -> str:
        """Where this service is reached; an assertion may name it as its audience or recipient."""
        if self.public_url:
            return self.public_url.rstrip("/")
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls.enabled else 'http'}://{host}:{self.port}"

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

    def derived_values(self) -> dict[names.Path, Any]:
        """What the settings that follow from others come to, where they are not given."""
        return {
            ("xua",): self.xua_mode,
            ("consent", "default"): self.consent_default,
            ("consent", "url"): self.consent_url,
            ("assertion", "audience"): self.audience,
            ("audit", "url"): self.audit_url,
        }

    @property
    def audit_url(self) -> str:
        """`audit.url`, or the audit repository on this machine."""
        return self.audit.url or ("tls" if self.tls.enabled else "tcp") + "://127.0.0.1:6514"

    @property
    def audit_urls(self) -> tuple[str, ...]:
        """Each of `audit_url`."""
        return syslog_urls(self.audit_url)

    def named_nodes(self, right: str) -> tuple[str, ...]:
        """The nodes that have `right` beside those of the community."""
        return tuple(getattr(self.rights, right, ()))

    @classmethod
    def load(
        cls, config: Path | None = None, environ: Mapping[str, str] | None = None, **changes: Any
    ) -> Self:
        """Read `config` (TOML), credentials and environment; `changes` win over all.

        Raises
        ------
        SettingsError
            With every mistake at once.
        """
        return loaded(cls, layers(config, environ), changes).settings

    @contextmanager
    def listening(self, setting: str = "port", port: int | None = None) -> Iterator[None]:
        """Tell by the setting's name why the host and the port, that of `setting`, cannot be listened on.

        Raises
        ------
        SettingsError
            In place of an OSError of what is done within.
        """
        try:
            yield
        except OSError as error:
            port_of_setting = getattr(self, setting) if port is None else port
            raise SettingsError((_not_heard(self, setting, port_of_setting, error),)) from None

    def problems(self) -> list[str]:
        """Contradictions between settings, each with its remedy."""
        problems = super().problems()
        tls = self.tls
        if tls.enabled and not (tls.key and tls.trust):
            problems.append(
                "XDSI_TLS__KEY and XDSI_TLS__TRUST: needed beside XDSI_TLS__CERTIFICATE; name all three"
            )
        for name in ("certificate", "key", "trust", "revocation_lists"):
            path = getattr(tls, name)
            if path is not None and not path.is_file():
                problems.append(f"XDSI_TLS__{name.upper()}: {path} is not a file; name a PEM file")
        if tls.revocation is not Revocation.OFF and tls.revocation_lists is None and not tls.ocsp:
            problems.append(
                f"XDSI_TLS__REVOCATION_LISTS: needed where XDSI_TLS__REVOCATION is {tls.revocation}; name "
                "the PEM file of the authorities' lists, or ask their responders (XDSI_TLS__OCSP)"
            )
        if tls.ocsp and tls.revocation is Revocation.OFF:
            problems.append(
                "XDSI_TLS__OCSP: nobody is asked where XDSI_TLS__REVOCATION is off; set that to soft or hard"
            )
        if not tls.enabled and not is_loopback(self.host):
            problems.append(
                f"XDSI_HOST: {self.host} is not loopback and TLS is not set up; set XDSI_TLS__CERTIFICATE, "
                "XDSI_TLS__KEY and XDSI_TLS__TRUST, or listen on 127.0.0.1"
            )
        if not tls.enabled and not is_loopback(self.public_host or "localhost"):
            problems.append(
                f"XDSI_PUBLIC_URL: {self.public_host} is not loopback and TLS is not set up: whoever a proxy "
                "in front lets in would be taken for this community; set XDSI_TLS__CERTIFICATE, "
                "XDSI_TLS__KEY and XDSI_TLS__TRUST, and let the proxy pass TLS through"
            )
        if self.wire_folder is not None and (
            tls.enabled or not all(map(is_loopback, (self.host, self.public_host or self.host)))
        ):
            problems.append(
                "XDSI_WIRE_FOLDER: keeps whole messages, with what they say of patients, and is for "
                "development on loopback without TLS alone; remove it"
            )
        if self.consent.source is ConsentSource.POLICIES:
            path = self.consent.policies
            if path is None or not path.is_file():
                problems.append(
                    f"XDSI_CONSENT__POLICIES: {path or 'nothing'} is not a file; name the JSON file of "
                    "policies, or take them from the registry (XDSI_CONSENT__SOURCE=registry)"
                )
        if self.xua is XuaMode.OFF and not is_loopback(self.host):
            problems.append("XDSI_XUA: off is for loopback only; use required")
        return problems


def _not_heard(settings: ServiceSettings, setting: str, port: int, error: OSError) -> str:
    variable = f"{PREFIX}{settings.service.upper()}{SEPARATOR}{setting.upper()}"
    host_setting = "health_host" if setting == "health_port" else "host"
    host = getattr(settings, host_setting)
    at = f"{host} port {port}"
    if error.errno == errno.EADDRINUSE:
        return f"{variable}: {at} is in use; stop what listens there, or choose another port"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"{variable}: {at} is not permitted to this user; choose a port above 1023"
    if error.errno == errno.EADDRNOTAVAIL or isinstance(error, gaierror):
        return f"{PREFIX}{host_setting.upper()}: {host} is no address of this machine; name one, or 127.0.0.1"
    return f"{variable}: {at} cannot be listened on ({error.strerror}); choose another port"
