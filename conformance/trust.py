"""Whom the person who has something judged trusts to sign: certificates of signers, or of authorities."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from cryptography.x509 import Certificate, load_pem_x509_certificates

from shared.attempts import attempted_without_panic

_TRUST: Final[ContextVar[tuple[Certificate, ...]]] = ContextVar("trust", default=())


class NoCertificates(ValueError):
    """Where certificates are due there are none that can be read."""


def certificates_of(pem: bytes) -> tuple[Certificate, ...]:
    """Every certificate of some PEM; raises `NoCertificates`."""
    certificates = attempted_without_panic(lambda: list(map(read_whole, load_pem_x509_certificates(pem))))
    if isinstance(certificates, Exception):
        raise NoCertificates("no certificates can be read there")
    return tuple(certificates)


def read_whole(certificate: Certificate) -> Certificate:
    """The certificate, whose parts are otherwise read when each is asked for; raises what they raise."""
    certificate.subject.rfc4514_string()
    certificate.issuer.rfc4514_string()
    _ = (certificate.not_valid_before_utc, certificate.not_valid_after_utc, certificate.extensions)
    return certificate


@contextmanager
def trusting(certificates: Sequence[Certificate]) -> Iterator[None]:
    """What is judged within is judged by these."""
    token = _TRUST.set(tuple(certificates))
    try:
        yield
    finally:
        _TRUST.reset(token)


def trusted_certificates() -> tuple[Certificate, ...]:
    """Those that are trusted now; without any nobody said whom to trust."""
    return _TRUST.get()
