"""The community's own assertion provider: SAML 2.0 bearer assertions for its users (ITI TF-2 3.40.4.1.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from secrets import token_hex
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from lxml import etree
from signxml.algorithms import CanonicalizationMethod, DigestAlgorithm, SignatureMethod
from signxml.signer import XMLSigner

from shared.ebrim.model import Code
from shared.security import saml
from shared.security.file_watch import FileWatch
from shared.settings import SettingsError
from shared.telemetry.log import logger
from shared.xml import escape, escape_attribute, parse

_log = logger(__name__)

#: How often it is looked whether a key was changed.
LOOK_SECONDS = 2.0

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey

LIFETIME_SECONDS = 300.0
_XSI = "http://www.w3.org/2001/XMLSchema-instance"
_AUTHN_CONTEXT = "urn:oasis:names:tc:SAML:2.0:ac:classes:unspecified"
_URI_FORMAT = "urn:oasis:names:tc:SAML:2.0:attrname-format:uri"


@dataclass(frozen=True, slots=True, kw_only=True)
class AssertionContent:
    """What an assertion says of the user `name_id`, and for whom.

    `roles` and `purposes` are codes whose `scheme` is an OID, and whose `display_name` goes along. It begins
    to be valid at `not_before` (aware), at the present second without. `recipient` is the endpoint that alone
    may take it; empty for any.
    """

    name_id: str
    audience: str
    roles: Sequence[Code] = ()
    purposes: Sequence[Code] = ()
    organization: str = ""
    organization_ids: Sequence[str] = ()
    subject_id: str = ""
    alias: str = ""
    home_community_id: str = ""
    resource_ids: Sequence[str] = ()
    recipient: str = ""
    lifetime_seconds: float = LIFETIME_SECONDS
    not_before: datetime | None = None
    one_time_use: bool = False


@dataclass(frozen=True, slots=True)
class AssertionIssuer:
    """A provider with its key, read once; `issuer` is the URI by which it is believed."""

    issuer: str
    key: PrivateKey
    certificate: x509.Certificate

    @classmethod
    def load(cls, issuer: str, key: Path, certificate: Path) -> Self:
        """Read the PEM files of key and certificate.

        Raises
        ------
        SettingsError
            A file is unreadable, or the key is not that of the certificate.
        """
        return cls(issuer, *_pair(key, certificate))

    def sign(self, content: AssertionContent) -> bytes:
        """Make a signed bearer assertion: ASCII octets without an XML declaration.

        The octets go as they are into a Security header, or base64url into a bearer token; any change breaks
        them.
        """
        return sign(_assertion(self.issuer, content), self.key, self.certificate)


class WatchedIssuer:
    """The provider of settings, whose files may change while a service runs: what is signed then is by the
    new key. Files that cannot be used are an error of the log, and the key before signs on.

    Raises
    ------
    SettingsError
        As `AssertionIssuer.load`.
    """

    def __init__(
        self, issuer: str, key: Path, certificate: Path, *, look_seconds: float = LOOK_SECONDS
    ) -> None:
        self.issuer = issuer
        self._files = (key, certificate)
        self._watch = FileWatch(self._files, look_seconds=look_seconds)
        self._current = AssertionIssuer.load(issuer, *self._files)

    def sign(self, content: AssertionContent) -> bytes:
        """As `AssertionIssuer.sign`."""
        if self._watch.changed():
            try:
                self._current = AssertionIssuer.load(self.issuer, *self._files)
            except SettingsError as error:
                _log.error("a changed key cannot be used; the one before signs on", reason=str(error))
            else:
                _log.warning("the key that signs assertions was changed, and is in use")
        return self._current.sign(content)


def _pair(key: Path, certificate: Path) -> tuple[PrivateKey, x509.Certificate]:
    try:
        private = load_pem_private_key(key.read_bytes(), password=None)
        public = x509.load_pem_x509_certificates(certificate.read_bytes())[0]
    except (OSError, ValueError, TypeError) as error:
        raise SettingsError(
            (
                f"XDSI_ASSERTION__KEY, …__CERTIFICATE: {key} and {certificate} must be PEM files, "
                f"the key without a passphrase ({type(error).__name__})",
            )
        ) from None
    if not isinstance(private, PrivateKey) or private.public_key() != public.public_key():
        raise SettingsError(
            (f"XDSI_ASSERTION__KEY: {key} is not the RSA or EC private key of {certificate}; name that",)
        )
    return private, public


def sign(assertion: bytes, key: PrivateKey, certificate: x509.Certificate) -> bytes:
    """Replace the placeholder Signature in `assertion` by one of `key`, SHA-256 or as its curve asks."""
    method, digest = _algorithms(key)
    signer = XMLSigner(
        signature_algorithm=method,
        digest_algorithm=digest,
        c14n_algorithm=CanonicalizationMethod.EXCLUSIVE_XML_CANONICALIZATION_1_0,
    )
    root = parse(assertion)
    signed = signer.sign(root, key=key, cert=[certificate], reference_uri=root.get("ID"), id_attribute="ID")
    return bytes(etree.tostring(signed))


def _algorithms(key: PrivateKey) -> tuple[SignatureMethod, DigestAlgorithm]:
    if isinstance(key, rsa.RSAPrivateKey):
        return SignatureMethod.RSA_SHA256, DigestAlgorithm.SHA256
    if key.key_size > 256:
        return SignatureMethod.ECDSA_SHA384, DigestAlgorithm.SHA384
    return SignatureMethod.ECDSA_SHA256, DigestAlgorithm.SHA256


def _assertion(issuer: str, content: AssertionContent) -> bytes:
    begins = (content.not_before or datetime.now(UTC)).astimezone(UTC).replace(microsecond=0)
    ends = begins + timedelta(seconds=content.lifetime_seconds)
    attributes = _attributes(content)
    statement = f"<saml:AttributeStatement>{attributes}</saml:AttributeStatement>" if attributes else ""
    audience = f"<saml:Audience>{escape(content.audience)}</saml:Audience>"
    return (
        f'<saml:Assertion xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion" xmlns:xsi="{_XSI}"'
        f' ID="_{token_hex(16)}" Version="2.0" IssueInstant="{_instant(begins)}">'
        f"<saml:Issuer>{escape(issuer)}</saml:Issuer>"
        '<ds:Signature xmlns:ds="http://www.w3.org/2000/09/xmldsig#" Id="placeholder"/>'
        f"{_subject(content.name_id, content.alias, content.recipient)}"
        f'<saml:Conditions NotBefore="{_instant(begins)}" NotOnOrAfter="{_instant(ends)}">'
        f"<saml:AudienceRestriction>{audience}</saml:AudienceRestriction>"
        f"{'<saml:OneTimeUse/>' if content.one_time_use else ''}</saml:Conditions>"
        f'<saml:AuthnStatement AuthnInstant="{_instant(begins)}"><saml:AuthnContext>'
        f"<saml:AuthnContextClassRef>{_AUTHN_CONTEXT}</saml:AuthnContextClassRef>"
        f"</saml:AuthnContext></saml:AuthnStatement>{statement}</saml:Assertion>"
    ).encode()


def _attributes(content: AssertionContent) -> str:
    return "".join(
        (
            _text_attribute(saml.SUBJECT_ID, [content.subject_id]),
            _text_attribute(saml.ORGANIZATION, [content.organization]),
            _text_attribute(saml.ORGANIZATION_ID, content.organization_ids),
            _text_attribute(saml.HOME_COMMUNITY_ID, [content.home_community_id]),
            _coded_attribute(saml.ROLE, "Role", content.roles),
            _coded_attribute(saml.PURPOSE_OF_USE, "PurposeOfUse", content.purposes),
            _text_attribute(saml.RESOURCE_ID, content.resource_ids),
        )
    )


def encode_claims(claims: saml.Claims) -> str:
    """What is asked of an assertion, as the attributes that it will have."""
    return "".join(
        (
            _text_attribute(saml.ORGANIZATION_ID, claims.organization_ids),
            _coded_attribute(saml.ROLE, "Role", claims.roles),
            _coded_attribute(saml.PURPOSE_OF_USE, "PurposeOfUse", claims.purposes),
            _text_attribute(saml.RESOURCE_ID, claims.resource_ids),
        )
    )


def _instant(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _subject(name_id: str, alias: str, recipient: str) -> str:
    provided = f' SPProvidedID="{escape_attribute(alias)}"' if alias else ""
    data = f'<saml:SubjectConfirmationData Recipient="{escape_attribute(recipient)}"/>' if recipient else ""
    return (
        f"<saml:Subject><saml:NameID{provided}>{escape(name_id)}</saml:NameID>"
        f'<saml:SubjectConfirmation Method="{saml.BEARER}">{data}</saml:SubjectConfirmation></saml:Subject>'
    )


def _text_attribute(name: str, values: Sequence[str]) -> str:
    return _attribute(name, [escape(value) for value in values if value])


def _coded_attribute(name: str, element: str, codes: Sequence[Code]) -> str:
    return _attribute(name, [_coded(element, code) for code in codes])


def _attribute(name: str, values: Sequence[str]) -> str:
    if not values:
        return ""
    listed = "".join(f"<saml:AttributeValue>{value}</saml:AttributeValue>" for value in values)
    return f'<saml:Attribute Name="{name}" NameFormat="{_URI_FORMAT}">{listed}</saml:Attribute>'


def _coded(element: str, code: Code) -> str:
    # codeSystemName is mandatory in XUA and unknown here: the OID says as much.
    scheme = escape_attribute(code.scheme)
    return (
        f'<{element} xmlns="urn:hl7-org:v3" xsi:type="CE" code="{escape_attribute(code.value)}"'
        f' codeSystem="{scheme}" codeSystemName="{scheme}"'
        f' displayName="{escape_attribute(code.display_name or code.value)}"/>'
    )
