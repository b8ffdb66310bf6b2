"""Certificates that their authorities have taken back, by their lists (RFC 5280) and by their responders
(OCSP, `shared.security.responders`); ITI TF-2 3.19.

A list counts when one of the trusted authorities signed it. Who says revoked has the last word. What is not
known, because an authority has no list, or its list is over, and no responder answers, is decided by the
setting: `hard` refuses, `soft` lets pass and tells the log.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

from shared.security.ocsp import CertificateStatus
from shared.security.responders import Responders
from shared.settings import Revocation, SettingsError
from shared.telemetry.log import logger

_PEM = b"-----BEGIN X509 CRL-----"

_log = logger(__name__)


class CertificateRefusedError(ssl.SSLCertVerificationError):
    """The certificate is not accepted, though its chain is good; `verify_message` says why."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.verify_message = reason

    def __str__(self) -> str:
        return self.verify_message


@dataclass(frozen=True, slots=True)
class RevocationList:
    """What one authority has taken back: serial numbers, and until when the list holds."""

    serials: frozenset[int]
    ends: datetime | None


class Revocations:
    """The lists of trusted authorities, and what is done where they say nothing.

    Raises
    ------
    SettingsError
        A list cannot be read, or no trusted authority signed it.
    """

    def __init__(
        self,
        mode: Revocation,
        lists: Path | None,
        trusted: Sequence[x509.Certificate],
        responders: Responders | None = None,
    ) -> None:
        self._mode = mode
        self._trusted = tuple(trusted)
        self._responders = responders
        self._lists = {} if mode is Revocation.OFF or lists is None else _read(lists, trusted)

    def check(self, der: bytes | None, stapled: bytes = b"") -> Future[None] | None:
        """Refuse a certificate that was taken back, or of which that is not known where it has to be.

        `stapled` is what the peer's authority says of it, as it came along. Where a responder has to be
        asked first, the same is said by the future, which never waits long.

        Raises
        ------
        CertificateRefusedError
            The handshake has to end.
        """
        if self._mode is Revocation.OFF or der is None:
            return None
        certificate = x509.load_der_x509_certificate(der)
        revoked = self._lists.get(certificate.issuer.public_bytes())
        if revoked is not None and certificate.serial_number in revoked.serials:
            raise CertificateRefusedError("certificate revoked")
        if certificate in self._trusted:
            # Installed itself, it is taken out of the trust file to take it back.
            return None
        if self._responders is None:
            self._decide(certificate, CertificateStatus.UNKNOWN)
            return None
        if stapled:
            self._responders.take(certificate, stapled, self._trusted)
        status = self._responders.status(certificate, self._trusted)
        if isinstance(status, Future):
            return self._decided(certificate, status)
        self._decide(certificate, status)
        return None

    def _decided(self, certificate: x509.Certificate, status: Future[CertificateStatus]) -> Future[None]:
        decision: Future[None] = Future()

        def decide(answered: Future[CertificateStatus]) -> None:
            try:
                self._decide(certificate, answered.result())
            except CertificateRefusedError as error:
                decision.set_exception(error)
            else:
                decision.set_result(None)

        status.add_done_callback(decide)
        return decision

    def _decide(self, certificate: x509.Certificate, status: CertificateStatus) -> None:
        """Whether the certificate is accepted, which no list names, of which a responder says `status`."""
        if status is CertificateStatus.REVOKED:
            raise CertificateRefusedError("certificate revoked")
        revoked = self._lists.get(certificate.issuer.public_bytes())
        is_listed_good = revoked is not None and (revoked.ends is None or datetime.now(UTC) < revoked.ends)
        if status is CertificateStatus.GOOD or is_listed_good:
            return
        why = "no revocation list of its authority" if revoked is None else "its revocation list has expired"
        if self._responders is not None:
            why = f"no answer of its responder, and {why}"
        if self._mode is Revocation.HARD:
            raise CertificateRefusedError(f"it is not known whether the certificate was revoked: {why}")
        _log.warning(
            "it is not known whether a certificate was revoked",
            reason=why,
            subject=certificate.subject.rfc4514_string(),
        )


def _read(path: Path, trusted: Iterable[x509.Certificate]) -> dict[bytes, RevocationList]:
    try:
        octets = path.read_bytes()
        parts = octets.split(_PEM)[1:]
        lists = [x509.load_pem_x509_crl(_PEM + part) for part in parts] or [x509.load_der_x509_crl(octets)]
    except (OSError, ValueError):
        raise SettingsError(
            (f"XDSI_TLS__REVOCATION_LISTS: {path} holds no readable revocation list (PEM, or one in DER)",)
        ) from None
    by_issuer: dict[bytes, RevocationList] = {}
    for one in lists:
        if not any(_signed(one, authority) for authority in trusted):
            raise SettingsError(
                (
                    f"XDSI_TLS__REVOCATION_LISTS: no authority of XDSI_TLS__TRUST signed the list of "
                    f"{one.issuer.rfc4514_string()} in {path}; name lists of trusted authorities",
                )
            )
        serials = frozenset(revoked.serial_number for revoked in one)
        name = one.issuer.public_bytes()
        if name in by_issuer:
            # Two lists of one authority count together, for as long as the shorter holds.
            serials |= by_issuer[name].serials
        by_issuer[name] = RevocationList(serials, one.next_update_utc)
    return by_issuer


def _signed(crl: x509.CertificateRevocationList, authority: x509.Certificate) -> bool:
    if crl.issuer != authority.subject:
        return False
    try:
        return crl.is_signature_valid(authority.public_key())  # type: ignore[arg-type]  # any is tried
    except (InvalidSignature, UnsupportedAlgorithm, TypeError, ValueError):
        return False
