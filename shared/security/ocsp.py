"""What an OCSP response is worth (RFC 6960), and how a responder is asked.

A response counts when the authority of the certificate signed it, or a responder that the authority certified
for that, and while it holds.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA1, SHA256, SHA384, SHA512
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID

#: For how long a response without nextUpdate holds: its responder has news at any time (RFC 6960 4.2.2.1).
UNTIMED_SECONDS: Final = 300.0
#: How long a responder may take.
ANSWER_SECONDS: Final = 5.0
_SKEW: Final = timedelta(seconds=60)
_MAX_BYTES: Final = 64 * 1024
_DIGESTS: Final = (SHA256, SHA384, SHA512)


class CertificateStatus(StrEnum):
    """What an authority says of a certificate."""

    GOOD = "good"
    REVOKED = "revoked"
    UNKNOWN = "unknown"


class NoAnswerError(Exception):
    """A responder gave no answer that counts; the text says why."""


@dataclass(frozen=True, slots=True)
class OcspAnswer:
    """What was said of a certificate `said_at`, until it `ends`; `octets` are the response."""

    status: CertificateStatus
    said_at: datetime
    ends: datetime
    octets: bytes


def fetch_answer(
    certificate: x509.Certificate, issuer: x509.Certificate, url: str, *, with_nonce: bool
) -> OcspAnswer:
    """Ask the responder at `url`; it blocks.

    Raises
    ------
    NoAnswerError
        It gives no answer that counts.
    """
    nonce = secrets.token_bytes(16) if with_nonce else None
    # SHA-1 names the issuer, as every responder knows it; it hides nothing and signs nothing.
    builder = ocsp.OCSPRequestBuilder().add_certificate(certificate, issuer, SHA1())  # noqa: S303
    if nonce is not None:
        builder = builder.add_extension(x509.OCSPNonce(nonce), critical=False)
    return checked(_posted(url, builder.build().public_bytes(Encoding.DER)), certificate, issuer, nonce)


def checked(
    octets: bytes, certificate: x509.Certificate, issuer: x509.Certificate, nonce: bytes | None = None
) -> OcspAnswer:
    """What a response says of the certificate; one that answers another `nonce` is none.

    Raises
    ------
    NoAnswerError
        It says nothing of it, or nobody signed it who may, or it is not for this time or this question.
    """
    try:
        response = ocsp.load_der_ocsp_response(octets)
        if response.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
            raise NoAnswerError(f"the responder says {response.response_status.name.lower()}")
        _check_signature(response, issuer)
        _check_nonce(response, nonce)
        one = _single(response, certificate, issuer)
    except (ValueError, UnsupportedAlgorithm, NotImplementedError) as error:
        raise NoAnswerError(f"the response cannot be read ({type(error).__name__})") from None
    now, said_at = datetime.now(UTC), one.this_update_utc
    ends = one.next_update_utc or said_at + timedelta(seconds=UNTIMED_SECONDS)
    if not said_at - _SKEW <= now < ends + _SKEW:
        raise NoAnswerError("the response is not of this time")
    status = {
        ocsp.OCSPCertStatus.GOOD: CertificateStatus.GOOD,
        ocsp.OCSPCertStatus.REVOKED: CertificateStatus.REVOKED,
    }.get(one.certificate_status, CertificateStatus.UNKNOWN)
    return OcspAnswer(status, said_at, ends, octets)


def _single(
    response: ocsp.OCSPResponse, certificate: x509.Certificate, issuer: x509.Certificate
) -> ocsp.OCSPSingleResponse:
    for one in response.responses:
        own = ocsp.OCSPRequestBuilder().add_certificate(certificate, issuer, one.hash_algorithm).build()
        if (one.serial_number, one.issuer_name_hash, one.issuer_key_hash) == (
            own.serial_number,
            own.issuer_name_hash,
            own.issuer_key_hash,
        ):
            return one
    raise NoAnswerError("the response is about another certificate")


def _check_nonce(response: ocsp.OCSPResponse, nonce: bytes | None) -> None:
    # Responders that sign in advance have none; what is stapled answers nobody's question.
    with suppress(x509.ExtensionNotFound):
        its_nonce = response.extensions.get_extension_for_class(x509.OCSPNonce).value.nonce
        if nonce is not None and its_nonce != nonce:
            raise NoAnswerError("the response answers another question")


def _check_signature(response: ocsp.OCSPResponse, issuer: x509.Certificate) -> None:
    for signer in (issuer, *response.certificates):
        if (signer == issuer or _may_respond(signer, issuer)) and _is_signed_by(response, signer):
            return
    raise NoAnswerError("nobody signed the response who may")


def _may_respond(signer: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Whether the authority certified it for that (RFC 6960 4.2.2.2), and it holds now."""
    if not signer.not_valid_before_utc <= datetime.now(UTC) < signer.not_valid_after_utc:
        return False
    try:
        signer.verify_directly_issued_by(issuer)
        usage = signer.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except (ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
        return False
    return ExtendedKeyUsageOID.OCSP_SIGNING in usage


def _is_signed_by(response: ocsp.OCSPResponse, signer: x509.Certificate) -> bool:
    key, signature, octets = signer.public_key(), response.signature, response.tbs_response_bytes
    digest = response.signature_hash_algorithm
    try:
        if isinstance(key, rsa.RSAPublicKey) and isinstance(digest, _DIGESTS):
            key.verify(signature, octets, padding.PKCS1v15(), digest)
        elif isinstance(key, ec.EllipticCurvePublicKey) and isinstance(digest, _DIGESTS):
            key.verify(signature, octets, ec.ECDSA(digest))
        elif isinstance(key, ed25519.Ed25519PublicKey | ed448.Ed448PublicKey):
            key.verify(signature, octets)
        else:
            return False
    except InvalidSignature:
        return False
    return True


def issuer_of(certificate: x509.Certificate, trusted: Sequence[x509.Certificate]) -> x509.Certificate:
    """The one of `trusted` that signed the certificate itself.

    Raises
    ------
    NoAnswerError
        There is none.
    """
    for authority in trusted:
        with suppress(ValueError, TypeError, InvalidSignature):
            certificate.verify_directly_issued_by(authority)
            return authority
    raise NoAnswerError("no authority of XDSI_TLS__TRUST issued the certificate itself")


def responder_of(certificate: x509.Certificate) -> str | None:
    """The address (http) of the responder that a certificate names; None when it names none."""
    return next((url for url in _access(certificate) if url.startswith("http://")), None)


def _access(certificate: x509.Certificate) -> Iterator[str]:
    try:
        access = certificate.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    except (x509.ExtensionNotFound, ValueError):
        return
    for one in access:
        if one.access_method == AuthorityInformationAccessOID.OCSP and isinstance(
            one.access_location, x509.UniformResourceIdentifier
        ):
            yield one.access_location.value


def _posted(url: str, octets: bytes) -> bytes:
    import httpx2  # where nobody is asked it is not read

    ends = time.monotonic() + ANSWER_SECONDS
    try:
        with (
            httpx2.Client(trust_env=False, timeout=ANSWER_SECONDS) as http,
            http.stream(
                "POST", url, content=octets, headers={"content-type": "application/ocsp-request"}
            ) as answer,
        ):
            content = b""
            for piece in answer.iter_bytes():
                content += piece
                if len(content) > _MAX_BYTES:
                    raise NoAnswerError("the response is too long")
                if time.monotonic() > ends:
                    raise NoAnswerError("the response takes too long")
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
        raise NoAnswerError(f"the responder cannot be asked ({type(error).__name__})") from None
    if answer.status_code != httpx2.codes.OK:
        raise NoAnswerError(f"the responder answers {answer.status_code}")
    return content
