"""The signature of an assertion: exactly the one shape that SAML 2.0 core 5.4 profiles.

Nothing that a signature may carry to lead a verifier astray is followed: no key of `KeyInfo`, no foreign
transform, no second reference, no object, no prose around a value. What is returned is what was digested.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import datetime

from cryptography import x509
from lxml import etree
from signxml.algorithms import DigestAlgorithm, SignatureMethod
from signxml.exceptions import SignXMLException
from signxml.verifier import SignatureConfiguration, XMLVerifier

from shared.faults import SecurityFault
from shared.xml import Element, elements, qname

EXCLUSIVE_C14N = "http://www.w3.org/2001/10/xml-exc-c14n#"
ENVELOPED = "http://www.w3.org/2000/09/xmldsig#enveloped-signature"
INCLUSIVE_NAMESPACES = f"{{{EXCLUSIVE_C14N}}}InclusiveNamespaces"

SIGNATURE_METHODS = frozenset(
    (
        SignatureMethod.RSA_SHA256,
        SignatureMethod.RSA_SHA384,
        SignatureMethod.RSA_SHA512,
        SignatureMethod.SHA256_RSA_MGF1,
        SignatureMethod.SHA384_RSA_MGF1,
        SignatureMethod.SHA512_RSA_MGF1,
        SignatureMethod.ECDSA_SHA256,
        SignatureMethod.ECDSA_SHA384,
        SignatureMethod.ECDSA_SHA512,
    )
)
DIGESTS = frozenset((DigestAlgorithm.SHA256, DigestAlgorithm.SHA384, DigestAlgorithm.SHA512))

_SIGNATURE_URIS = frozenset(method.value for method in SIGNATURE_METHODS)
_DIGEST_URIS = frozenset(digest.value for digest in DIGESTS)

_SIGNATURE = qname("ds:Signature")
_SIGNED_INFO = (qname("ds:CanonicalizationMethod"), qname("ds:SignatureMethod"), qname("ds:Reference"))
_REFERENCE = (qname("ds:Transforms"), qname("ds:DigestMethod"), qname("ds:DigestValue"))
_BODIES = (
    (qname("ds:SignedInfo"), qname("ds:SignatureValue")),
    (qname("ds:SignedInfo"), qname("ds:SignatureValue"), qname("ds:KeyInfo")),
)

_NCNAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.\-]{0,255}")
_BASE64 = re.compile(r"[A-Za-z0-9+/=\s]+")
_ABSOLUTE = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:.")


def check_shape(root: Element) -> None:
    """Refuse everything about `root` and its signature that is not the profiled shape.

    Raises
    ------
    SecurityFault
        UnsupportedAlgorithm: a signature, digest, canonicalization or transform algorithm is not on the list.
        FailedCheck: the signature is absent, several, elsewhere, or signs something else than `root`.
    """
    signature = _only_signature(root)
    signed_info = next(elements(signature))
    canonicalization, method, *references = elements(signed_info)
    _algorithms(canonicalization, method, references)
    if tuple(child.tag for child in elements(signed_info)) != _SIGNED_INFO:
        raise SecurityFault("FailedCheck", "SignedInfo must hold exactly one Reference")
    _names_root(references[0], root)
    _has_value(signature[1])
    _has_value(references[0][2])
    _absolute_namespaces(root)


def verify(
    octets: bytes, root: Element, certificates: Sequence[x509.Certificate], now: datetime
) -> tuple[bytes, x509.Certificate]:
    """The canonical octets of `root` that one of `certificates` signed, and that certificate.

    `octets` are the bytes that `root` was parsed from; `check_shape` has seen it.

    Raises
    ------
    SecurityFault
        FailedAuthentication: none of the certificates is valid at `now`; FailedCheck: none made the
        signature.
    """
    current = [known for known in certificates if _valid(known, now)]
    if not current:
        raise SecurityFault(
            "FailedAuthentication", "the configured certificates of the issuer are not valid now"
        )
    for certificate in current:
        signed = _signed_by(certificate, octets, now)
        if signed is not None:
            return signed, certificate
    raise SecurityFault(
        "FailedCheck", "signature or digest value does not match under the issuer's configured key"
    )


def _valid(certificate: x509.Certificate, now: datetime) -> bool:
    return certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc


def _signed_by(certificate: x509.Certificate, octets: bytes, now: datetime) -> bytes | None:
    configuration = SignatureConfiguration(
        require_x509=True,
        location="./",
        expect_references=1,
        signature_methods=SIGNATURE_METHODS,
        digest_algorithms=DIGESTS,
        ignore_ambiguous_key_info=True,
        verification_time=now,
    )
    try:
        result = XMLVerifier().verify(
            octets,
            x509_cert=certificate,
            id_attribute="ID",
            # check_shape is narrower than the schema, which knows no prefix list in CanonicalizationMethod.
            validate_schema=False,
            expect_config=configuration,
        )
    except (SignXMLException, etree.LxmlError, ValueError):
        return None
    signed: bytes = result.signed_data
    return signed or None


def _only_signature(root: Element) -> Element:
    signatures = [child for child in elements(root) if child.tag == _SIGNATURE]
    if len(signatures) != 1 or sum(1 for _ in root.iter(_SIGNATURE)) != 1:
        raise SecurityFault("FailedCheck", "an assertion carries exactly one Signature, as its own child")
    if any(True for _ in signatures[0].iter(etree.Comment)):
        raise SecurityFault("FailedCheck", "a Signature holds no comments")
    if tuple(child.tag for child in elements(signatures[0])) not in _BODIES:
        raise SecurityFault(
            "FailedCheck", "Signature must hold SignedInfo, SignatureValue and at most KeyInfo"
        )
    if tuple(child.tag for child in elements(signatures[0][0]))[:2] != _SIGNED_INFO[:2]:
        raise SecurityFault("FailedCheck", "SignedInfo must name its canonicalization and signature methods")
    return signatures[0]


def _algorithms(canonicalization: Element, method: Element, references: Sequence[Element]) -> None:
    _exclusive(canonicalization)
    if method.get("Algorithm") not in _SIGNATURE_URIS or len(method):
        raise SecurityFault(
            "UnsupportedAlgorithm", "signature method must be RSA or ECDSA with SHA-256 or more"
        )
    for reference in references:
        for digest in reference.iter(_REFERENCE[1]):
            if digest.get("Algorithm") not in _DIGEST_URIS or len(digest):
                raise SecurityFault("UnsupportedAlgorithm", "digest must be SHA-256 or more")
        for transform in reference.iter(qname("ds:Transform")):
            if transform.get("Algorithm") != ENVELOPED or len(transform):
                _exclusive(transform)


def _exclusive(element: Element) -> None:
    prefixes = [child.get("PrefixList") for child in element if child.tag == INCLUSIVE_NAMESPACES]
    if element.get("Algorithm") != EXCLUSIVE_C14N or len(prefixes) != len(element) or None in prefixes:
        raise SecurityFault(
            "UnsupportedAlgorithm", "enveloped-signature and exclusive c14n without comments are accepted"
        )


def _names_root(reference: Element, root: Element) -> None:
    if tuple(child.tag for child in elements(reference)) != _REFERENCE:
        raise SecurityFault("FailedCheck", "Reference must hold Transforms, DigestMethod and DigestValue")
    identifier = root.get("ID", "")
    if not _NCNAME.fullmatch(identifier) or reference.get("URI") != f"#{identifier}":
        raise SecurityFault("FailedCheck", "the Reference must name the assertion that holds the signature")
    transforms = tuple(child.get("Algorithm") for child in elements(reference[0]))
    if transforms != (ENVELOPED, EXCLUSIVE_C14N):
        raise SecurityFault("FailedCheck", "transforms must be enveloped-signature, then exclusive c14n")


def _has_value(element: Element) -> None:
    if len(element) or not _BASE64.fullmatch(element.text or ""):
        raise SecurityFault("FailedCheck", "signature and digest value must be base64 and nothing else")


def _absolute_namespaces(root: Element) -> None:
    """Canonical XML is not defined for relative namespace URIs; libxml2 may answer with nothing at all."""
    if not all(_ABSOLUTE.match(uri) for uri in _namespaces(root)):
        raise SecurityFault("FailedCheck", "a namespace URI is relative; name it absolutely")


def _namespaces(root: Element) -> Iterator[str]:
    for _, (_, uri) in etree.iterwalk(root, events=("start-ns",)):
        if uri:
            yield uri
