"""Assertions by a template and a signer of our own, right ones and such as nobody should accept."""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from html import escape
from pathlib import Path
from typing import Final
from uuid import uuid4

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA1, SHA256, HashAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.oid import NameOID
from lxml import etree

DS: Final = "http://www.w3.org/2000/09/xmldsig#"
_SAML: Final = "urn:oasis:names:tc:SAML:2.0:assertion"
_EXCLUSIVE: Final = "http://www.w3.org/2001/10/xml-exc-c14n#"
_ENVELOPED: Final = f"{DS}enveloped-signature"
_MORE: Final = "http://www.w3.org/2001/04/xmldsig-more#"
_DIGESTS: Final = {"sha1": f"{DS}sha1", "sha256": "http://www.w3.org/2001/04/xmlenc#sha256"}
#: SHA-1 is there to be refused.
_HASHES: Final[dict[str, HashAlgorithm]] = {"sha1": SHA1(), "sha256": SHA256()}  # noqa: S303
BEARER: Final = "urn:oasis:names:tc:SAML:2.0:cm:bearer"
#: Where the signature goes.
PLACE: Final = "<!--signature-->"

Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


@dataclass(frozen=True, slots=True)
class Provider:
    """An assertion provider: its URI, key and certificate, and the audience that it writes."""

    issuer: str
    audience: str
    key: Key
    certificate: x509.Certificate

    @classmethod
    def load(cls, issuer: str, audience: str, key: Path, certificate: Path) -> Provider:
        """From PEM files.

        Raises
        ------
        OSError, ValueError
            A file cannot be read, or the key is of another kind than RSA and EC.
        """
        private = load_pem_private_key(key.read_bytes(), None)
        if not isinstance(private, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
            raise ValueError(f"{key}: a key of RSA or EC is needed")
        return cls(issuer, audience, private, x509.load_pem_x509_certificate(certificate.read_bytes()))

    def impostor(self) -> Provider:
        """Another one that says it is this one: with a key of its own, and a certificate that it signed."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "impostor")])
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .sign(key, SHA256())
        )
        return replace(self, key=key, certificate=certificate)


@dataclass(frozen=True, slots=True, kw_only=True)
class AssertionText:
    """What an assertion says, before it is signed; what a probe wants otherwise it says.

    Times are seconds from now; None leaves the attribute out. `edit` is made to the text that is signed.
    """

    issuer: str
    audience: str
    id: str = field(default_factory=lambda: f"_{uuid4().hex}")
    version: str = "2.0"
    name_id: str = "ann.roe"
    begins: float | None = -5.0
    ends: float | None = 300.0
    method: str = BEARER
    confirmation: str = ""
    conditions: str = ""
    attributes: str = ""
    edit: Callable[[str], str] = lambda text: text

    def xml(self) -> str:
        """The assertion with the place where its signature belongs."""
        instant = _instant(self.begins or 0.0)
        bounds = "".join(
            f' {name}="{_instant(seconds)}"'
            for name, seconds in (("NotBefore", self.begins), ("NotOnOrAfter", self.ends))
            if seconds is not None
        )
        audience = (
            f"<s:AudienceRestriction><s:Audience>{escape(self.audience)}</s:Audience></s:AudienceRestriction>"
            if self.audience
            else ""
        )
        statement = (
            f"<s:AttributeStatement>{self.attributes}</s:AttributeStatement>" if self.attributes else ""
        )
        return self.edit(
            f'<s:Assertion xmlns:s="{_SAML}" ID="{self.id}" Version="{self.version}" IssueInstant="{instant}">'
            f"<s:Issuer>{escape(self.issuer)}</s:Issuer>{PLACE}"
            f"<s:Subject><s:NameID>{self.name_id}</s:NameID>"
            f'<s:SubjectConfirmation Method="{self.method}">{self.confirmation}</s:SubjectConfirmation>'
            f"</s:Subject><s:Conditions{bounds}>{audience}{self.conditions}</s:Conditions>"
            f'<s:AuthnStatement AuthnInstant="{instant}"><s:AuthnContext><s:AuthnContextClassRef>'
            "urn:oasis:names:tc:SAML:2.0:ac:classes:X509</s:AuthnContextClassRef></s:AuthnContext>"
            f"</s:AuthnStatement>{statement}</s:Assertion>"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Signing:
    """How it is signed: digest, algorithm (of the key when empty; `hmac` takes the public certificate as its
    secret), the transforms, and what the reference names (the assertion when empty)."""

    digest: str = "sha256"
    algorithm: str = ""
    transforms: tuple[str, ...] = (_ENVELOPED, _EXCLUSIVE)
    reference: str = ""
    key_info: bool = True


def signed(text: AssertionText, provider: Provider, signing: Signing | None = None) -> str:
    """The assertion with its signature."""
    signing = signing or Signing()
    xml = text.xml()
    return xml.replace(PLACE, signature_of(xml, text.id, provider, signing))


def unsigned(text: AssertionText) -> str:
    """The assertion alone."""
    return text.xml().replace(PLACE, "")


def signature_of(xml: str, id: str, provider: Provider, signing: Signing) -> str:
    """The ds:Signature of an assertion as it stands in `xml`."""
    digest = b64encode(hashlib.new(signing.digest, _canonical(xml.replace(PLACE, ""))).digest()).decode()
    transforms = "".join(f'<ds:Transform Algorithm="{one}"/>' for one in signing.transforms)
    algorithm, sign = _signer(provider, signing)
    info = (
        f'<ds:SignedInfo xmlns:ds="{DS}"><ds:CanonicalizationMethod Algorithm="{_EXCLUSIVE}"/>'
        f'<ds:SignatureMethod Algorithm="{algorithm}"/><ds:Reference URI="#{signing.reference or id}">'
        f"<ds:Transforms>{transforms}</ds:Transforms>"
        f'<ds:DigestMethod Algorithm="{_DIGESTS[signing.digest]}"/>'
        f"<ds:DigestValue>{digest}</ds:DigestValue></ds:Reference></ds:SignedInfo>"
    )
    value = b64encode(sign(_canonical(info))).decode()
    der = b64encode(provider.certificate.public_bytes(Encoding.DER)).decode()
    certificate = f"<ds:X509Data><ds:X509Certificate>{der}</ds:X509Certificate></ds:X509Data>"
    key_info = f"<ds:KeyInfo>{certificate}</ds:KeyInfo>" if signing.key_info else ""
    return (
        f'<ds:Signature xmlns:ds="{DS}">{info}<ds:SignatureValue>{value}</ds:SignatureValue>'
        f"{key_info}</ds:Signature>"
    )


def _canonical(xml: str) -> bytes:
    return bytes(
        etree.tostring(etree.fromstring(xml.encode()), method="c14n", exclusive=True, with_comments=False)
    )


def _signer(provider: Provider, signing: Signing) -> tuple[str, Callable[[bytes], bytes]]:
    key, hashing = provider.key, _HASHES[signing.digest]
    if signing.algorithm == "hmac":
        secret = provider.certificate.public_bytes(Encoding.PEM)
        return f"{_MORE}hmac-sha256", lambda octets: hmac.digest(secret, octets, "sha256")
    if isinstance(key, rsa.RSAPrivateKey):
        algorithm = f"{DS}rsa-sha1" if signing.digest == "sha1" else f"{_MORE}rsa-sha256"
        return algorithm, lambda octets: key.sign(octets, padding.PKCS1v15(), hashing)
    return f"{_MORE}ecdsa-{signing.digest}", lambda octets: _ecdsa(key, octets, hashing)


def _ecdsa(key: ec.EllipticCurvePrivateKey, octets: bytes, hashing: HashAlgorithm) -> bytes:
    size = (key.key_size + 7) // 8
    return b"".join(
        number.to_bytes(size, "big") for number in decode_dss_signature(key.sign(octets, ec.ECDSA(hashing)))
    )


def _instant(seconds: float) -> str:
    return f"{datetime.now(UTC) + timedelta(seconds=seconds):%Y-%m-%dT%H:%M:%SZ}"
