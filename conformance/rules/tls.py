"""A TLS endpoint as a node of IHE offers it (ITI TF-2 3.19; BCP 195): what it takes, and what it shows."""

from __future__ import annotations

import socket
import ssl
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from conformance.findings import Finding
from conformance.requirements import finding

_SECONDS: Final = 5.0
_SOON: Final = timedelta(days=30)
_OLD: Final = (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1)
_WEAK: Final = "RC4:3DES:aNULL:eNULL:EXPORT:@SECLEVEL=0"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where to connect."""

    host: str
    port: int

    @classmethod
    def of(cls, url: str) -> Endpoint | None:
        """Read `tls://host:port`; None when it is none."""
        address = url.removeprefix("tls://").rstrip("/")
        host, _, port = address.rpartition(":")
        if not url.startswith("tls://") or not host or not port.isdigit() or int(port) > 65535:
            return None
        return cls(host.strip("[]"), int(port))


def endpoint(at: Endpoint) -> Iterator[Finding]:
    """Everything that is wrong with an endpoint; some connections are made, and nothing is sent."""
    place = f"{at.host}:{at.port}"
    try:
        with socket.create_connection((at.host, at.port), _SECONDS):
            pass
    except OSError as error:
        yield finding("TLS-001", place, f"no connection ({error.strerror or type(error).__name__})")
        return
    shown = _Handshake.of(at, _context())
    if shown.certificate is None and shown.asks_for_certificate:
        # With TLS 1.2 whoever demands a certificate ends the handshake, and what it showed is not kept.
        yield finding("TLS-013", place, "it ends the handshake of who has no certificate", shown.reason)
        return
    if shown.certificate is None:
        yield finding("TLS-002", place, f"no handshake of TLS 1.2 or 1.3 ({shown.reason})")
        return
    for version in _OLD:
        if _Handshake.of(at, _context(version, version, "ALL:@SECLEVEL=0")).is_done:
            yield finding("TLS-003", place, "an old version is taken", version.name)
    weak = _context(ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2, _WEAK)
    if _Handshake.of(at, weak).is_done:
        yield finding("TLS-004", place, "a cipher suite is taken that is weak")
    if not shown.asks_for_certificate:
        yield finding("TLS-005", place, "who connects without certificate is let in")
    yield from certificate(x509.load_der_x509_certificate(shown.certificate), at.host, place)


def certificate(shown: x509.Certificate, host: str, place: str) -> Iterator[Finding]:
    """The certificate that a node shows."""
    now = datetime.now(UTC)
    if not shown.not_valid_before_utc <= now <= shown.not_valid_after_utc:
        yield finding("TLS-006", place, "not valid now", f"until {shown.not_valid_after_utc:%Y-%m-%d}")
    elif shown.not_valid_after_utc - now < _SOON:
        yield finding("TLS-007", place, "it ends soon", f"{shown.not_valid_after_utc:%Y-%m-%d}")
    key = shown.public_key()
    if (isinstance(key, rsa.RSAPublicKey) and key.key_size < 2048) or (
        isinstance(key, ec.EllipticCurvePublicKey) and key.key_size < 256
    ):
        yield finding("TLS-008", place, "a short key", key.key_size)
    digest = shown.signature_hash_algorithm
    if digest is not None and digest.name in ("md5", "sha1"):
        yield finding("TLS-009", place, "a weak signature", digest.name)
    names = _names(shown)
    if not names:
        yield finding("TLS-010", place, "no subjectAltName")
    elif host not in names and not any(
        name.startswith("*.") and host.partition(".")[2] == name[2:] for name in names
    ):
        yield finding("TLS-011", place, "another name than it is called by", " ".join(sorted(names)))
    try:
        usage = shown.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return
    if ExtendedKeyUsageOID.SERVER_AUTH not in usage:
        yield finding("TLS-012", place, "a certificate that is not for servers")


def _names(shown: x509.Certificate) -> set[str]:
    try:
        names = shown.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return set()
    return {
        *names.get_values_for_type(x509.DNSName),
        *map(str, names.get_values_for_type(x509.IPAddress)),
    }


def _context(
    least: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2,
    most: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
    ciphers: str = "",
) -> ssl.SSLContext:
    """A context that takes whatever certificate there is: it is looked at, and nothing is sent."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if ciphers:
        context.set_ciphers(ciphers)
    with warnings.catch_warnings():
        # Old versions are what is looked for.
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version, context.maximum_version = least, most
    return context


@dataclass(frozen=True, slots=True)
class _Handshake:
    """What came of one: the certificate that was shown, if any, and whether ours was asked for."""

    certificate: bytes | None
    asks_for_certificate: bool
    reason: str = ""
    is_done: bool = False

    @classmethod
    def of(cls, at: Endpoint, context: ssl.SSLContext) -> _Handshake:
        plain: socket.socket | None = None
        try:
            plain = socket.create_connection((at.host, at.port), _SECONDS)
            with context.wrap_socket(plain, server_hostname=at.host) as secure:
                return cls(secure.getpeercert(binary_form=True), _is_refused(secure), is_done=True)
        except ssl.SSLError as error:
            reason = error.reason or type(error).__name__
            return cls(None, "HANDSHAKE_FAILURE" in reason, reason)
        except OSError as error:
            return cls(None, False, type(error).__name__)
        finally:
            if plain is not None:
                plain.close()


def _is_refused(secure: ssl.SSLSocket) -> bool:
    """Whether the other side ends a connection without our certificate: TLS 1.3 tells at the first read."""
    secure.settimeout(0.5)
    try:
        return secure.recv(1) == b""
    except TimeoutError:
        return False
    except (ssl.SSLError, OSError):
        return True
