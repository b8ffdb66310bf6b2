"""Certificates: of each file each certificate by name, and until when; keys, and whether peers would believe.

Whether the chain holds is not judged by rules of our own: both sides of a handshake are played in memory,
with the very contexts that services use.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509

from shared.security.ocsp import CertificateStatus, NoAnswerError, fetch_answer, issuer_of, responder_of
from shared.security.peer_certificate import names_of
from shared.security.tls import certificates_of, client_context, server_context
from shared.settings import ServiceSettings, SettingsError, TlsSettings, is_loopback
from xdsi.checks.finding import Finding, Severity, doubtful, well, wrong

SOON = timedelta(days=30)
_FLIGHTS = 8


def certificates(settings: ServiceSettings) -> Iterator[Finding]:
    """Those of the node, its authorities, the issuers of assertions, and the keys."""
    tls = settings.tls
    if not tls.enabled:
        yield well("certificates", "TLS", "not set up: loopback only")
    else:
        yield from _of_file("XDSI_TLS__CERTIFICATE", tls.certificate)
        yield from _of_file("XDSI_TLS__TRUST", tls.trust, any_will_do=True)
        yield from _of_key("XDSI_TLS__KEY", tls.key)
        yield from _believed(tls)
        yield from _named(settings)
        if tls.ocsp or tls.ocsp_staple:
            yield _of_responder(tls)
    for issuer, path in settings.assertion.issuers.items():
        yield from _of_file(f"XDSI_ASSERTION__ISSUERS {issuer}", path, any_will_do=True)
    yield from _of_file("XDSI_ASSERTION__CERTIFICATE", settings.assertion.certificate)
    yield from _of_key("XDSI_ASSERTION__KEY", settings.assertion.key)


def certificate_finding(
    check: str, subject: str, certificate: x509.Certificate, renew: str = "renew it"
) -> Finding:
    """Whose a certificate is, and whether it is valid now and for some time to come."""
    now = datetime.now(UTC)
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    name = certificate.subject.rfc4514_string() or "a certificate without a name"
    state = f"{name}, valid {begins:%Y-%m-%d} to {ends:%Y-%m-%d}"
    if ends <= now:
        return wrong(check, subject, f"{state}: it has expired", renew)
    if begins > now:
        return wrong(check, subject, f"{state}: it is not valid yet", "set the clock, or name another")
    if ends - now < SOON:
        return doubtful(check, subject, f"{state}: it ends in {(ends - now).days} days", renew)
    return well(check, subject, state)


def _of_file(subject: str, path: Path | None, *, any_will_do: bool = False) -> Iterator[Finding]:
    """Each certificate of a file; where any of them will do, an old one beside a good one is no error."""
    if path is None:
        return
    try:
        certificates = x509.load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError):
        yield wrong("certificates", subject, f"{path} holds no readable PEM certificate", "name a PEM file")
        return
    findings = [
        certificate_finding("certificates", subject, certificate, f"renew it in {path}")
        for certificate in certificates
    ]
    is_spare = any_will_do and any(one.severity is not Severity.ERROR for one in findings)
    for finding in findings:
        if is_spare and finding.severity is Severity.ERROR:
            yield replace(finding, severity=Severity.WARNING, remedy=f"remove it from {path}, or renew it")
        else:
            yield finding


def _of_key(subject: str, path: Path | None) -> Iterator[Finding]:
    if path is None or not path.is_file():
        return
    mode = path.stat().st_mode & 0o777
    if mode & 0o077:
        yield wrong(
            "key-is-private", subject, f"{path} can be read by others ({mode:o})", f"chmod 600 {path}"
        )
    else:
        yield well("key-is-private", subject, f"{path} is for its owner alone ({mode:o})")


def _believed(tls: TlsSettings) -> Iterator[Finding]:
    """Whether another node with the same authorities would believe this one, on either side."""
    subject = "XDSI_TLS__CERTIFICATE"
    try:
        reason = _handshake(tls)
    except SettingsError:
        return  # told by what refuses to start
    if reason:
        yield wrong(
            "certificate-chain",
            subject,
            f"nodes that trust XDSI_TLS__TRUST do not believe it: {reason}",
            "put the certificates between it and its authority behind it in its file, and the authority into "
            "XDSI_TLS__TRUST; it must be for server and client authentication",
        )
    else:
        yield well("certificate-chain", subject, "its chain leads to XDSI_TLS__TRUST")


def _of_responder(tls: TlsSettings) -> Finding:
    """What the responder of our own certificate says of it, as nodes hear that ask it (OCSP)."""
    check, subject = "certificate-ocsp", "XDSI_TLS__OCSP"
    remedy = "let it answer for the authority of XDSI_TLS__CERTIFICATE, or name another by XDSI_TLS__OCSP_URL"
    try:
        own, *above = certificates_of("XDSI_TLS__CERTIFICATE", tls.certificate or Path())
        trusted = [*certificates_of("XDSI_TLS__TRUST", tls.trust or Path()), *above]
        url = responder_of(own) or tls.ocsp_url
        if url is None:
            raise NoAnswerError("our certificate names no responder")
        answer = fetch_answer(own, issuer_of(own, trusted), url, with_nonce=True)
    except (SettingsError, NoAnswerError) as error:
        return wrong(check, subject, f"no answer about our own certificate: {error}", remedy)
    if answer.status is CertificateStatus.GOOD:
        return well(
            check, subject, f"its responder calls our certificate good until {answer.ends:%Y-%m-%d %H:%M}Z"
        )
    return wrong(check, subject, f"its responder calls our certificate {answer.status}", remedy)


def _handshake(tls: TlsSettings) -> str:
    """Why a handshake with ourselves fails; empty when it does not."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context(tls.model_copy(update={"check_host_names": False})).wrap_bio(to_client, to_server)
    server = server_context(tls).wrap_bio(to_server, to_client, server_side=True)
    waiting = [client, server]
    for _ in range(_FLIGHTS):
        for side in tuple(waiting):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLCertVerificationError as error:
                return error.verify_message
            except ssl.SSLError as error:
                return error.reason or str(error)
            waiting.remove(side)
    return "the handshake does not end" if waiting else ""


def _named(settings: ServiceSettings) -> Iterator[Finding]:
    """Whether the certificate names the hosts by which the service is called."""
    called = {settings.public_host, settings.host} - {"", "0.0.0.0", "::"}  # noqa: S104  # looked for
    hosts = sorted(host for host in called if not is_loopback(host))
    try:
        names = names_of(settings.tls.certificate) if settings.tls.certificate else frozenset()
    except (OSError, ValueError):
        return
    for host in hosts:
        if host in names or any(_matches(host, name) for name in names):
            yield well("certificate-name", "XDSI_TLS__CERTIFICATE", f"names {host}")
        else:
            yield doubtful(
                "certificate-name",
                "XDSI_TLS__CERTIFICATE",
                f"does not name {host}, by which this service is called: browsers, and peers that check host "
                "names, refuse it",
                f"have one made with the SubjectAlternativeName {host}",
            )


def _matches(host: str, name: str) -> bool:
    return name.startswith("*.") and host.partition(".")[2] == name[2:]
