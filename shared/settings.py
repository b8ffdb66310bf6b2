"""Settings: environment and TOML file to one frozen value, all mistakes at once.

Sources, strongest first: `XDSI_<SERVICE>__NAME`, `XDSI_NAME`, the same names as systemd credentials, the
file's `[<service>]` table, the file's top level, the default. A secret may stand in a file of its own, which
`NAME__FILE` names. Nothing else in the product reads the environment. `docs/settings.md` is printed from
these classes.
"""

from __future__ import annotations

import errno
import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from enum import StrEnum
from functools import lru_cache
from ipaddress import ip_address
from pathlib import Path
from socket import gaierror
from typing import Annotated, Any, ClassVar, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

PREFIX = "XDSI_"
_ORIGIN = re.compile(r"https?://[^/?#@\s]+/?")
SEPARATOR = "__"
_SHOWN = 80


class SettingsError(Exception):
    """The settings cannot be used; each line names one setting, what is wrong and what would be right."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def _http_url(text: str) -> str:
    with suppress(ValueError):
        parts = urlsplit(text)
        if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0:
            return text
    raise ValueError("is no URL; write http://host:port/path or https://host:port/path")


HttpUrl = Annotated[str, AfterValidator(_http_url)]


def _database_url(text: str) -> str:
    if not text.startswith(("postgresql://", "postgresql+asyncpg://", "sqlite:///")):
        raise ValueError("is no URL of a database; write postgresql://user@host/name or sqlite:///path")
    with suppress(ValueError):
        if urlsplit(text).port != 0:
            return text
    raise ValueError("has no port that can be; write postgresql://user@host:5432/name")


#: What is shown in place of a secret.
HIDDEN = "***"


def secret(description: str, *, default: Any = None) -> Any:
    """A setting that is never shown, and may stand in a file of its own."""
    return Field(default, description=description, json_schema_extra={"secret": True})


def is_secret(settings_class: type[BaseModel], name: str) -> bool:
    """Whether the setting `name` of the class is made by `secret`."""
    field = settings_class.model_fields.get(name)
    return field is not None and field.json_schema_extra == {"secret": True}


class _Hiding(BaseModel):
    """Settings which show no secret, however they are printed."""

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        for name, value in super().__repr_args__():
            yield name, HIDDEN if name and value and is_secret(type(self), name) else value


class Group(_Hiding):
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
    url: HttpUrl | None = Field(
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


class ServiceSettings(_Hiding):
    """What every service is told; a service adds its own."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    service: ClassVar[str] = ""

    host: str = Field("127.0.0.1", description="address to listen on; anything but loopback needs TLS")
    port: int = Field(0, ge=0, le=65535, description="port to listen on; 0 takes a free one")
    connections: int = Field(2_000, ge=1, description="HTTP connections at a time, then 503")
    connections_per_peer: int = Field(
        200, ge=1, description="HTTP connections of one address at a time, counted from their accept"
    )
    public_url: HttpUrl | None = Field(
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
    log_level: LogLevel = Field(
        LogLevel.INFO,
        description="from which level on the log tells: DEBUG (also probes of health and metrics), INFO "
        "(each answered request), WARNING or ERROR",
    )
    wire_folder: Path | None = Field(
        None,
        description="folder in which each request and answer over HTTP and MLLP is kept as files, with all "
        "that they say of patients: for development, on loopback without TLS alone",
    )
    data: Path = Field(Path("var"), description="folder of the embedded defaults")
    database_url: Annotated[str, AfterValidator(_database_url)] | None = secret(
        "SQLAlchemy URL; SQLite below the data folder when absent, postgresql://… in production"
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
    registry_url: HttpUrl = Field("http://127.0.0.1:8010/xds/registry", description="where the registry is")
    registry_urls: dict[str, HttpUrl] = Field(
        default_factory=dict,
        description="number of a transaction (ITI-18, ITI-42, ITI-57, ITI-61) to the registry's endpoint for "
        "it, where it has several; the others go to registry_url",
    )
    repository_url: HttpUrl = Field(
        "http://127.0.0.1:8020/xds/repository", description="where the repository is"
    )
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
        merged: dict[str, Any] = {}
        for source in (_file(config), nested(_credentials(environment)), nested(environment)):
            own = source.get(cls.service, {})
            if not isinstance(own, Mapping):
                raise SettingsError((f"{PREFIX}{cls.service.upper()}: is no setting but a table of them",))
            _merge(merged, source)
            _merge(merged, own)
        _merge(merged, changes)
        unread = list(_take_from_files(cls, merged, PREFIX))
        try:
            settings = cls.model_validate(merged)
        except ValidationError as error:
            wrong = (_problem(cls, detail) for detail in error.errors())
            raise SettingsError((*unread, *wrong)) from None
        if problems := (*unread, *settings.problems()):
            raise SettingsError(problems)
        return settings

    @contextmanager
    def listening(self, setting: str = "port", port: int | None = None) -> Iterator[None]:
        """Tell by the setting's name why `host` and the port, that of `setting`, cannot be listened on.

        Raises
        ------
        SettingsError
            In place of an OSError of what is done within.
        """
        try:
            yield
        except OSError as error:
            wanted = getattr(self, setting) if port is None else port
            raise SettingsError((_not_heard(self, setting, wanted, error),)) from None

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
        if self.wire_folder is not None and (
            tls.enabled or not all(map(is_loopback, (self.host, self.public_host or self.host)))
        ):
            found.append(
                "XDSI_WIRE_FOLDER: keeps whole messages, with what they say of patients, and is for "
                "development on loopback without TLS alone; remove it"
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


def _not_heard(settings: ServiceSettings, setting: str, port: int, error: OSError) -> str:
    variable = f"{PREFIX}{settings.service.upper()}{SEPARATOR}{setting.upper()}"
    at = f"{settings.host} port {port}"
    if error.errno == errno.EADDRINUSE:
        return f"{variable}: {at} is in use; stop what listens there, or choose another port"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"{variable}: {at} is not permitted to this user; choose a port above 1023"
    if error.errno == errno.EADDRNOTAVAIL or isinstance(error, gaierror):
        return f"{PREFIX}HOST: {settings.host} is no address of this machine; name one, or 127.0.0.1"
    return f"{variable}: {at} cannot be listened on ({error.strerror}); choose another port"


def nested(environ: Mapping[str, str]) -> dict[str, Any]:
    """`XDSI_TLS__KEY=x` as `{"tls": {"key": "x"}}`; JSON lists and tables are read as such.

    Raises
    ------
    SettingsError
        A value is no JSON though it begins so, or a name is given a value beside the values below it.
    """
    found: dict[str, Any] = {}
    problems = []
    for name, value in sorted(environ.items()):
        if not name.startswith(PREFIX):
            continue
        place = found
        *groups, last = name.removeprefix(PREFIX).lower().split(SEPARATOR)
        for group in groups:
            inner = place.setdefault(group, {})
            if not isinstance(inner, dict):
                problems.append(f"{name}: stands beside a value of {_above(name)}; give one of the two")
                inner = {}
            place = inner
        try:
            place[last] = json.loads(value) if value.startswith(("[", "{")) else value
        except (ValueError, RecursionError):
            problems.append(
                f'{name}: begins as JSON and is none; write a list as ["a", "b"], a table as {{"a": "b"}}'
            )
    if problems:
        raise SettingsError(tuple(problems))
    return found


def _above(name: str) -> str:
    return name.rpartition(SEPARATOR)[0]


def _file(config: Path | None) -> dict[str, Any]:
    """The table in a TOML file."""
    if config is None:
        return {}
    try:
        return tomllib.loads(config.read_text("utf-8"))
    except OSError as error:
        why = f"cannot be read ({error.strerror}); name a TOML file"
    except UnicodeDecodeError:
        why = "is not in UTF-8; write it so"
    except tomllib.TOMLDecodeError as error:
        why = f'is no TOML: {error}; a setting is written name = "value"'
    except RecursionError:
        why = "is nested too deep"
    raise SettingsError((f"--config: {config} {why}",))


def _credentials(environ: Mapping[str, str]) -> dict[str, str]:
    """The credentials that systemd gives this service, of those that are named as settings are."""
    folder = environ.get("CREDENTIALS_DIRECTORY")
    if not folder:
        return {}
    try:
        files = [path for path in Path(folder).iterdir() if path.name.upper().startswith(PREFIX)]
        return {path.name.upper(): _content(path) for path in files}
    except (OSError, ValueError) as error:
        raise SettingsError((f"CREDENTIALS_DIRECTORY: {folder} cannot be read ({_why(error)})",)) from None


def _take_from_files(settings_class: type[BaseModel], table: dict[str, Any], prefix: str) -> Iterator[str]:
    """Put into `table` what `NAME__FILE` leads to, for each secret; what is wrong."""
    for name, field in settings_class.model_fields.items():
        value = table.get(name)
        if not isinstance(value, dict):
            continue
        group = field.annotation
        if isinstance(group, type) and issubclass(group, BaseModel):
            yield from _take_from_files(group, value, f"{prefix}{name.upper()}{SEPARATOR}")
        elif is_secret(settings_class, name):
            table.pop(name)
            variable = f"{prefix}{name.upper()}{SEPARATOR}FILE"
            if list(value) != ["file"]:
                yield f"{variable}: name a file here, and nothing else below it"
                continue
            try:
                if not (content := _content(Path(str(value["file"])))):
                    raise ValueError("it is empty")
                table |= nested({f"{PREFIX}{name.upper()}": content})
            except SettingsError:
                yield f"{variable}: what the file holds begins as JSON and is none"
            except (OSError, ValueError) as error:
                yield f"{variable}: {value['file']} cannot be read ({_why(error)}); name another file"


def _content(path: Path) -> str:
    return path.read_text("utf-8").rstrip("\r\n")


def _why(error: OSError | ValueError) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "not in UTF-8"
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _merge(base: dict[str, Any], layer: Mapping[str, Any]) -> None:
    for name, value in layer.items():
        if isinstance(value, Mapping) and isinstance(base.get(name), dict):
            _merge(base[name], value)
        else:
            base[name] = dict(value) if isinstance(value, Mapping) else value


def _problem(settings_class: type[BaseModel], detail: Any) -> str:
    place = [str(part) for part in detail["loc"]]
    name = PREFIX + SEPARATOR.join(part.upper() for part in place)
    if detail["type"] == "extra_forbidden":
        return f"{name}: {detail['msg']}"
    if detail["type"] == "model_type":
        return f"{name}: is a group of settings; give those below it, {name}{SEPARATOR}…"
    told = detail["msg"].removeprefix("Value error, ").removeprefix("Input ")
    holder: Any = settings_class
    for part in place[:-1]:
        field = holder.model_fields.get(part)
        if field is None or is_secret(holder, part):
            break
        if not (isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)):
            break
        holder = field.annotation
    given = HIDDEN if any(is_secret(holder, part) for part in place) else _short(detail["input"])
    return f"{name}: {given} {told}"


def _short(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}…"
