"""Our assertions as another implementation reads them: the SAML schema and xmlsec1."""

from __future__ import annotations

import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from shared.ebrim.model import Code
from shared.security.issuer import AssertionContent, AssertionIssuer
from shared.security.xua import AssertionVerifier, assertion_of
from shared.settings import AssertionSettings
from shared.xml import parse
from tests.support.assertions import edited, signature_of
from tests.support.certificates import AUDIENCE, HOME, certificate_of
from tests.support.envelopes import envelope, security, security_header

XMLSEC1 = shutil.which("xmlsec1")
pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(XMLSEC1 is None, reason="xmlsec1 is not installed"),
]

ASSERTION = "urn:oasis:names:tc:SAML:2.0:assertion:Assertion"
KEYS = {
    "RSA": rsa.generate_private_key(65537, 2048),
    "P-256": ec.generate_private_key(ec.SECP256R1()),
    "P-384": ec.generate_private_key(ec.SECP384R1()),
}


def an_assertion(key) -> bytes:
    content = AssertionContent(
        name_id="u-778",
        alias="who & whom",
        audience=AUDIENCE,
        roles=(Code("RAD-PHYS", "2.999.40.1", 'Radiologist "first" & <last>'),),
        purposes=(Code("TREAT", "2.16.840.1.113883.5.8", "treatment"),),
        organization="Nörth Hospital",
        organization_ids=("urn:oid:2.999.7",),
        resource_ids=("P0001^^^&2.999.1&ISO",),
        recipient="https://registry.example/xds",
    )
    return AssertionIssuer("https://idp.north.example", key, certificate_of(key)).sign(content)


def xmlsec1(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(XMLSEC1), *map(str, arguments)], capture_output=True, text=True, timeout=30, check=False
    )


def verify(octets: bytes, key, folder: Path) -> bool:
    message, certificate = folder / "message.xml", folder / "certificate.pem"
    message.write_bytes(octets)
    certificate.write_bytes(certificate_of(key, pem=True))
    done = xmlsec1(
        "--verify",
        "--enabled-key-data",
        "x509,rsa,ec",
        "--pubkey-cert-pem",
        certificate,
        "--id-attr:ID",
        ASSERTION,
        message,
    )
    return done.returncode == 0


@pytest.mark.parametrize("name", KEYS)
def test_xmlsec1_verifies_what_we_sign(name, tmp_path):
    assert verify(an_assertion(KEYS[name]), KEYS[name], tmp_path)


@pytest.mark.parametrize("name", KEYS)
def test_xmlsec1_verifies_it_in_its_envelope(name, tmp_path):
    assert verify(envelope(security(an_assertion(KEYS[name]))), KEYS[name], tmp_path)


def test_xmlsec1_refuses_what_was_changed_and_what_another_key_signed(tmp_path):
    genuine = an_assertion(KEYS["P-256"])

    assert not verify(edited(genuine, b"u-778", b"u-666"), KEYS["P-256"], tmp_path)
    assert not verify(genuine, ec.generate_private_key(ec.SECP256R1()), tmp_path)


@pytest.mark.parametrize("name", ["RSA", "P-256"])
def test_we_verify_what_xmlsec1_signs(name, tmp_path):
    key = KEYS[name]
    template, signed = tmp_path / "template.xml", tmp_path / "signed.xml"
    private, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    certificate.write_bytes(certificate_of(key, pem=True))
    template.write_bytes(envelope(security(template_of(an_assertion(key), name))))

    done = xmlsec1(
        "--sign",
        "--privkey-pem",
        f"{private},{certificate}",
        "--id-attr:ID",
        ASSERTION,
        "--output",
        signed,
        template,
    )

    assert done.returncode == 0, done.stderr
    verifier = AssertionVerifier(
        AssertionSettings(issuers={"https://idp.north.example": certificate}), AUDIENCE, HOME
    )
    assertion = assertion_of(security_header(signed.read_bytes()))
    user = verifier.verify(assertion, datetime.now(UTC), endpoint="https://registry.example/xds").user
    assert user.name_id == "u-778"
    assert user.roles[0].display_name == 'Radiologist "first" & <last>'


def template_of(assertion: bytes, name: str) -> bytes:
    """The assertion with a signature that xmlsec1 shall fill in."""
    method = {"RSA": "rsa-sha256", "P-256": "ecdsa-sha256"}[name]
    exclusive = "http://www.w3.org/2001/10/xml-exc-c14n#"
    empty = f"""<ds:Signature xmlns:ds="http://www.w3.org/2000/09/xmldsig#"><ds:SignedInfo>
      <ds:CanonicalizationMethod Algorithm="{exclusive}"/>
      <ds:SignatureMethod Algorithm="http://www.w3.org/2001/04/xmldsig-more#{method}"/>
      <ds:Reference URI="#{parse(assertion).get("ID")}"><ds:Transforms>
        <ds:Transform Algorithm="http://www.w3.org/2000/09/xmldsig#enveloped-signature"/>
        <ds:Transform Algorithm="{exclusive}"><ec:InclusiveNamespaces xmlns:ec="{exclusive}"
          PrefixList="xsi soap"/></ds:Transform></ds:Transforms>
        <ds:DigestMethod Algorithm="http://www.w3.org/2001/04/xmlenc#sha256"/><ds:DigestValue/>
      </ds:Reference></ds:SignedInfo><ds:SignatureValue/>
      <ds:KeyInfo><ds:X509Data/></ds:KeyInfo></ds:Signature>"""
    return assertion.replace(signature_of(assertion), empty.encode())
