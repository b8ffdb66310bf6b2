"""The TLS contexts of nodes that authenticate each other (ITI-19, ITI TF-2 3.19; BCP 195).

TLS 1.2 or later, certificates on both sides, the community's authorities alone and never a system's. Every
handshake looks at the certificate anew: no session is resumed. A certificate listed in the trust file is
accepted itself, as an authority's signature is (both models of 3.19.6.1).
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509

from shared.security.caller import Node
from shared.security.peer_certificate import node_from_der
from shared.settings import SettingsError, TlsSettings
from shared.telemetry.log import logger

_log = logger(__name__)

# TLS 1.3 brings its own suites; these are for 1.2. No CBC, no static key exchange.
CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"


def server_context(tls: TlsSettings) -> ssl.SSLContext:
    """The listening side; a client without a certificate of the community does not get through the handshake.

    Raises
    ------
    SettingsError
        A file is absent, unreadable, expired, or key and certificate do not belong together.
    """
    context = _context(ssl.PROTOCOL_TLS_SERVER, tls)
    context.num_tickets = 0
    return context


#: Tells by its certificate whether a node may answer where it is called.
Known = Callable[[Node], bool]


def client_context(tls: TlsSettings, *, known: Known | None = None) -> ssl.SSLContext:
    """The calling side; the server must show a certificate of the community.

    With `known` it must be a node that is known so: that an authority vouches for it is not enough, with
    joined communities there are several. Else the handshake fails, and nothing is sent. With
    `check_host_names` (ATNA's FQDN option) it must also name the host that is called, in its
    SubjectAlternativeName alone.

    Raises
    ------
    SettingsError
        As for `server_context`.
    """
    context = _context(ssl.PROTOCOL_TLS_CLIENT, tls)
    context.hostname_checks_common_name = False
    context.check_hostname = tls.check_host_names
    if known is not None:
        context.sslobject_class = _knowing(known)
    return context


def _knowing(known: Known) -> type[ssl.SSLObject]:
    class Knowing(ssl.SSLObject):
        def do_handshake(self) -> None:
            super().do_handshake()
            node = node_from_der(self.getpeercert(binary_form=True), "")
            if not known(node):
                _log.error(
                    "a node that may not answer here; XDSI_COMMUNITY_NODES names those of this community",
                    subject=node.subject,
                    fingerprint=node.fingerprint,
                )
                raise ssl.SSLCertVerificationError("the certificate is of no node that may answer here")

    return Knowing


def _context(protocol: int, tls: TlsSettings) -> ssl.SSLContext:
    certificate, key, trust = _files(tls)
    context = ssl.SSLContext(protocol)
    context.check_hostname = False
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.options |= (
        ssl.OP_NO_COMPRESSION
        | ssl.OP_NO_RENEGOTIATION
        | ssl.OP_NO_TICKET
        | ssl.OP_SINGLE_ECDH_USE
        | ssl.OP_CIPHER_SERVER_PREFERENCE
    )
    context.set_ciphers(CIPHERS)
    _load_own(context, certificate, key)
    _load_trust(context, trust)
    return context


def _files(tls: TlsSettings) -> tuple[Path, Path, Path]:
    if tls.certificate is None or tls.key is None or tls.trust is None:
        raise SettingsError(
            ("XDSI_TLS__CERTIFICATE, XDSI_TLS__KEY, XDSI_TLS__TRUST: name all three PEM files for TLS",)
        )
    return tls.certificate, tls.key, tls.trust


def _load_own(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    _in_time(certificate)
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
    except _EncryptedKeyError:
        raise SettingsError(
            (f"XDSI_TLS__KEY: {key} is encrypted; name a PEM key without a passphrase, readable by us alone",)
        ) from None
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(
            (
                f"XDSI_TLS__KEY: {key} is not the private key of {certificate} ({_reason(error)}); "
                "name the PEM key that belongs to the certificate",
            )
        ) from None


def _in_time(path: Path) -> None:
    certificate = certificates_of("XDSI_TLS__CERTIFICATE", path)[0]
    if certificate.not_valid_after_utc <= datetime.now(UTC):
        raise SettingsError(
            (
                f"XDSI_TLS__CERTIFICATE: {path} expired on {certificate.not_valid_after_utc:%Y-%m-%d}; "
                "renew it",
            )
        )
    if certificate.not_valid_before_utc > datetime.now(UTC):
        raise SettingsError(
            (
                f"XDSI_TLS__CERTIFICATE: {path} is not valid before "
                f"{certificate.not_valid_before_utc:%Y-%m-%d %H:%M}Z; set the clock, or name another",
            )
        )


def _load_trust(context: ssl.SSLContext, trust: Path) -> None:
    certificates_of("XDSI_TLS__TRUST", trust)
    try:
        context.load_verify_locations(cafile=trust)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(
            (f"XDSI_TLS__TRUST: {trust} cannot be used ({_reason(error)}); name a PEM file of certificates",)
        ) from None


def certificates_of(setting: str, path: Path) -> list[x509.Certificate]:
    """The certificates in the PEM file that `setting` names, the first one first.

    Raises
    ------
    SettingsError
        It holds none that can be read.
    """
    try:
        return x509.load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError):
        raise SettingsError(
            (f"{setting}: {path} holds no readable PEM certificate; name a file that begins one",)
        ) from None


class _EncryptedKeyError(Exception):
    pass


def _no_password() -> str:
    # Without this OpenSSL would ask on the terminal, and a service would hang at start.
    raise _EncryptedKeyError


def _reason(error: OSError) -> str:
    return str(getattr(error, "reason", None) or error.strerror or "unreadable")
