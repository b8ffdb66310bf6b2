"""Cross-Enterprise User Assertion [ITI-40]: from a Security header to the user it proves (ITI TF-2 3.40).

An assertion is serialised by itself, and everything said about it is said of those octets: `verified` is a
pure function of them that reads the user from the canonical bytes that were digested and signed, so neither
the rest of the message nor a second look at the tree can put another user in its place. What was verified is
remembered by the digest of the octets; time, audience and recipient are compared on every use.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from threading import Lock

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from lxml import etree

from shared.faults import WSSE, WSU, SecurityFault
from shared.security import saml, xmldsig
from shared.security.file_watch import FileWatch
from shared.security.saml import VerifiedAssertion
from shared.security.voices import Voices
from shared.settings import AssertionSettings, SettingsError
from shared.telemetry.log import logger
from shared.xml import Element, XmlError, elements, parse, qname

__all__ = [
    "AssertionVerifier",
    "assertion_of",
    "check_timestamp",
    "verified",
]

_log = logger(__name__)

MAX_BYTES = 64 * 1024
#: How often it is looked whether a certificate of an issuer was changed.
LOOK_SECONDS = 2.0
CACHED_ASSERTIONS = 10_000

_ASSERTION = qname("saml:Assertion")
_ENCRYPTED = qname("saml:EncryptedAssertion")
_SECURITY = f"{{{WSSE}}}Security"
_TIMESTAMP = f"{{{WSU}}}Timestamp"
_REFERENCE = f"{{{WSSE}}}SecurityTokenReference"
_HEADER = qname("soap:Header")
_ENVELOPE = qname("soap:Envelope")
_ROLE = qname("soap:role")
_OUR_ROLES = frozenset(
    (
        None,
        "",
        "http://www.w3.org/2003/05/soap-envelope/role/next",
        "http://www.w3.org/2003/05/soap-envelope/role/ultimateReceiver",
    )
)
_ID_NAMES = frozenset(("ID", "Id", "id"))
_SAME_ID = etree.XPath("count(//@ID[.=$id])")
_NO_TEXT = re.compile(r"\s*")

# --- the header ---------------------------------------------------------------------------------------


def assertion_of(security_header: Element) -> Element:
    """The one assertion of the one Security header for us, at Envelope/Header/Security/Assertion alone.

    Raises
    ------
    SecurityFault
        InvalidSecurity: another header for us, no or several assertions, an ID that occurs twice.
        UnsupportedSecurityToken: a token of another kind. SecurityTokenUnavailable: only a reference to one.
    """
    _in_place(security_header)
    assertion = _only_assertion(security_header)
    document = security_header.getroottree().getroot()
    if sum(1 for _ in document.iter(_ASSERTION)) != 1:
        raise SecurityFault("InvalidSecurity", "the message holds more than one assertion")
    if _SAME_ID(document, id=assertion.get("ID", "")) != 1:
        raise SecurityFault("InvalidSecurity", "the ID of the assertion is absent or occurs twice")
    return assertion


def _in_place(security_header: Element) -> None:
    header = security_header.getparent()
    envelope = None if header is None else header.getparent()
    if security_header.tag != _SECURITY or header is None or envelope is None:
        raise SecurityFault("InvalidSecurity", "Security must stand in the SOAP header")
    if header.tag != _HEADER or envelope.tag != _ENVELOPE or envelope.getparent() is not None:
        raise SecurityFault("InvalidSecurity", "Security must stand in the SOAP header")
    ours = [each for each in header.iterchildren(_SECURITY) if each.get(_ROLE) in _OUR_ROLES]
    if len(ours) != 1:
        raise SecurityFault("InvalidSecurity", "exactly one Security header may be addressed to us")


def _only_assertion(security_header: Element) -> Element:
    tokens = [child for child in elements(security_header) if child.tag != _TIMESTAMP]
    assertions = [token for token in tokens if token.tag == _ASSERTION]
    if len(assertions) > 1 or not tokens:
        raise SecurityFault("InvalidSecurity", f"one assertion is needed, {len(assertions)} found")
    if any(token.tag == _ENCRYPTED for token in tokens):
        raise SecurityFault("UnsupportedSecurityToken", "encrypted assertions are not accepted")
    if assertions:
        return assertions[0]
    if all(token.tag == _REFERENCE for token in tokens):
        raise SecurityFault("SecurityTokenUnavailable", "the token is referenced, send the assertion itself")
    raise SecurityFault("UnsupportedSecurityToken", "the token is not a SAML 2.0 assertion")


def check_timestamp(security_header: Element, now: datetime, skew: timedelta) -> None:
    """Compare the header's `wsu:Timestamp`, when there is one, with `now`.

    Raises
    ------
    SecurityFault
        MessageExpired (in wsu) outside its window; InvalidSecurity when it cannot be read.
    """
    timestamps = list(security_header.iterchildren(_TIMESTAMP))
    if not timestamps:
        return
    if len(timestamps) > 1:
        raise SecurityFault("InvalidSecurity", "a Security header holds at most one Timestamp")
    created, expires = (_moment(timestamps[0], name) for name in ("Created", "Expires"))
    if not saml.Window(not_before=created, not_on_or_after=expires).contains(now, skew):
        raise SecurityFault(
            "MessageExpired", "the Timestamp of the header is outside its window", namespace=WSU
        )


def _moment(timestamp: Element, name: str) -> datetime | None:
    text = timestamp.findtext(f"{{{WSU}}}{name}")
    if text is None:
        return None
    try:
        return saml.parse_instant(text.strip(), name)
    except SecurityFault as fault:
        raise SecurityFault("InvalidSecurity", fault.detail) from None


# --- one assertion ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Remembered:
    verified: VerifiedAssertion
    certificate: x509.Certificate

    def usable(self, now: datetime) -> bool:
        return self.certificate.not_valid_before_utc <= now <= self.certificate.not_valid_after_utc


Issuers = Mapping[str, Sequence[x509.Certificate]]


def verified(octets: bytes, issuers: Issuers, now: datetime) -> tuple[VerifiedAssertion, x509.Certificate]:
    """What the assertion `octets` says, and the certificate by which its signature was verified.

    A pure function: it parses `octets` and nothing else, and reads from the bytes that were digested and
    signed. Times are not compared, `now` is for the certificates.

    Raises
    ------
    SecurityFault
        With the subcode of the first rule that is broken, in the order of WS-Security's faults.
    """
    if len(octets) > MAX_BYTES:
        raise SecurityFault("InvalidSecurityToken", f"the assertion is larger than {MAX_BYTES} bytes")
    root = _parse(octets)
    _unambiguous(root)
    _supported(root)
    xmldsig.check_shape(root)
    signed, certificate = xmldsig.verify(octets, root, _certificates(root, issuers), now)
    _no_comment_in_a_value(root)
    return _read(signed, root), certificate


def _parse(octets: bytes) -> Element:
    try:
        return parse(octets)
    except XmlError as error:
        raise SecurityFault("InvalidSecurity", str(error)) from None


def _unambiguous(root: Element) -> None:
    if sum(1 for _ in root.iter(_ASSERTION, _ENCRYPTED)) > 1:
        raise SecurityFault("InvalidSecurity", "an assertion may not hold another")
    identifiers = [
        str(value)
        for element in root.iter()
        for name, value in element.attrib.items()
        if etree.QName(name).localname in _ID_NAMES
    ]
    if len(identifiers) != len(set(identifiers)):
        raise SecurityFault("InvalidSecurity", "an ID occurs twice in the assertion")


def _supported(root: Element) -> None:
    if root.tag != _ASSERTION or root.get("Version") != "2.0":
        raise SecurityFault("UnsupportedSecurityToken", "the token is not a SAML 2.0 assertion")
    methods = saml.confirmation_methods(root)
    if methods and saml.BEARER not in methods:
        raise SecurityFault("UnsupportedSecurityToken", "the subject must be confirmed as bearer")


def _certificates(root: Element, issuers: Issuers) -> Sequence[x509.Certificate]:
    # An unsigned issuer chooses the key; it is read again from the signed bytes.
    certificates = issuers.get(saml.issuer_of(root))
    if not certificates:
        raise SecurityFault("FailedAuthentication", "the issuer is not among the believed ones")
    return certificates


def _no_comment_in_a_value(root: Element) -> None:
    """Comments are not signed: `user<!-- -->.example` must not become `user` anywhere."""
    for comment in root.iter(etree.Comment):
        parent = comment.getparent()
        if parent is not None and not _NO_TEXT.fullmatch("".join(_texts(parent))):
            raise SecurityFault("InvalidSecurityToken", "a comment stands inside a value")


def _texts(element: Element) -> Iterator[str]:
    yield element.text or ""
    for child in element:
        yield child.tail or ""


def _read(signed: bytes, root: Element) -> VerifiedAssertion:
    trusted = _parse(signed)
    if trusted.tag != _ASSERTION or trusted.get("ID") != root.get("ID"):
        raise SecurityFault("FailedCheck", "the signed octets are not this assertion")
    return saml.read(trusted)


# --- many assertions ----------------------------------------------------------------------------------


class AssertionVerifier:
    """Verifies assertions under the keys of its settings, and remembers by their octets what it has verified.

    An issuer speaks for a community and its organisations: for those for which `speaks_for` names it, else
    for `home` alone. Whether an assertion for one use was used is not looked at.

    Files of certificates that change are read again, and what was verified by those before is forgotten;
    where they cannot be read, those before hold on. Safe to use from several threads.
    """

    def __init__(self, settings: AssertionSettings, audience: str, home: str) -> None:
        self._files = settings.issuers
        self._watch = FileWatch(settings.issuers.values(), look_seconds=LOOK_SECONDS)
        self._issuers = load_issuers(settings.issuers)
        self._audience = audience
        self._voices = Voices(settings.speaks_for, home)
        self._skew = timedelta(seconds=settings.skew_seconds)
        self._longest = timedelta(seconds=settings.max_lifetime_seconds)
        self._remembered: dict[bytes, _Remembered] = {}
        self._lock = Lock()

    @property
    def skew(self) -> timedelta:
        """How far clocks may differ."""
        return self._skew

    def verify(self, assertion: Element, now: datetime, *, endpoint: str = "") -> VerifiedAssertion:
        """What `assertion` says at `now` (aware), taken at `endpoint` (the URI that was called).

        Raises
        ------
        SecurityFault
            With the subcode that WS-Security has for the first rule broken; `claimed` names the user it
            claims.
        """
        try:
            return self._verify(etree.tostring(assertion, with_tail=False), now, endpoint)
        except SecurityFault as fault:
            fault.claimed = saml.claimed_name(assertion)
            raise

    def _read_again(self) -> None:
        try:
            issuers = load_issuers(self._files)
        except SettingsError as error:
            _log.error("changed certificates of issuers cannot be used; those before hold", reason=str(error))
            return
        with self._lock:
            self._issuers, self._remembered = issuers, {}
        _log.warning("certificates of issuers were changed, and are in use")

    def _verify(self, octets: bytes, now: datetime, endpoint: str) -> VerifiedAssertion:
        if self._watch.changed():
            self._read_again()
        digest = sha256(octets).digest()
        known = self._remembered.get(digest)
        if known is not None and known.usable(now):
            self._holds(known.verified, now, endpoint)
            return known.verified
        issuers = self._issuers
        fresh = _Remembered(*verified(octets, issuers, now))
        self._voices.check(fresh.verified.user)
        self._holds(fresh.verified, now, endpoint)
        if not fresh.verified.one_time_use:
            self._remember(digest, fresh, issuers)
        return fresh.verified

    def _holds(self, verified: VerifiedAssertion, now: datetime, endpoint: str) -> None:
        accepted = {self._audience, endpoint} - {""}
        self._in_time(verified, now)
        if not all(restriction & accepted for restriction in verified.audiences):
            raise SecurityFault(
                "InvalidSecurityToken", "the audience is neither this domain nor this endpoint"
            )
        if not any(
            confirmation.window.contains(now, self._skew) and confirmation.recipient in accepted | {""}
            for confirmation in verified.confirmations
        ):
            raise SecurityFault(
                "InvalidSecurityToken", "no subject confirmation is for this time and recipient"
            )

    def _in_time(self, verified: VerifiedAssertion, now: datetime) -> None:
        begins, ends = verified.window.not_before, verified.window.not_on_or_after
        if begins is None or ends is None or not begins < ends <= begins + self._longest:
            raise SecurityFault(
                "InvalidSecurityToken", f"the lifetime must be more than 0 and at most {self._longest}"
            )
        if not verified.window.contains(now, self._skew):
            raise SecurityFault("InvalidSecurityToken", "the assertion is not yet or no longer valid")

    def _remember(self, digest: bytes, known: _Remembered, issuers: Issuers) -> None:
        with self._lock:
            if issuers is not self._issuers:
                return
            self._remembered[digest] = known
            while len(self._remembered) > CACHED_ASSERTIONS:
                self._remembered.pop(next(iter(self._remembered)))


# --- keys ---------------------------------------------------------------------------------------------


def load_issuers(issuers: Mapping[str, Path]) -> dict[str, tuple[x509.Certificate, ...]]:
    """Read the signing certificates of the believed issuers.

    Raises
    ------
    SettingsError
        A file cannot be read, or a key is too weak or not for signing; every mistake at once.
    """
    problems = [problem for issuer, path in issuers.items() for problem in _problems(issuer, path)]
    if problems:
        raise SettingsError(tuple(problems))
    return {issuer: tuple(_load(path)) for issuer, path in issuers.items()}


def _load(path: Path) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(path.read_bytes())


def _problems(issuer: str, path: Path) -> list[str]:
    place = f"XDSI_ASSERTION__ISSUERS: {issuer}: {path}"
    try:
        certificates = _load(path)
    except (OSError, ValueError):
        return [f"{place} holds no readable PEM certificate; name the issuer's signing certificate(s)"]
    return [f"{place}: {problem}" for certificate in certificates if (problem := _weakness(certificate))]


def _weakness(certificate: x509.Certificate) -> str:
    key = certificate.public_key()
    strong = (isinstance(key, rsa.RSAPublicKey) and key.key_size >= 2048) or (
        isinstance(key, ec.EllipticCurvePublicKey) and key.key_size >= 256
    )
    if not strong:
        return "the key must be RSA of 2048 bits or more, or EC of 256 bits or more"
    try:
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return ""
    return "" if usage.digital_signature else "the certificate is not for signatures (KeyUsage)"
