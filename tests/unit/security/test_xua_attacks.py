"""What must not get through: wrapped, forged, altered and misused assertions, memory cold and warm."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from signxml.algorithms import DigestAlgorithm, SignatureMethod

from shared.faults import WSSE, WSU, SecurityFault
from shared.security import xmldsig
from shared.security.authenticator import Authenticator, assertion_of_bearer
from shared.security.caller import Node
from shared.security.issuer import AssertionContent, AssertionIssuer
from shared.security.xua import AssertionVerifier, assertion_of, verified
from shared.settings import AssertionSettings, ServiceSettings, XuaMode
from shared.xml import parse
from tests.support.assertions import (
    edited,
    sealed,
    signature_of,
    signed_again,
    signed_with,
    without_signature,
)
from tests.support.certificates import AUDIENCE, HOME, assertion_for, bearer, communities, provider, stranger
from tests.support.envelopes import envelope, security, security_header

NORTH, SOUTH = communities()
IDP = provider(NORTH)
NOW = datetime.now(UTC).replace(microsecond=0)
ISSUED = NOW - timedelta(minutes=2)
ENDPOINT = "https://registry.example/xds/registry"
LOCAL_NODE = Node(address="127.0.0.1")

GENUINE = assertion_for("u-778", not_before=ISSUED, alias="who")
SIGNATURE = signature_of(GENUINE)
UNSIGNED = without_signature(GENUINE)
EVIL = edited(UNSIGNED, b"u-778", b"u-666")
ID = parse(GENUINE).get("ID", "").encode()
EVIL_OTHER_ID = EVIL.replace(ID, b"_evil")


def an_authenticator() -> Authenticator:
    settings = ServiceSettings(
        xua=XuaMode.REQUIRED, assertion={"issuers": {NORTH.issuer: NORTH.provider.certificate}}
    )
    return Authenticator(settings, clock=lambda: NOW)


def a_verifier() -> AssertionVerifier:
    return AssertionVerifier(
        AssertionSettings(issuers={NORTH.issuer: NORTH.provider.certificate}), AUDIENCE, HOME
    )


def user_of(authenticator: Authenticator, message: bytes):
    return asyncio.run(
        authenticator.caller(
            LOCAL_NODE,
            door="ITI-18",
            endpoint=ENDPOINT,
            security_header=security_header(message),
            speaker_is_user=True,
        )
    ).user


def refusal(message: bytes, *, warm: bool) -> SecurityFault:
    authenticator = an_authenticator()
    if warm:
        assert user_of(authenticator, envelope(security(GENUINE))).name_id == "u-778"
    with pytest.raises(SecurityFault) as refused:
        user_of(authenticator, message)
    return refused.value


def into(outer: bytes, before: bytes, inner: bytes) -> bytes:
    """`outer` with `inner` put before the passage `before`."""
    return edited(outer, before, inner + before)


def wrapped_in_object(signature: bytes, inner: bytes) -> bytes:
    return into(signature, b"</ds:Signature>", b"<ds:Object>" + inner + b"</ds:Object>")


EVIL_WITH_SIGNATURE = into(EVIL, b"<saml:Subject>", SIGNATURE)
AFTER_ISSUER = b"<saml:Subject>"

# The eight classic variants (Somorovsky et al. 2012), with the Security header in the place of the Response.
WRAPPINGS: dict[str, bytes] = {
    "XSW1: the original inside the signature of the evil one": envelope(
        security(into(EVIL_OTHER_ID, AFTER_ISSUER, into(SIGNATURE, b"</ds:Signature>", UNSIGNED)))
    ),
    "XSW2: signature and original beside the evil one": envelope(
        security(EVIL_OTHER_ID, SIGNATURE, UNSIGNED)
    ),
    "XSW3: the evil one before the original": envelope(security(EVIL_OTHER_ID, GENUINE)),
    "XSW4: the original as a child of the evil one": envelope(
        security(into(EVIL_OTHER_ID, b"</saml:Assertion>", GENUINE))
    ),
    "XSW5: the evil one with the signature, the original behind it": envelope(
        security(EVIL_WITH_SIGNATURE.replace(b'ID="' + ID, b'ID="_evil'), UNSIGNED)
    ),
    "XSW6: the original in the signature, which stands in the evil one": envelope(
        security(into(EVIL_OTHER_ID, AFTER_ISSUER, into(SIGNATURE, b"<ds:SignatureValue>", UNSIGNED)))
    ),
    "XSW7: the evil one, of the same ID, in an extension of the header": envelope(
        b"<Extensions>" + EVIL + b"</Extensions>", security(GENUINE)
    ),
    "XSW8: the original in an Object of the signature of the evil one": envelope(
        security(into(EVIL, AFTER_ISSUER, wrapped_in_object(SIGNATURE, UNSIGNED)))
    ),
}


@pytest.mark.parametrize("warm", [False, True], ids=["cold", "warm"])
@pytest.mark.parametrize("message", WRAPPINGS.values(), ids=WRAPPINGS.keys())
def test_a_wrapped_assertion_is_refused(message, warm):
    assert refusal(message, warm=warm).subcode == (WSSE, "InvalidSecurity")


@pytest.mark.parametrize("warm", [False, True], ids=["cold", "warm"])
@pytest.mark.parametrize("message", WRAPPINGS.values(), ids=WRAPPINGS.keys())
def test_no_assertion_of_a_wrapping_names_the_evil_user_whichever_is_picked(message, warm):
    """Even if the place of the assertion were not looked at, only what was signed would be read."""
    verifier = a_verifier()
    if warm:
        verifier.verify(parse(GENUINE), NOW)
    for assertion in parse(message).iter("{urn:oasis:names:tc:SAML:2.0:assertion}Assertion"):
        try:
            user = verifier.verify(assertion, NOW).user
        except SecurityFault:
            continue
        assert user.name_id == "u-778"


# --- further cases ------------------------------------------------------------------------------------


def again(old: bytes, new: bytes) -> bytes:
    """What the provider itself signed, with one passage changed."""
    return signed_again(GENUINE, old, new, IDP)


def reference(old: bytes, new: bytes) -> bytes:
    """The provider's own signature over a changed SignedInfo."""
    return sealed(GENUINE, old, new, IDP.key)


def by_stranger() -> bytes:
    """Signed by a key of the attacker, whose certificate stands in KeyInfo, in the name of our issuer."""
    attacker = provider(stranger())
    return AssertionIssuer(NORTH.issuer, attacker.key, attacker.certificate).sign(
        AssertionContent(name_id="u-666", audience=AUDIENCE, not_before=ISSUED)
    )


def with_public_key_as_secret() -> bytes:
    secret = IDP.certificate.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return signed_with(GENUINE, SignatureMethod.HMAC_SHA256, DigestAlgorithm.SHA256, secret)


def timestamp(created: datetime, expires: datetime) -> bytes:
    return (
        f"<wsu:Timestamp><wsu:Created>{created:%Y-%m-%dT%H:%M:%SZ}</wsu:Created>"
        f"<wsu:Expires>{expires:%Y-%m-%dT%H:%M:%SZ}</wsu:Expires></wsu:Timestamp>"
    ).encode()


def alone(assertion: Callable[[], bytes] | bytes) -> bytes:
    return envelope(security(assertion() if callable(assertion) else assertion))


def transform(algorithm: bytes) -> bytes:
    return reference(
        b'<ds:Transform Algorithm="http://www.w3.org/2001/10/xml-exc-c14n#"/>',
        b'<ds:Transform Algorithm="%s"/>' % algorithm,
    )


def instant(moment: datetime) -> bytes:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}".encode()


def confirmed(**window: datetime) -> bytes:
    said = b" ".join(name.encode() + b'="' + instant(moment) + b'"' for name, moment in window.items())
    return again(
        CONFIRMATION,
        CONFIRMATION.replace(
            b"/>", b"><saml:SubjectConfirmationData " + said + b"/></saml:SubjectConfirmation>"
        ),
    )


ENDS = ISSUED + timedelta(minutes=5)
ROLE = re.search(rb"<Role [^>]*/>", GENUINE).group()
REFERENCE = re.search(rb"<ds:Reference .*</ds:Reference>", SIGNATURE).group()
AUTHN = re.search(rb"<saml:AuthnStatement.*</saml:AuthnStatement>", GENUINE).group()
AUDIENCES = re.search(rb"<saml:AudienceRestriction>.*</saml:AudienceRestriction>", GENUINE).group()
CONFIRMATION = re.search(rb"<saml:SubjectConfirmation [^>]*/>", GENUINE).group()
CANONICALIZATION = re.search(rb"<ds:CanonicalizationMethod [^>]*/>", SIGNATURE).group()
EXC = b"http://www.w3.org/2001/10/xml-exc-c14n#"
C14N = b"http://www.w3.org/TR/2001/REC-xml-c14n-20010315"
BEARER = b"urn:oasis:names:tc:SAML:2.0:cm:bearer"
RSA_KEY = rsa.generate_private_key(65537, 2048)

TWO_COMMUNITIES = (
    b'<saml:AttributeStatement><saml:Attribute Name="urn:ihe:iti:xca:2010:homeCommunityId">'
    b"<saml:AttributeValue>urn:oid:2.999.1</saml:AttributeValue>"
    b"<saml:AttributeValue>urn:oid:2.999.2</saml:AttributeValue>"
    b"</saml:Attribute></saml:AttributeStatement>"
)
FOR_ANOTHER = b' xmlns:s="http://www.w3.org/2003/05/soap-envelope" s:role="urn:other"'

CASES: dict[str, tuple[str, bytes]] = {
    # the header
    "an unsigned assertion beside the signed one": (
        "InvalidSecurity",
        envelope(security(GENUINE, EVIL_OTHER_ID)),
    ),
    "two signed assertions": (
        "InvalidSecurity",
        envelope(security(GENUINE, assertion_for("u-779", not_before=ISSUED))),
    ),
    "an empty Security header": ("InvalidSecurity", envelope(security())),
    "a Timestamp alone": ("InvalidSecurity", envelope(security(timestamp(ISSUED, ENDS)))),
    "two Security headers for us": ("InvalidSecurity", envelope(security(GENUINE), security(GENUINE))),
    "a second Security header for us without a token": (
        "InvalidSecurity",
        envelope(security(GENUINE), security(timestamp(ISSUED, ENDS))),
    ),
    "a Security header for somebody else alone": (
        "InvalidSecurity",
        envelope(security(GENUINE, attributes=FOR_ANOTHER)),
    ),
    "an assertion in the body too": ("InvalidSecurity", envelope(security(GENUINE), body=EVIL_OTHER_ID)),
    "the ID of the assertion elsewhere in the message": (
        "InvalidSecurity",
        envelope(security(GENUINE), body=b'<other ID="' + ID + b'"/>'),
    ),
    "a reference to a token": (
        "SecurityTokenUnavailable",
        envelope(security(b"<wsse:SecurityTokenReference/>")),
    ),
    "a user name and password": (
        "UnsupportedSecurityToken",
        envelope(security(b"<wsse:UsernameToken><wsse:Username>u-778</wsse:Username></wsse:UsernameToken>")),
    ),
    "a SAML 1.1 assertion": (
        "UnsupportedSecurityToken",
        envelope(security(b'<Assertion xmlns="urn:oasis:names:tc:SAML:1.0:assertion" AssertionID="_a"/>')),
    ),
    "an encrypted assertion": (
        "UnsupportedSecurityToken",
        envelope(security(b'<s:EncryptedAssertion xmlns:s="urn:oasis:names:tc:SAML:2.0:assertion"/>')),
    ),
    "an encrypted assertion beside the signed one": (
        "UnsupportedSecurityToken",
        envelope(
            security(GENUINE, b'<s:EncryptedAssertion xmlns:s="urn:oasis:names:tc:SAML:2.0:assertion"/>')
        ),
    ),
    "an expired Timestamp": (
        "MessageExpired",
        envelope(security(timestamp(NOW - timedelta(hours=1), NOW - timedelta(minutes=2)), GENUINE)),
    ),
    "a Timestamp of tomorrow": (
        "MessageExpired",
        envelope(security(timestamp(NOW + timedelta(days=1), NOW + timedelta(days=2)), GENUINE)),
    ),
    "an unreadable Timestamp": (
        "InvalidSecurity",
        envelope(security(b"<wsu:Timestamp><wsu:Created>now</wsu:Created></wsu:Timestamp>", GENUINE)),
    ),
    "two Timestamps": (
        "InvalidSecurity",
        envelope(security(timestamp(ISSUED, ENDS), timestamp(ISSUED, ENDS), GENUINE)),
    ),
    # the token
    "version 1.1 written on it": ("UnsupportedSecurityToken", alone(again(b'"2.0"', b'"1.1"'))),
    "holder of key": (
        "UnsupportedSecurityToken",
        alone(again(BEARER, b"urn:oasis:names:tc:SAML:2.0:cm:holder-of-key")),
    ),
    "sender vouches": (
        "UnsupportedSecurityToken",
        alone(again(BEARER, b"urn:oasis:names:tc:SAML:2.0:cm:sender-vouches")),
    ),
    "an assertion as advice in the assertion": (
        "InvalidSecurity",
        alone(
            again(
                b"<saml:AuthnStatement",
                b"<saml:Advice>" + EVIL_OTHER_ID + b"</saml:Advice><saml:AuthnStatement",
            )
        ),
    ),
    "an ID twice in the assertion": (
        "InvalidSecurity",
        alone(edited(GENUINE, b"<Role ", b'<Role ID="' + ID + b'" ')),
    ),
    # algorithms
    "HMAC with the public key as its secret": ("UnsupportedAlgorithm", alone(with_public_key_as_secret)),
    "RSA with SHA-1": (
        "UnsupportedAlgorithm",
        alone(signed_with(GENUINE, SignatureMethod.RSA_SHA1, DigestAlgorithm.SHA256, RSA_KEY)),
    ),
    "ECDSA with SHA-1": (
        "UnsupportedAlgorithm",
        alone(signed_with(GENUINE, SignatureMethod.ECDSA_SHA1, DigestAlgorithm.SHA256, IDP.key)),
    ),
    "a SHA-1 digest": (
        "UnsupportedAlgorithm",
        alone(signed_with(GENUINE, SignatureMethod.ECDSA_SHA256, DigestAlgorithm.SHA1, IDP.key)),
    ),
    "a SHA-224 digest": (
        "UnsupportedAlgorithm",
        alone(signed_with(GENUINE, SignatureMethod.ECDSA_SHA256, DigestAlgorithm.SHA224, IDP.key)),
    ),
    "an XSLT transform": (
        "UnsupportedAlgorithm",
        alone(transform(b"http://www.w3.org/TR/1999/REC-xslt-19991116")),
    ),
    "an XPath transform": (
        "UnsupportedAlgorithm",
        alone(transform(b"http://www.w3.org/TR/1999/REC-xpath-19991116")),
    ),
    "an XPath filter": (
        "UnsupportedAlgorithm",
        alone(transform(b"http://www.w3.org/2002/06/xmldsig-filter2")),
    ),
    "a base64 transform": (
        "UnsupportedAlgorithm",
        alone(transform(b"http://www.w3.org/2000/09/xmldsig#base64")),
    ),
    "inclusive canonicalization of the assertion": ("UnsupportedAlgorithm", alone(transform(C14N))),
    "canonicalization with comments": ("UnsupportedAlgorithm", alone(transform(EXC + b"WithComments"))),
    "inclusive canonicalization of SignedInfo": (
        "UnsupportedAlgorithm",
        alone(
            reference(
                b'CanonicalizationMethod Algorithm="' + EXC, b'CanonicalizationMethod Algorithm="' + C14N
            )
        ),
    ),
    "a parameter inside a transform": (
        "UnsupportedAlgorithm",
        alone(
            reference(
                b'<ds:Transform Algorithm="http://www.w3.org/2000/09/xmldsig#enveloped-signature"/>',
                b'<ds:Transform Algorithm="http://www.w3.org/2000/09/xmldsig#enveloped-signature">'
                b"<ds:XPath>//*</ds:XPath></ds:Transform>",
            )
        ),
    ),
    # the signature
    "no signature": ("FailedCheck", alone(UNSIGNED)),
    "a tampered role": ("FailedCheck", alone(edited(GENUINE, b'code="RAD-PHYS"', b'code="CHIEF"'))),
    "a tampered user": ("FailedCheck", alone(edited(GENUINE, b"u-778", b"u-666"))),
    "a tampered validity": (
        "FailedCheck",
        alone(edited(GENUINE, instant(ENDS), instant(ENDS + timedelta(hours=9)))),
    ),
    "a key and certificate of the attacker in KeyInfo": ("FailedCheck", alone(by_stranger)),
    "the key of another community": (
        "FailedCheck",
        alone(
            AssertionIssuer(NORTH.issuer, provider(SOUTH).key, provider(SOUTH).certificate).sign(
                AssertionContent(name_id="u-666", audience=AUDIENCE, not_before=ISSUED)
            )
        ),
    ),
    "RSA under an issuer whose key is EC": (
        "FailedCheck",
        alone(signed_with(GENUINE, SignatureMethod.RSA_SHA256, DigestAlgorithm.SHA256, RSA_KEY)),
    ),
    "an empty reference URI": ("FailedCheck", alone(reference(b'URI="#' + ID, b'URI="'))),
    "no reference URI": ("FailedCheck", alone(reference(b'URI="#' + ID + b'"', b""))),
    "an XPointer": ("FailedCheck", alone(reference(b'URI="#' + ID, b"URI=\"#xpointer(id('" + ID + b"'))"))),
    "a URL as reference": (
        "FailedCheck",
        alone(reference(b'URI="#' + ID, b'URI="https://attacker.example/')),
    ),
    "two references": ("FailedCheck", alone(reference(REFERENCE, REFERENCE + REFERENCE))),
    "no reference": ("FailedCheck", alone(reference(REFERENCE, b""))),
    "an empty SignedInfo": (
        "FailedCheck",
        alone(re.sub(rb"<ds:SignedInfo>.*</ds:SignedInfo>", b"<ds:SignedInfo/>", GENUINE)),
    ),
    "no canonicalization method": ("FailedCheck", alone(reference(CANONICALIZATION, b""))),
    "something more in the reference": (
        "FailedCheck",
        alone(reference(b"</ds:Reference>", b"<ds:DigestValue>QQ==</ds:DigestValue></ds:Reference>")),
    ),
    "the transforms the other way round": (
        "FailedCheck",
        alone(
            reference(
                re.search(rb"<ds:Transforms>.*</ds:Transforms>", SIGNATURE).group(),
                b'<ds:Transforms><ds:Transform Algorithm="' + EXC + b'"/><ds:Transform Algorithm='
                b'"http://www.w3.org/2000/09/xmldsig#enveloped-signature"/></ds:Transforms>',
            )
        ),
    ),
    "no transforms": (
        "FailedCheck",
        alone(reference(re.search(rb"<ds:Transforms>.*</ds:Transforms>", SIGNATURE).group(), b"")),
    ),
    "an Object in the signature": (
        "FailedCheck",
        alone(edited(GENUINE, SIGNATURE, wrapped_in_object(SIGNATURE, b"<x/>"))),
    ),
    "the signature deeper in the assertion": (
        "FailedCheck",
        alone(into(UNSIGNED, b"</saml:Subject>", SIGNATURE)),
    ),
    "two signatures": ("FailedCheck", alone(into(GENUINE, AFTER_ISSUER, SIGNATURE))),
    "an empty signature value": (
        "FailedCheck",
        alone(re.sub(rb"<ds:SignatureValue>.*</ds:SignatureValue>", b"<ds:SignatureValue/>", GENUINE)),
    ),
    "an empty digest value": (
        "FailedCheck",
        alone(
            reference(
                re.search(rb"<ds:DigestValue>.*</ds:DigestValue>", SIGNATURE).group(), b"<ds:DigestValue/>"
            )
        ),
    ),
    "a comment before an empty signature value": (
        "FailedCheck",
        alone(
            re.sub(rb"<ds:SignatureValue>.*</ds:SignatureValue>", b"<!--QQ==--><ds:SignatureValue/>", GENUINE)
        ),
    ),
    "a comment in the digest value": (
        "FailedCheck",
        alone(edited(GENUINE, b"<ds:DigestValue>", b"<ds:DigestValue>QQ==<!-- -->")),
    ),
    "a signature of nothing": (
        "FailedCheck",
        alone(edited(GENUINE, SIGNATURE, b'<ds:Signature xmlns:ds="http://www.w3.org/2000/09/xmldsig#"/>')),
    ),
    "a relative namespace": (
        "FailedCheck",
        alone(edited(GENUINE, b"<saml:Subject>", b'<saml:Subject xmlns:up="../up">')),
    ),
    "a relative namespace on the envelope": (
        "FailedCheck",
        alone(GENUINE).replace(b"<soap:Envelope ", b'<soap:Envelope xmlns:up="up" '),
    ),
    # trust
    "an unknown issuer": (
        "FailedAuthentication",
        alone(assertion_for("u-778", SOUTH, not_before=ISSUED)),
    ),
    "an issuer whose name begins like ours": (
        "FailedAuthentication",
        alone(again(NORTH.issuer.encode(), NORTH.issuer.encode() + b".evil")),
    ),
    # the content
    "a comment in NameID": ("InvalidSecurityToken", alone(edited(GENUINE, b"u-778", b"u-7<!-- -->78"))),
    "a comment in front of a value": (
        "InvalidSecurityToken",
        alone(edited(GENUINE, b"u-778", b"<!-- -->u-778")),
    ),
    "a comment in an organization": (
        "InvalidSecurityToken",
        alone(edited(GENUINE, b"North Hospital", b"North<!-- --> Hospital")),
    ),
    "a wrong audience": ("InvalidSecurityToken", alone(again(AUDIENCE.encode(), b"urn:oid:2.999.66"))),
    "the audience of another endpoint": (
        "InvalidSecurityToken",
        alone(again(AUDIENCE.encode(), b"https://repository.example/xds/repository")),
    ),
    "no audience": ("InvalidSecurityToken", alone(again(AUDIENCES, b""))),
    "one of two restrictions unmet": (
        "InvalidSecurityToken",
        alone(again(AUDIENCES, AUDIENCES + AUDIENCES.replace(AUDIENCE.encode(), b"urn:oid:2.999.66"))),
    ),
    "another recipient": (
        "InvalidSecurityToken",
        alone(assertion_for("u-778", not_before=ISSUED, recipient="https://elsewhere.example/")),
    ),
    "expired": (
        "InvalidSecurityToken",
        alone(assertion_for("u-778", not_before=NOW - timedelta(minutes=30))),
    ),
    "not yet valid": (
        "InvalidSecurityToken",
        alone(assertion_for("u-778", not_before=NOW + timedelta(minutes=2))),
    ),
    "a lifetime above an hour": (
        "InvalidSecurityToken",
        alone(assertion_for("u-778", not_before=ISSUED, lifetime_seconds=3601)),
    ),
    "a lifetime below zero": (
        "InvalidSecurityToken",
        alone(assertion_for("u-778", not_before=ISSUED, lifetime_seconds=-1)),
    ),
    "no end": ("InvalidSecurityToken", alone(again(b' NotOnOrAfter="' + instant(ENDS) + b'"', b""))),
    "no begin": ("InvalidSecurityToken", alone(again(b' NotBefore="' + instant(ISSUED) + b'"', b""))),
    "a time without zone": ("InvalidSecurityToken", alone(again(instant(ENDS), instant(ENDS)[:-1]))),
    "a day that does not exist": (
        "InvalidSecurityToken",
        alone(again(instant(ENDS), b"2030-02-30T00:00:00Z")),
    ),
    "the last year": ("InvalidSecurityToken", alone(again(instant(ENDS), b"9999-12-31T23:59:59-14:00"))),
    "no conditions": (
        "InvalidSecurityToken",
        alone(again(re.search(rb"<saml:Conditions.*</saml:Conditions>", GENUINE).group(), b"")),
    ),
    "an expired confirmation": (
        "InvalidSecurityToken",
        alone(confirmed(NotOnOrAfter=NOW - timedelta(minutes=5))),
    ),
    "a confirmation of tomorrow": (
        "InvalidSecurityToken",
        alone(confirmed(NotBefore=NOW + timedelta(days=1))),
    ),
    "no confirmation": ("InvalidSecurityToken", alone(again(CONFIRMATION, b""))),
    "no AuthnStatement": ("InvalidSecurityToken", alone(again(AUTHN, b""))),
    "an AuthnStatement that says nothing": (
        "InvalidSecurityToken",
        alone(
            again(
                re.search(rb"<saml:AuthnContextClassRef>.*</saml:AuthnContextClassRef>", AUTHN).group(), b""
            )
        ),
    ),
    "no NameID": (
        "InvalidSecurityToken",
        alone(again(re.search(rb"<saml:NameID.*</saml:NameID>", GENUINE).group(), b"")),
    ),
    "an empty NameID": ("InvalidSecurityToken", alone(again(b"u-778", b" "))),
    "an element in NameID": ("InvalidSecurityToken", alone(again(b"u-778", b"u-778<x/>"))),
    "a role without code": ("InvalidSecurityToken", alone(again(b'code="RAD-PHYS"', b'code=""'))),
    "a role without system": ("InvalidSecurityToken", alone(again(b' codeSystem="2.999.40.1"', b""))),
    "two home communities": ("InvalidSecurityToken", alone(again(AUTHN, AUTHN + TWO_COMMUNITIES))),
    "a role as text that names a code system": (
        "InvalidSecurityToken",
        alone(again(ROLE, b"RAD-PHYS^^2.999.40.1")),
    ),
    "an empty role": ("InvalidSecurityToken", alone(again(ROLE, b" "))),
    "a condition that nobody knows": (
        "InvalidSecurityToken",
        alone(
            again(
                b"</saml:Conditions>",
                b'<saml:Condition><x xmlns="urn:x"/></saml:Condition></saml:Conditions>',
            )
        ),
    ),
    "a condition without a word": (
        "InvalidSecurityToken",
        alone(again(b"</saml:Conditions>", b"<saml:Condition/></saml:Conditions>")),
    ),
    "a role of another namespace": (
        "InvalidSecurityToken",
        alone(again(ROLE, ROLE.replace(b"urn:hl7-org:v3", b"urn:other"))),
    ),
    "more than 64 KB": (
        "InvalidSecurityToken",
        alone(assertion_for("u-778", not_before=ISSUED, organization="x" * 65_536)),
    ),
}


@pytest.mark.parametrize("warm", [False, True], ids=["cold", "warm"])
@pytest.mark.parametrize(("name", "message"), CASES.values(), ids=CASES.keys())
def test_it_is_refused_with_its_subcode(name, message, warm):
    fault = refusal(message, warm=warm)

    assert fault.subcode == (WSU if name == "MessageExpired" else WSSE, name)
    assert fault.reason == "The security token could not be accepted."


def test_every_refused_case_leaves_the_genuine_assertion_accepted():
    authenticator = an_authenticator()
    for _, message in CASES.values():
        with pytest.raises(SecurityFault):
            user_of(authenticator, message)

    assert user_of(authenticator, envelope(security(GENUINE))).name_id == "u-778"


def test_a_refusal_tells_the_record_whom_the_assertion_claims_and_the_sender_nothing():
    fault = refusal(alone(edited(GENUINE, b"u-778", b"u-666")), warm=False)

    assert fault.claimed == f"who<u-666@{NORTH.issuer}>"
    assert "u-666" not in fault.reason + fault.detail


SOAP = b'xmlns:soap="http://www.w3.org/2003/05/soap-envelope"'
HEADER = b"<soap:Header>" + security(GENUINE) + b"</soap:Header>"


@pytest.mark.parametrize(
    "message",
    [
        security(GENUINE),
        b"<soap:Header " + SOAP + b">" + security(GENUINE) + b"</soap:Header>",
        b"<soap:Envelope " + SOAP + b"><soap:Body>" + security(GENUINE) + b"</soap:Body></soap:Envelope>",
        b"<soap:Envelope " + SOAP + b"><Header>" + security(GENUINE) + b"</Header></soap:Envelope>",
        b"<Envelope " + SOAP + b">" + HEADER + b"</Envelope>",
        b"<outer><soap:Envelope " + SOAP + b">" + HEADER + b"</soap:Envelope></outer>",
        envelope(b"<block>" + security(GENUINE) + b"</block>"),
    ],
    ids=["root", "no envelope", "in the body", "other header", "other envelope", "deeper", "in a block"],
)
def test_a_security_header_anywhere_else_is_refused(message):
    found = next(parse(message).iter(f"{{{WSSE}}}Security"))

    with pytest.raises(SecurityFault) as refused:
        assertion_of(found)

    assert refused.value.subcode == (WSSE, "InvalidSecurity")


def test_what_is_no_security_header_is_refused():
    message = parse(envelope(b"<other>" + GENUINE + b"</other>"))

    with pytest.raises(SecurityFault):
        assertion_of(message[0][0])


@pytest.mark.parametrize(
    "came",
    [
        timestamp(ISSUED, ENDS),
        timestamp(NOW + timedelta(seconds=60), ENDS),
        timestamp(ISSUED, NOW - timedelta(seconds=59)),
        b"<wsu:Timestamp/>",
        timestamp(ISSUED, ENDS).replace(b"wsu:Expires", b"wsu:Other"),
    ],
    ids=["in its window", "just begun", "just ended", "empty", "without end"],
)
def test_a_timestamp_of_now_is_no_harm(came):
    assert user_of(an_authenticator(), envelope(security(came, GENUINE))).name_id == "u-778"


@pytest.mark.parametrize(
    "token",
    [
        again(
            b"<saml:AuthnStatement", b"<saml:Advice>" + EVIL_OTHER_ID + b"</saml:Advice><saml:AuthnStatement"
        ),
        again(
            b"<saml:AuthnStatement",
            b"<saml:Advice><saml:EncryptedAssertion/></saml:Advice><saml:AuthnStatement",
        ),
        edited(GENUINE, b"<Role ", b'<Role Id="' + ID + b'" '),
        edited(GENUINE, b"<Role ", b'<Role xml:id="' + ID + b'" '),
    ],
    ids=["an assertion within", "an encrypted one within", "the ID twice", "the ID twice as xml:id"],
)
def test_a_bearer_token_is_as_unambiguous_as_a_header(token):
    with pytest.raises(SecurityFault) as refused:
        asyncio.run(
            an_authenticator().caller(
                LOCAL_NODE, door="ITI-18", endpoint=ENDPOINT, bearer=bearer(token), speaker_is_user=True
            )
        )

    assert refused.value.subcode == (WSSE, "InvalidSecurity")


def test_a_relative_namespace_is_refused_before_canonicalization_meets_it():
    with pytest.raises(SecurityFault, match="could not be accepted") as refused:
        xmldsig.check_shape(parse(edited(GENUINE, b"<saml:Subject>", b'<saml:Subject xmlns:up="../up">')))

    assert "relative" in refused.value.detail


@pytest.mark.parametrize(
    "signed", [EVIL_OTHER_ID, b"<other ID='" + ID + b"'/>"], ids=["another id", "another element"]
)
def test_signed_octets_that_are_another_element_are_not_read(monkeypatch, signed):
    """No input is known that gets there; the reading does not rely on it."""
    monkeypatch.setattr(xmldsig, "verify", lambda *_: (signed, IDP.certificate))

    with pytest.raises(SecurityFault) as refused:
        a_verifier().verify(parse(GENUINE), NOW)

    assert refused.value.subcode == (WSSE, "FailedCheck")


def test_a_second_security_header_for_somebody_else_is_not_ours_to_judge():
    other = security(attributes=FOR_ANOTHER)

    assert user_of(an_authenticator(), envelope(security(GENUINE), other)).name_id == "u-778"


def test_a_document_type_in_a_bearer_token_is_refused():
    with pytest.raises(SecurityFault) as refused:
        assertion_of_bearer(bearer(b'<!DOCTYPE a [<!ENTITY x "y">]>' + GENUINE))

    assert refused.value.subcode == (WSSE, "InvalidSecurity")


def test_a_document_type_in_utf16_is_refused():
    octets = ('<!DOCTYPE a [<!ENTITY x "y">]>' + GENUINE.decode()).encode("utf-16")

    with pytest.raises(SecurityFault) as refused:
        verified(octets, {}, NOW)

    assert refused.value.subcode == (WSSE, "InvalidSecurity")


def test_a_remembered_assertion_expires():
    verifier = a_verifier()
    assertion = parse(GENUINE)
    assert verifier.verify(assertion, NOW)

    with pytest.raises(SecurityFault) as refused:
        verifier.verify(assertion, ENDS + timedelta(seconds=61))

    assert refused.value.subcode == (WSSE, "InvalidSecurityToken")


def test_a_remembered_assertion_is_still_for_its_recipient_alone():
    verifier = a_verifier()
    assertion = parse(assertion_for("u-778", not_before=ISSUED, recipient=ENDPOINT))
    assert verifier.verify(assertion, NOW, endpoint=ENDPOINT)

    with pytest.raises(SecurityFault):
        verifier.verify(assertion, NOW, endpoint="https://repository.example/xds/repository")


def test_a_remembered_assertion_falls_with_the_certificate_that_verified_it():
    verifier = a_verifier()
    assertion = parse(GENUINE)
    assert verifier.verify(assertion, NOW)

    with pytest.raises(SecurityFault) as refused:
        verifier.verify(assertion, NOW + timedelta(days=3_000))

    assert refused.value.subcode == (WSSE, "FailedAuthentication")


def test_the_same_octets_in_another_envelope_of_other_namespaces_are_verified_anew():
    authenticator = an_authenticator()
    assert user_of(authenticator, envelope(security(GENUINE))).name_id == "u-778"

    elsewhere = envelope(security(GENUINE)).replace(b"<soap:Header>", b'<soap:Header xmlns:a="urn:a">')

    assert user_of(authenticator, elsewhere).name_id == "u-778"
