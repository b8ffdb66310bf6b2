"""The kinds of values that settings have: each says how it is written, and refuses what it is not.

The words of a refusal go on from the value: `'rubbish' is no URL; write http://…`.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field

from shared.settings.loopback import is_loopback

_OID = re.compile(r"(?:[01]\.(?:[0-9]|[1-3][0-9])|2\.(?:0|[1-9][0-9]*))(?:\.(?:0|[1-9][0-9]*))*")
_MAX_OID = 64
_ORIGIN = re.compile(r"https?://[^/?#@\s]+/?")
_HOST_NAME = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,62})(?:\.[A-Za-z0-9_-]{1,63})*\.?")
_CODE = re.compile(r"[^\s^][^^]*\^\^[^\s^][^^]*")
_ABSOLUTE_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[^\s<>\"{}|\\^`]+")
_AE_TITLE = re.compile(r"(?! )[ -\[\]-~]{1,16}(?<! )")
_SYSLOG_TLS_PORT = 6514


@dataclass(frozen=True, slots=True)
class Spelling:
    """How values of a kind are written: an example, and the unit of a number."""

    example: str
    unit: str = ""


def http_url(text: str) -> str:
    """`text`, which is an absolute http or https URL; raises ValueError when it is not."""
    with suppress(ValueError):
        parts = urlsplit(text)
        if (
            parts.scheme in ("http", "https")
            and parts.hostname
            and parts.port != 0
            and not re.search(r"\s", text)
        ):
            return text
    raise ValueError("is no URL; write http://host:port/path or https://host:port/path")


def is_http_url(text: str) -> bool:
    """Whether `text` is an absolute http or https URL."""
    with suppress(ValueError):
        return bool(http_url(text))
    return False


def _origin(text: str) -> str:
    if not _ORIGIN.fullmatch(text):
        raise ValueError("is no origin; write scheme://host or scheme://host:port")
    return http_url(text)


def _database_url(text: str) -> str:
    if not text.startswith(("postgresql://", "postgresql+asyncpg://", "sqlite:///")):
        raise ValueError("is no URL of a database; write postgresql://user@host/name or sqlite:///path")
    with suppress(ValueError):
        if urlsplit(text).port != 0:
            return text
    raise ValueError("has no port that can be; write postgresql://user@host:5432/name")


def _storage_url(text: str) -> str:
    with suppress(ValueError):
        parts = urlsplit(text)
        if parts.scheme == "file" and not parts.netloc and parts.path not in ("", "/"):
            return text
        if parts.scheme == "s3" and parts.netloc:
            return text
    raise ValueError("is neither file:///folder nor s3://bucket/prefix; write one of these forms")


def syslog_address(text: str) -> tuple[str, str, int]:
    """Scheme, host and port of `tls://host:port` or `tcp://127.0.0.1:port`; raises ValueError for others."""
    with suppress(ValueError):
        parts = urlsplit(text)
        host, port = parts.hostname or "", _SYSLOG_TLS_PORT if parts.port is None else parts.port
        if port and ((parts.scheme == "tls" and host) or (parts.scheme == "tcp" and is_loopback(host))):
            return parts.scheme, host, port
    raise ValueError("cannot be used; write tls://host:6514, or tcp://127.0.0.1:6514 on one machine")


def relay_address(text: str) -> tuple[str, str, int]:
    """As `syslog_address`, or of `udp://host:port`; raises ValueError for others."""
    with suppress(ValueError):
        parts = urlsplit(text)
        if parts.scheme == "udp" and parts.hostname and parts.port:
            return parts.scheme, parts.hostname, parts.port
    with suppress(ValueError):
        return syslog_address(text)
    raise ValueError("cannot be used; write tls://host:6514, udp://host:514, or tcp://127.0.0.1:6514")


def _relay_url(text: str) -> str:
    relay_address(text)
    return text


def syslog_urls(text: str) -> tuple[str, ...]:
    """The URLs that `text` lists, separated by commas; raises ValueError for what is no such list."""
    urls = tuple(filter(None, map(str.strip, text.split(","))))
    addresses = [syslog_address(url)[1:] for url in urls]
    if not urls or len(set(addresses)) < len(addresses):
        raise ValueError("names one audit repository twice, or none; write tls://host:6514,tls://other:6514")
    return urls


def _joined(value: object) -> object:
    """A list of a file as the environment would give it."""
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else value


def _syslog_urls(text: str) -> str:
    return ",".join(syslog_urls(text))


def is_oid(text: str) -> bool:
    """Whether `text` is an OID of at most 64 characters, which a UID of DICOM is too (PS3.5 9.1)."""
    return len(text) <= _MAX_OID and _OID.fullmatch(text) is not None


def _oid(text: str) -> str:
    if is_oid(text):
        return text
    raise ValueError(
        "is no OID; write at most 64 digits and dots, without leading zeros, for example 2.999.1.2"
    )


def _oid_or_nothing(text: str) -> str:
    return text and _oid(text)


def _home_community_id(text: str) -> str:
    if text.startswith("urn:oid:") and is_oid(text.removeprefix("urn:oid:")):
        return text
    raise ValueError("is no homeCommunityId; write urn:oid: and an OID, for example urn:oid:2.999.1.2")


def _uri(text: str) -> str:
    if _ABSOLUTE_URI.fullmatch(text):
        return text
    raise ValueError("is no URI; write it with its scheme, for example urn:oid:2.999.1 or https://host/name")


def _issuer(text: str) -> str:
    if text and text == text.strip() and text.isprintable():
        return text
    raise ValueError("is no issuer; write what its assertions have as saml:Issuer, in one line")


def _host(text: str) -> str:
    with suppress(ValueError):
        ip_address(text)
        return text
    # What looks like an address and is none is no name either.
    if _HOST_NAME.fullmatch(text) and not re.fullmatch(r"[0-9.]+", text):
        return text
    raise ValueError("is no host; write an address, 127.0.0.1 or ::1, or a name, without scheme and port")


def site_url(text: str) -> str:
    """`text`, which is an https URL, or one of http on this machine; raises ValueError when it is not."""
    with suppress(ValueError):
        parts = urlsplit(http_url(text))
        if parts.scheme == "https" or is_loopback(parts.hostname or ""):
            return text
    raise ValueError("is no https URL; write https://host/path (http on this machine alone)")


def _key_set_place(text: str) -> str:
    return text if "://" not in text else site_url(text)


def _network(text: str) -> str:
    with suppress(ValueError):
        return str(ip_network(text, strict=False))
    raise ValueError("is no address or network; write 10.0.0.7, 10.0.0.0/24 or 2001:db8::/64")


def ae_title(text: str) -> str:
    """`text`, which is an AE title (PS3.5 6.2); raises ValueError when it is not."""
    if _AE_TITLE.fullmatch(text):
        return text
    raise ValueError(
        r"is no AE title; write 1 to 16 characters of ASCII, none of them \, without blanks at the ends"
    )


def _code(text: str) -> str:
    if _CODE.fullmatch(text):
        return text
    raise ValueError("is no code; write code^^scheme, for example 106289002^^2.16.840.1.113883.6.96")


HttpUrl = Annotated[str, AfterValidator(http_url), Spelling("https://host.example:8443/path")]
Origin = Annotated[str, AfterValidator(_origin), Spelling("https://host.example:8443")]
DatabaseUrl = Annotated[str, AfterValidator(_database_url), Spelling("postgresql://xdsi@db.example/xdsi")]
StorageUrl = Annotated[str, AfterValidator(_storage_url), Spelling("s3://bucket/prefix")]
#: One, or several separated by commas.
SyslogUrls = Annotated[
    str, BeforeValidator(_joined), AfterValidator(_syslog_urls), Spelling("tls://audit.example:6514")
]
RelayUrl = Annotated[str, AfterValidator(_relay_url), Spelling("tls://siem.example:6514")]
Oid = Annotated[str, AfterValidator(_oid), Spelling("2.999.1.2")]
#: An OID, or nothing.
OptionalOid = Annotated[str, AfterValidator(_oid_or_nothing), Spelling("2.999.1.2")]
HomeCommunityId = Annotated[str, AfterValidator(_home_community_id), Spelling("urn:oid:2.999.1.2")]
Uri = Annotated[str, AfterValidator(_uri), Spelling("urn:oid:2.999.1.2")]
#: As it stands in assertions: a URI as a rule, and a DN in the field.
Issuer = Annotated[str, AfterValidator(_issuer), Spelling("urn:oid:2.999.1.5")]
#: Of a site that nobody on the way may play.
SiteUrl = Annotated[str, AfterValidator(site_url), Spelling("https://login.example")]
#: A file, or where an issuer shows its keys.
KeySetPlace = Annotated[str, AfterValidator(_key_set_place), Spelling("https://login.example/jwks")]
Host = Annotated[str, AfterValidator(_host), Spelling("127.0.0.1")]
#: An address, or the network that it is of.
Network = Annotated[str, AfterValidator(_network), Spelling("10.0.0.0/24")]
AeTitle = Annotated[str, AfterValidator(ae_title), Spelling("HOSPITAL_PACS")]
CodeWithScheme = Annotated[str, AfterValidator(_code), Spelling("106289002^^2.16.840.1.113883.6.96")]
Port = Annotated[int, Field(ge=0, le=65535), Spelling("8443")]
Bytes = Annotated[int, Spelling("1048576", "bytes")]
Seconds = Annotated[float, Field(allow_inf_nan=False), Spelling("30", "s")]
Days = Annotated[float, Field(allow_inf_nan=False), Spelling("7", "days")]
