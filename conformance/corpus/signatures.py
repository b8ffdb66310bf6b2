"""Assertions and tokens that are really signed, by keys made for them, and what can be wrong with that."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from lxml import etree

from conformance.corpus.assertions import assertion, claims
from conformance.corpus.example import Example

_DS: Final = "http://www.w3.org/2000/09/xmldsig#"
_MORE: Final = "http://www.w3.org/2001/04/xmldsig-more#"
Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


@dataclass(frozen=True, slots=True)
class Signer:
    """A key and its certificate."""

    key: Key
    certificate: x509.Certificate

    def value(self, octets: bytes) -> bytes:
        """The signature, as XML Signature and JWS write it."""
        if isinstance(self.key, rsa.RSAPrivateKey):
            return self.key.sign(octets, padding.PKCS1v15(), SHA256())
        numbers = decode_dss_signature(self.key.sign(octets, ec.ECDSA(SHA256())))
        return b"".join(number.to_bytes(32, "big") for number in numbers)

    @property
    def der(self) -> str:
        """The certificate in base64."""
        return base64.b64encode(self.certificate.public_bytes(Encoding.DER)).decode()


def _signer(key: Key, common_name: str = "idp.example.org", issuer: Signer | None = None) -> Signer:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer.certificate.subject if issuer else name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .sign(issuer.key if issuer else key, SHA256())
    )
    return Signer(key, certificate)


@cache
def signers() -> tuple[Signer, ...]:
    """One of RSA, one of an elliptic curve issued by it, which are trusted; an impostor of the same
    name; one whose key is short."""
    trusted = _signer(rsa.generate_private_key(65537, 2048))
    issued = _signer(ec.generate_private_key(ec.SECP256R1()), "node.example.org", trusted)
    impostor = _signer(rsa.generate_private_key(65537, 2048))
    short = _signer(rsa.generate_private_key(65537, 1024), "short.example.org")  # noqa: S505 - to be found too weak
    return trusted, issued, impostor, short


def signed_assertion(signer: Signer, *, shows: bool = True) -> str:
    """The assertion of the corpus with the signature of `signer`, whose certificate it `shows`."""
    algorithm = "rsa-sha256" if isinstance(signer.key, rsa.RSAPrivateKey) else "ecdsa-sha256"
    xml = assertion().replace(f"{_MORE}rsa-sha256", f"{_MORE}{algorithm}")
    (info,) = etree.fromstring(xml.encode()).iter(f"{{{_DS}}}SignedInfo")
    octets = bytes(etree.tostring(info, method="c14n", exclusive=True, with_comments=False))
    value = base64.b64encode(signer.value(octets)).decode()
    key_info = f"<ds:X509Data><ds:X509Certificate>{signer.der}</ds:X509Certificate></ds:X509Data>"
    shown = f"<ds:KeyInfo>{key_info}</ds:KeyInfo>" if shows else ""
    return xml.replace("AAAA</ds:SignatureValue>", f"{value}</ds:SignatureValue>{shown}")


def signed_token(signer: Signer, *, shows: bool = True) -> str:
    """The token of the corpus with the signature of `signer`."""
    algorithm = "RS256" if isinstance(signer.key, rsa.RSAPrivateKey) else "ES256"
    header = {"alg": algorithm, "typ": "at+jwt", "kid": "k1", **({"x5c": [signer.der]} if shows else {})}
    signed = ".".join(_base64url(json.dumps(part).encode()) for part in (header, claims()))
    return f"{signed}.{_base64url(signer.value(signed.encode()))}"


def _base64url(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).decode().rstrip("=")


def trust() -> tuple[x509.Certificate, ...]:
    """Whom the examples are to be judged to trust."""
    return signers()[0].certificate, signers()[3].certificate


def examples() -> Iterator[Example]:
    """Good and broken signatures, judged by `trust`."""
    kinds: tuple[tuple[str, str, Callable[..., str], str], ...] = (
        ("saml-assertion", "XUA", signed_assertion, "ds:SignatureValue>"),
        ("json-web-token", "JWT", signed_token, "."),
    )
    trusted, issued, impostor, short = signers()
    first = 26
    for kind, prefix, sign, mark in kinds:
        wrong, foreign, weak = (f"{prefix}-{first + number:03}" for number in range(3))
        first = 18
        yield Example(f"{kind} of RSA", kind, sign(trusted).encode())
        yield Example(f"{kind} without certificate", kind, sign(trusted, shows=False).encode())
        yield Example(f"{kind} of a curve, issued by who is trusted", kind, sign(issued).encode())
        yield Example(f"{kind} of an impostor", kind, sign(impostor).encode(), foreign)
        unknown = sign(impostor, shows=False).encode()
        yield Example(f"{kind} of an impostor without certificate", kind, unknown, wrong)
        yield Example(f"{kind} of a short key", kind, sign(short).encode(), weak)
        right = sign(trusted)
        at = (right.rindex(mark) if mark == "." else right.index(mark)) + len(mark)
        changed = f"{right[:at]}{'B' if right[at] == 'A' else 'A'}{right[at + 1 :]}"
        yield Example(f"{kind} with another signature value", kind, changed.encode(), wrong)
        other = sign(impostor).replace(impostor.der, trusted.der)
        if kind == "saml-assertion":
            yield Example(f"{kind} that shows another's certificate", kind, other.encode(), wrong)
