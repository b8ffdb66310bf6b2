"""Those whom a service asks: reached with its own certificate, believed as it believes them, their clocks.

A peer that is a service of this very installation and does not run is no fault: it is told with its port.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from socket import gaierror
from typing import Any
from urllib.parse import urlsplit

import httpx2
from cryptography import x509

from audit_repository.background.relay import RELAY, relay_destinations
from audit_repository.settings import AuditRepositorySettings
from shared.audit.connection import ConnectionEnded, opened, reason_of
from shared.audit.delivery import AuditDestination, destinations
from shared.http.client import http_client
from shared.security import own_registry
from shared.security.certificate_check import Known
from shared.security.rights import NodeList
from shared.settings import ConsentSource, ServiceSettings, SettingsError, is_loopback
from xdsi.checks.certificates import certificate_finding
from xdsi.checks.finding import Finding, Severity, well, wrong
from xdsi.services import Service

ANSWER_SECONDS = 6.0
#: A receiver that does not take us ends the connection within a round trip.
_TAKEN_SECONDS = 0.5
_SOURCE_SECONDS = 1.0
_CUT = (httpx2.ReadError, httpx2.WriteError, httpx2.RemoteProtocolError)
_PORTS = {"http": 80, "https": 443, "tls": 6514, "tcp": 6514}


@dataclass(frozen=True, slots=True)
class Peer:
    """An endpoint that a service asks, and the setting that names it."""

    setting: str
    url: str
    known: Known | None = field(default=None, compare=False)


Address = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Installation:
    """Our own services that do not run, by their addresses, and whether others of them do."""

    idle: Mapping[Address, Service]
    runs: bool

    def at(self, setting: str, url: str) -> Finding | None:
        """What is to be said of a peer that is one of our own and does not run; None when it is not."""
        service = self.idle.get(_address(url))
        if service is None:
            return None
        if not self.runs:
            return well("peer", setting, f"{url}: the {service} of this installation; nothing runs yet")
        return wrong(
            "peer",
            setting,
            f"{url}: the {service} of this installation does not run, though other services do",
            f"start it (xdsi serve {service}); its log tells why it ended",
        )


def peers(service: Service, settings: Any) -> Iterator[Peer]:
    """Whom the service asks, by its settings."""
    if service in (Service.REGISTRY, Service.AUDIT_REPOSITORY, Service.IDENTITY, Service.CONFORMANCE):
        return
    community = own_registry.known(settings)
    yield Peer("XDSI_REGISTRY_URL", settings.registry_url, community.get(settings.registry_url))
    for number, url in settings.registry_urls.items():
        yield Peer(f"XDSI_REGISTRY_URLS {number}", url)
    if service is not Service.REPOSITORY:
        yield Peer("XDSI_REPOSITORY_URL", settings.repository_url)
    if service is not Service.IMAGING_SOURCE:
        yield Peer("XDSI_IMAGING_SOURCE_URL", settings.imaging_source_url)
    if settings.consent.url and service in (Service.REPOSITORY, Service.IMAGING_SOURCE):
        yield Peer("XDSI_CONSENT__URL", settings.consent.url, community.get(settings.consent.url))
    if getattr(settings, "gateway_url", None):
        yield Peer("XDSI_GATEWAY_URL", settings.gateway_url)
    for name in ("repositories", "imaging_sources"):
        for uid, url in getattr(settings, name, {}).items():
            yield Peer(f"XDSI_{name.upper()} {uid}", url)
    for url in getattr(settings, "dicomweb_peers", ()):
        yield Peer("XDSI_DICOMWEB_PEERS", url)
    yield from _communities(settings)


def _communities(settings: Any) -> Iterator[Peer]:
    for home, urls in getattr(settings, "gateways", {}).items():
        entry = settings.responding_gateways.get(home)
        known = NodeList((entry,), "XDSI_RESPONDING_GATEWAYS").__contains__ if entry else None
        for url in dict.fromkeys(urls.values()):
            yield Peer(f"XDSI_COMMUNITIES {home}", url, known)


async def asked(settings: ServiceSettings, peer: Peer, own: Installation) -> list[Finding]:
    """What comes of asking a peer."""
    if finding := own.at(peer.setting, peer.url):
        return [finding]
    if urlsplit(peer.url).scheme == "https" and not settings.tls.enabled:
        return [
            wrong(
                "peer",
                peer.setting,
                f"{peer.url} is https, and this node has no certificate to show there",
                "set XDSI_TLS__CERTIFICATE, XDSI_TLS__KEY and XDSI_TLS__TRUST",
            )
        ]
    if (
        urlsplit(peer.url).scheme == "http"
        and settings.tls.enabled
        and not is_loopback(_address(peer.url)[0])
    ):
        return [
            wrong(
                "peer",
                peer.setting,
                f"{peer.url} is http: messages, with what they say of patients, go there in clear",
                "name it as https://…",
            )
        ]
    return await _answered(settings, peer)


async def _answered(settings: ServiceSettings, peer: Peer) -> list[Finding]:
    known = {} if peer.known is None else {peer.url: peer.known}
    try:
        async with http_client(
            settings.tls, peers=(peer.url,), known=known, timeout_seconds=ANSWER_SECONDS
        ) as http:
            before = datetime.now(UTC)
            response = await http.get(peer.url, params=[("wsdl", "")])
            after = datetime.now(UTC)
    except SettingsError:
        return []  # our own certificate cannot be used, which is told elsewhere
    except (httpx2.HTTPError, OSError) as error:
        return [_unanswered(peer, error)]
    findings = [well("peer", peer.setting, f"{peer.url} answers")]
    findings += _certificate(peer, response)
    findings += _clock(settings, peer, response.headers.get("date", ""), before, after)
    return findings


def _unanswered(peer: Peer, error: BaseException) -> Finding:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return wrong(
                "peer-certificate",
                peer.setting,
                f"{peer.url} is not believed: {reason_of(cause)}",
                "put its authority into XDSI_TLS__TRUST, or name its node in XDSI_COMMUNITY_NODES or "
                "XDSI_RESPONDING_GATEWAYS; one that has expired is to be renewed there",
            )
        if isinstance(cause, ssl.SSLError):
            return _not_taken(peer, str(cause.reason or cause))
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, _CUT) and urlsplit(peer.url).scheme == "https":
        # With TLS 1.3 a server that does not believe us says so after our side of the handshake has ended.
        return _not_taken(peer, "it ends the connection")
    state = f"{peer.url} does not answer ({_why(error)})"
    return wrong("peer", peer.setting, state, f"start it, or correct {peer.setting}")


def _why(error: BaseException) -> str:
    """In the system's words, which stand below those of the client."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, gaierror):
            return "its host is not known"
        if isinstance(cause, OSError) and cause.errno:
            return os.strerror(cause.errno)
        cause = cause.__cause__ or cause.__context__
    return str(error) or "no answer in time"


def _not_taken(peer: Peer, why: str) -> Finding:
    return wrong(
        "peer-certificate",
        peer.setting,
        f"{peer.url}: no handshake ({why}): it may not take our certificate",
        "put our authority into the trust of that node; see that it speaks TLS 1.2 or later",
    )


def _certificate(peer: Peer, response: httpx2.Response) -> Iterator[Finding]:
    stream = response.extensions.get("network_stream")
    tls = stream.get_extra_info("ssl_object") if stream is not None else None
    der = tls.getpeercert(binary_form=True) if tls is not None else None
    if der:
        yield from _of_peer(peer.setting, peer.url, der)


def _of_peer(subject: str, url: str, der: bytes) -> Iterator[Finding]:
    """What is wrong with the certificate that a peer shows."""
    finding = certificate_finding(
        "peer-certificate", subject, x509.load_der_x509_certificate(der), f"have it renewed at {url}"
    )
    if finding.severity is not Severity.OK:
        yield finding


def _clock(
    settings: ServiceSettings, peer: Peer, date: str, before: datetime, after: datetime
) -> Iterator[Finding]:
    """The peer's clock against ours, to the second in which it answered."""
    try:
        theirs = parsedate_to_datetime(date)
    except ValueError:
        return
    ahead = (theirs - after).total_seconds()
    behind = (before - theirs).total_seconds() - _SOURCE_SECONDS
    difference = max(ahead, behind)
    if difference > settings.assertion.skew_seconds:
        word = "ahead of" if ahead > behind else "behind"
        yield wrong(
            "clock",
            peer.setting,
            f"the clock of {peer.url} is {difference:.0f} s {word} ours, more than "
            f"XDSI_ASSERTION__SKEW_SECONDS ({settings.assertion.skew_seconds:g} s): assertions are refused",
            "set the clock that is wrong; use NTP on both (ITI-1)",
        )


# --- what is more than an answer ---------------------------------------------------------------------


async def policies(service: Service, settings: ServiceSettings, own: Installation) -> list[Finding]:
    """Whether the registry hands out policies to this node, without which all is refused."""
    asks = service in (Service.REPOSITORY, Service.IMAGING_SOURCE)
    if not asks or settings.consent.source is not ConsentSource.REGISTRY:
        return []
    url = settings.consent_url
    if own.at("", url):
        return []
    subject = "XDSI_CONSENT__URL" if settings.consent.url else "XDSI_REGISTRY_URL"
    nobody = f"xdsi-doctor^^^&{settings.affinity_domain}&ISO"
    try:
        async with http_client(
            settings.tls, peers=(url,), known=own_registry.known(settings), timeout_seconds=ANSWER_SECONDS
        ) as http:
            await own_registry.ask(http, url, "/consent/policies", {"patient_id": nobody})
    except own_registry.NoAnswer as error:
        if not any(code in str(error) for code in ("401", "403")):
            return []  # nobody's policies are not there
        return [
            wrong(
                "policies",
                subject,
                f"{url} hands out no policies to this node ({error}): every retrieval is refused",
                "name this node at the registry, in XDSI_COMMUNITY_NODES or XDSI_RIGHTS__POLICIES",
                service,
            )
        ]
    except (httpx2.HTTPError, OSError, SettingsError):
        return []  # told as a peer that does not answer
    return [well("policies", subject, f"{url} hands out policies to this node", service)]


async def trail(service: Service, settings: ServiceSettings, own: Installation) -> list[Finding]:
    """Whether each audit repository, and each further receiver of the trail, takes a connection of ours."""
    try:
        if isinstance(settings, AuditRepositorySettings):
            subject, to = RELAY, relay_destinations(settings)
        else:
            subject, to = "XDSI_AUDIT__URL", destinations(settings)
    except SettingsError:
        return []  # told by what refuses to start
    return [finding for one in to for finding in await _taken(subject, one, own)]


async def _taken(subject: str, to: AuditDestination, own: Installation) -> list[Finding]:
    url = to.url
    if finding := own.at(subject, url):
        return [finding]
    try:
        async with asyncio.timeout(ANSWER_SECONDS), opened(to.host, to.port, to.tls) as connection:
            await connection.quiet(_TAKEN_SECONDS)
            certificate = connection.peer_certificate
    except ConnectionEnded as error:
        return [
            wrong(
                "audit",
                subject,
                f"{url} ends the connection of this node ({error})",
                "put our authority into the trust of the audit repository, and name this node in its "
                "XDSI_RIGHTS__RECORD or XDSI_COMMUNITY_NODES",
            )
        ]
    except (OSError, TimeoutError) as error:
        return [_unanswered(Peer(subject, url), error)]
    findings = [well("audit", subject, f"{url} takes a connection of this node")]
    if certificate:
        findings += _of_peer(subject, url, certificate)
    return findings


def _address(url: str) -> Address:
    parts = urlsplit(url)
    port = parts.port or _PORTS.get(parts.scheme, 0)
    return address(parts.hostname or "", port)


def address(host: str, port: int) -> Address:
    """The address, all names of this machine alone being one."""
    return ("127.0.0.1" if is_loopback(host) else host.lower(), port)
