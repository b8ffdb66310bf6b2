"""Signature values of assertions (XML Signature 1.1) and of tokens (RFC 7515): do they verify, and by whom.

They are computed here from the standards, and not by what services verify with.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512, HashAlgorithm
from cryptography.x509 import Certificate, load_der_x509_certificate
from lxml import etree

from conformance.findings import Finding
from conformance.readers.xml import Element, place, text
from conformance.requirements import finding
from conformance.trust import read_whole, trusted_certificates
from shared.attempts import attempted_without_panic

_DS: Final = "{http://www.w3.org/2000/09/xmldsig#}"
_EXCLUSIVE: Final = "http://www.w3.org/2001/10/xml-exc-c14n#"
_INCLUSIVE: Final = "http://www.w3.org/TR/2001/REC-xml-c14n-20010315"
_HASHES: Final[dict[str, HashAlgorithm]] = {"256": SHA256(), "384": SHA384(), "512": SHA512()}
_MOST_CERTIFICATES: Final = 10
_RSA_BITS, _EC_BITS = 2048, 256


def of_assertion(signature: Element) -> Iterator[Finding]:
    """The signature value of a ds:Signature; judged where its key is known, from itself or as trusted."""
    info = signature.find(f"{_DS}SignedInfo")
    algorithm = "" if info is None else _algorithm(info, "SignatureMethod")
    shown = [
        _certificate(text(each))
        for each in list(signature.iter(f"{_DS}X509Certificate"))[:_MOST_CERTIFICATES]
    ]
    at = place(signature, "SignatureValue")
    if info is not None and algorithm.endswith(("-sha256", "-sha384", "-sha512", "-MGF1")):
        octets, value = _canonical(info), _octets(text(signature.find(f"{_DS}SignatureValue")))
        yield from _judged(octets, value, algorithm, shown, at, ("XUA-026", "XUA-027", "XUA-028"))


def of_token(header: dict[str, Any], signed: str, value: str) -> Iterator[Finding]:
    """The signature value of a token in compact form; `signed` are its first two parts."""
    listed = header.get("x5c")
    chain = listed[:_MOST_CERTIFICATES] if isinstance(listed, list) else []
    shown = [_certificate(str(each)) for each in chain]
    ids = ("JWT-018", "JWT-019", "JWT-020")
    octets = _octets(value.replace("-", "+").replace("_", "/"))
    yield from _judged(signed.encode("latin-1"), octets, str(header.get("alg")), shown, "signature", ids)


def _judged(
    octets: bytes,
    value: bytes,
    algorithm: str,
    shown: Sequence[Certificate | None],
    at: str,
    ids: tuple[str, str, str],
) -> Iterator[Finding]:
    """By the certificate that is shown, if one is; else by any that is trusted."""
    wrong, foreign, weak = ids
    trust = trusted_certificates()
    if shown and shown[0] is None:
        yield finding(wrong, at, "shows a certificate that cannot be read", algorithm)
        return
    candidates = [one for one in shown[:1] if one] or trust
    if not candidates:
        return
    signers = [one for one in candidates if _verifies(one, octets, value, algorithm)]
    if not signers:
        whose = "the certificate that it shows" if shown else "any certificate that is trusted"
        yield finding(wrong, at, f"does not verify by the key of {whose}", algorithm)
        return
    if trust and not _trusted(signers[0], trust):
        yield finding(foreign, at, "of nobody who is trusted", signers[0].subject.rfc4514_string())
    if words := _weakness(signers[0]):
        yield finding(weak, at, words)


def _verifies(certificate: Certificate, octets: bytes, value: bytes, algorithm: str) -> bool:
    """Whether `value` is the signature of `octets` by the key of a certificate."""
    try:
        key = certificate.public_key()
        name = algorithm.rpartition("#")[2]
        hashing = next((one for bits, one in _HASHES.items() if bits in name), SHA256())
        if isinstance(key, rsa.RSAPublicKey):
            salted = name.startswith("PS") or name.endswith("-MGF1")
            pss = padding.PSS(padding.MGF1(hashing), padding.PSS.AUTO)
            key.verify(value, octets, pss if salted else padding.PKCS1v15(), hashing)
            return name.startswith(("rsa-", "RS", "PS")) or salted
        if isinstance(key, ec.EllipticCurvePublicKey):
            half = (key.key_size + 7) // 8
            if len(value) != 2 * half:
                return False
            numbers = (int.from_bytes(value[:half], "big"), int.from_bytes(value[half:], "big"))
            key.verify(encode_dss_signature(*numbers), octets, ec.ECDSA(hashing))
            return name.startswith(("ecdsa-", "ES"))
        if isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(value, octets)
            return name == "EdDSA"
    except (InvalidSignature, UnsupportedAlgorithm, ValueError):
        return False
    return False


def _trusted(signer: Certificate, trust: Sequence[Certificate]) -> bool:
    """Whether a certificate is trusted itself, or issued by one that is."""
    return signer in trust or any(_issued(signer, one) for one in trust)


def _issued(signer: Certificate, authority: Certificate) -> bool:
    try:
        signer.verify_directly_issued_by(authority)
    except (InvalidSignature, UnsupportedAlgorithm, TypeError, ValueError):
        return False
    return True


def _weakness(certificate: Certificate) -> str:
    """What is weak of the key of a certificate by which something verified."""
    key = certificate.public_key()
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < _RSA_BITS:
        return f"a key of RSA with {key.key_size} bits"
    if isinstance(key, ec.EllipticCurvePublicKey) and key.key_size < _EC_BITS:
        return f"a key of an elliptic curve with {key.key_size} bits"
    return ""


def _algorithm(info: Element, name: str) -> str:
    one = info.find(f"{_DS}{name}")
    return "" if one is None else one.get("Algorithm") or ""


def _canonical(info: Element) -> bytes:
    method = _algorithm(info, "CanonicalizationMethod")
    return canonical(
        info,
        info.iterfind(f"{_DS}CanonicalizationMethod/{{{_EXCLUSIVE}}}InclusiveNamespaces"),
        exclusive=not method.startswith(_INCLUSIVE),
        with_comments=method.endswith("WithComments"),
    )


def canonical(
    element: Element, inclusive: Iterable[Element], *, exclusive: bool = True, with_comments: bool = False
) -> bytes:
    """An element as it is signed; `inclusive` are the lists of prefixes that are kept. Empty where it has no
    canonical form, as with a namespace that is no absolute URI."""
    prefixes = [prefix for one in inclusive for prefix in (one.get("PrefixList") or "").split()]
    try:
        return bytes(
            etree.tostring(
                element,
                method="c14n",
                exclusive=exclusive,
                with_comments=with_comments,
                inclusive_ns_prefixes=prefixes or None,
                with_tail=False,
            )
        )
    except etree.C14NError:
        return b""


def _octets(encoded: str) -> bytes:
    plain = "".join(encoded.split()).rstrip("=")
    try:
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError):
        return b""


def _certificate(encoded: str) -> Certificate | None:
    certificate = attempted_without_panic(lambda: read_whole(load_der_x509_certificate(_octets(encoded))))
    return None if isinstance(certificate, Exception) else certificate
