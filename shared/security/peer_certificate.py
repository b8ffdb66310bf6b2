"""Who the node at the other end is, by the certificate that TLS has verified (ITI-19)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from shared.faults import SecurityFault
from shared.security.caller import Node

CACHED_CERTIFICATES = 1_024


def node_from_der(der: bytes | None, address: str, *, relayed: bool = False) -> Node:
    """The node whose verified certificate is `der` (None without TLS), connected from `address`.

    Raises
    ------
    SecurityFault
        FailedAuthentication: a name in the certificate cannot be read.
    """
    if der is None:
        return Node(address=address, relayed=relayed)
    subject, issuer, fingerprint = _identity(der)
    return Node(address=address, subject=subject, issuer=issuer, fingerprint=fingerprint, relayed=relayed)


def own_node(address: str, certificate: Path | None) -> Node:
    """Ourselves, as peers see us: at `address`, with the certificate in a PEM file, or without any.

    Raises
    ------
    OSError, ValueError
        The file cannot be read, or holds no certificate.
    """
    if certificate is None:
        return Node(address=address)
    return node_from_der(_first(certificate).public_bytes(Encoding.DER), address)


def subject_of(pem_path: Path) -> str:
    """The subject DN of the first certificate in a PEM file, as an RFC 4514 string.

    Raises
    ------
    OSError, ValueError
        The file cannot be read, or holds no certificate.
    """
    return _first(pem_path).subject.rfc4514_string()


def fingerprint_of(pem_path: Path) -> str:
    """The hexadecimal SHA-256 of the first certificate in a PEM file, as in `Node.fingerprint`.

    Raises
    ------
    OSError, ValueError
        The file cannot be read, or holds no certificate.
    """
    return sha256(_first(pem_path).public_bytes(Encoding.DER)).hexdigest()


def end_of(pem_path: Path) -> datetime:
    """Until when the first certificate in a PEM file is valid.

    Raises
    ------
    OSError, ValueError
        The file cannot be read, or holds no certificate.
    """
    return _first(pem_path).not_valid_after_utc


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateTerm:
    """Whose a certificate is (RFC 4514), and when it is valid (aware)."""

    subject: str
    begins: datetime
    ends: datetime


def terms_of(pem_path: Path) -> tuple[CertificateTerm, ...]:
    """Every certificate in a PEM file, in its order.

    Raises
    ------
    OSError, ValueError
        The file cannot be read, or holds no certificate.
    """
    return tuple(
        CertificateTerm(
            subject=one.subject.rfc4514_string(),
            begins=one.not_valid_before_utc,
            ends=one.not_valid_after_utc,
        )
        for one in x509.load_pem_x509_certificates(pem_path.read_bytes())
    )


def names_of(pem_path: Path) -> frozenset[str]:
    """The host names and addresses for which the first certificate in a PEM file is made.

    Raises
    ------
    OSError, ValueError
        The file cannot be read, or holds no certificate.
    """
    certificate = _first(pem_path)
    common = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    names = {str(name.value) for name in common}
    try:
        others = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return frozenset(names)
    names.update(others.get_values_for_type(x509.DNSName))
    names.update(map(str, others.get_values_for_type(x509.IPAddress)))
    return frozenset(names)


def _first(pem_path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificates(pem_path.read_bytes())[0]


@lru_cache(maxsize=CACHED_CERTIFICATES)
def _identity(der: bytes) -> tuple[str, str, str]:
    # A pure function of the certificate's bytes: once per certificate instead of once per connection.
    try:
        certificate = x509.load_der_x509_certificate(der)
        subject, issuer = certificate.subject.rfc4514_string(), certificate.issuer.rfc4514_string()
    except ValueError:
        raise SecurityFault("FailedAuthentication", "a name in the peer certificate is unreadable") from None
    return subject, issuer, sha256(der).hexdigest()
