"""The TLS contexts of nodes that authenticate each other (ITI-19, ITI TF-2 3.19; BCP 195).

TLS 1.2 or later, certificates on both sides, the community's authorities alone and never a system's. Every
handshake looks at the certificate anew: no session is resumed. A certificate listed in the trust file is
accepted itself, as an authority's signature is (both models of 3.19.6.1).
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from cryptography import x509

from shared.security.certificate_check import Known, checking
from shared.security.file_watch import FileWatch
from shared.security.responders import responders
from shared.security.revocation import Revocations
from shared.security.stapling import ask_for_staple, is_possible, staple
from shared.settings import SettingsError, TlsSettings
from shared.telemetry.log import logger

_log = logger(__name__)

# TLS 1.3 brings its own suites; these are for 1.2. No CBC, no static key exchange.
CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"


_OF_BOTH = ("check_hostname", "minimum_version", "maximum_version")

#: How often it is looked whether a file was changed.
LOOK_SECONDS = 2.0


def server_context(tls: TlsSettings) -> ssl.SSLContext:
    """The listening side; a client without a certificate of the community does not get through the handshake.

    Raises
    ------
    SettingsError
        A file is absent, unreadable, expired, or key and certificate do not belong together.
    """
    return WatchedContext(ssl.PROTOCOL_TLS_SERVER, tls=tls)


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
    context = WatchedContext(ssl.PROTOCOL_TLS_CLIENT, tls=tls, may_answer=known)
    context.check_hostname = tls.check_host_names
    return context


class WatchedContext(ssl.SSLContext):
    """A context whose files may change: each handshake that begins is by what they hold then.

    Connections that are open go on. Files that cannot be used are an error of the log, and what was read
    before holds on. What is set of this context (ALPN, suites, versions, whether host names are checked)
    holds for connections that begin after.
    """

    def __new__(cls, protocol: int, **_: Any) -> WatchedContext:  # noqa: D102  # as its base is made
        return super().__new__(cls, protocol)

    def __init__(self, protocol: int, *, tls: TlsSettings, may_answer: Known | None = None) -> None:
        self._protocol = protocol
        self._tls = tls
        self._may_answer = may_answer
        self._set: dict[str, Any] = {}
        self._watch = FileWatch(
            [tls.certificate, tls.key, tls.trust, tls.revocation_lists], look_seconds=LOOK_SECONDS
        )
        self._current = _context(protocol, tls, may_answer)
        # Looked at from outside it is as strict as what it hands on to.
        _restrict(self)

    def wrap_bio(self, *args: Any, **options: Any) -> ssl.SSLObject:
        """Begin a connection, as `ssl.SSLContext.wrap_bio` does."""
        return self._now().wrap_bio(*args, **options)

    def wrap_socket(self, *args: Any, **options: Any) -> ssl.SSLSocket:
        """Begin a connection, as `ssl.SSLContext.wrap_socket` does."""
        return self._now().wrap_socket(*args, **options)

    def set_alpn_protocols(self, alpn_protocols: Iterable[str]) -> None:
        """Offer these protocols."""
        self._hand_on("set_alpn_protocols", list(alpn_protocols))

    def set_ciphers(self, ciphers: str) -> None:
        """Offer these suites."""
        self._hand_on("set_ciphers", ciphers)

    def _hand_on(self, method: str, value: Any) -> None:
        self._set[method] = value
        getattr(self._current, method)(value)

    def _now(self) -> ssl.SSLContext:
        if self._watch.changed():
            try:
                self._current = _context(self._protocol, self._tls, self._may_answer)
                for method, value in self._set.items():
                    getattr(self._current, method)(value)
            except SettingsError as error:
                _log.error("changed TLS files cannot be used; those before hold on", reason=str(error))
            else:
                _log.warning("TLS files were changed, and are in use")
        current = self._current
        for name in _OF_BOTH:
            if getattr(current, name) != getattr(self, name):
                setattr(current, name, getattr(self, name))
        return current


def _context(protocol: int, tls: TlsSettings, may_answer: Known | None) -> ssl.SSLContext:
    certificate, key, trust = _files(tls)
    context = ssl.SSLContext(protocol)
    _restrict(context)
    _load_own(context, certificate, key)
    trusted = _load_trust(context, trust)
    peers_responders = responders(tls.ocsp_url) if tls.ocsp else None
    revocations = Revocations(tls.revocation, tls.revocation_lists, trusted, peers_responders)
    context.sslobject_class, context.sslsocket_class = checking(revocations, may_answer)
    if protocol == ssl.PROTOCOL_TLS_CLIENT and tls.ocsp and is_possible():
        ask_for_staple(context)
    if protocol == ssl.PROTOCOL_TLS_SERVER and tls.ocsp_staple:
        _staple_own(context, certificate, trusted, tls.ocsp_url)
    return context


def _staple_own(
    context: ssl.SSLContext, path: Path, trusted: list[x509.Certificate], url: str | None
) -> None:
    own, *above = certificates_of("XDSI_TLS__CERTIFICATE", path)
    # What is given to others answers no question of ours.
    answer = partial(responders(url, with_nonce=False).answer, own, (*trusted, *above))
    staple(context, answer)
    answer()


def _restrict(context: ssl.SSLContext) -> None:
    """What BCP 195 asks for, whichever side it is."""
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
    context.hostname_checks_common_name = False
    context.set_ciphers(CIPHERS)
    if context.protocol == ssl.PROTOCOL_TLS_SERVER:
        context.num_tickets = 0


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


def _load_trust(context: ssl.SSLContext, trust: Path) -> list[x509.Certificate]:
    trusted = certificates_of("XDSI_TLS__TRUST", trust)
    try:
        context.load_verify_locations(cafile=trust)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(
            (f"XDSI_TLS__TRUST: {trust} cannot be used ({_reason(error)}); name a PEM file of certificates",)
        ) from None
    return trusted


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
