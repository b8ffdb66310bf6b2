"""Taking assertions apart: edits that a provider signed, and edits that nobody signed."""

from __future__ import annotations

import re
from base64 import b64encode

from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.hashes import SHA256
from lxml import etree
from signxml.algorithms import CanonicalizationMethod, DigestAlgorithm, SignatureMethod
from signxml.signer import XMLSigner

from shared.security.issuer import AssertionIssuer, sign
from shared.xml import NS, Element, parse

SIGNATURE = re.compile(rb"<ds:Signature .*?</ds:Signature>", re.DOTALL)
PLACEHOLDER = b'<ds:Signature xmlns:ds="http://www.w3.org/2000/09/xmldsig#" Id="placeholder"/>'


def signature_of(assertion: bytes) -> bytes:
    """The Signature element's octets."""
    found = SIGNATURE.search(assertion)
    assert found is not None
    return found.group()


def without_signature(assertion: bytes) -> bytes:
    """The assertion as if it had never been signed."""
    return assertion.replace(signature_of(assertion), b"")


def edited(assertion: bytes, old: bytes, new: bytes) -> bytes:
    """The assertion with one passage replaced, and its signature left alone."""
    assert assertion.count(old) >= 1, old
    return assertion.replace(old, new, 1)


def signed_again(assertion: bytes, old: bytes, new: bytes, provider: AssertionIssuer) -> bytes:
    """The assertion with one passage replaced, signed by `provider` as it then reads."""
    unsigned = assertion.replace(signature_of(assertion), PLACEHOLDER)
    return sign(edited(unsigned, old, new), provider.key, provider.certificate)


class AnySigner(XMLSigner):
    """Signs with what nobody should use."""

    def check_deprecated_methods(self):
        return


def signed_with(assertion: bytes, method: SignatureMethod, digest: DigestAlgorithm, key) -> bytes:
    """The assertion signed by an algorithm and key of one's choice; no KeyInfo."""
    root = parse(assertion.replace(signature_of(assertion), PLACEHOLDER))
    signer = AnySigner(
        signature_algorithm=method,
        digest_algorithm=digest,
        c14n_algorithm=CanonicalizationMethod.EXCLUSIVE_XML_CANONICALIZATION_1_0,
    )
    signed = signer.sign(root, key=key, reference_uri=root.get("ID"), id_attribute="ID")
    return etree.tostring(signed)


def sealed(assertion: bytes, old: bytes, new: bytes, key: ec.EllipticCurvePrivateKey) -> bytes:
    """The assertion with one passage of its SignedInfo replaced, and SignedInfo signed as it then reads."""
    root = parse(edited(assertion, old, new))
    signed_info = root.find("ds:Signature/ds:SignedInfo", dict(NS))
    value = root.find("ds:Signature/ds:SignatureValue", dict(NS))
    assert signed_info is not None
    assert value is not None
    value.text = _ecdsa(signed_info, key)
    return etree.tostring(root)


def _ecdsa(signed_info: Element, key: ec.EllipticCurvePrivateKey) -> str:
    octets = etree.tostring(etree.fromstring(etree.tostring(signed_info)), method="c14n", exclusive=True)
    r, s = utils.decode_dss_signature(key.sign(octets, ec.ECDSA(SHA256())))
    return b64encode(r.to_bytes(32, "big") + s.to_bytes(32, "big")).decode()
