"""Assertions and tokens, and what can be wrong with them."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterator
from typing import Any, Final

from lxml import etree

from conformance.corpus.example import Example, mutated
from conformance.corpus.metadata import Change, encode, swap

_SAML: Final = "urn:oasis:names:tc:SAML:2.0:assertion"
_DS: Final = "http://www.w3.org/2000/09/xmldsig#"
_EXCLUSIVE: Final = "http://www.w3.org/2001/10/xml-exc-c14n#"
_SHA256: Final = "http://www.w3.org/2001/04/xmlenc#sha256"
_RSA: Final = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"
_TRANSFORM: Final = f'<ds:Transform Algorithm="{_DS}enveloped-signature"/>'


def attribute(name: str, value: str) -> str:
    """An attribute of one value."""
    return f'<s:Attribute Name="{name}"><s:AttributeValue>{value}</s:AttributeValue></s:Attribute>'


def coded(element: str, code: str, system: str) -> str:
    """A value of HL7 v3."""
    return f'<{element} xmlns="urn:hl7-org:v3" code="{code}" codeSystem="{system}" displayName="{code}"/>'


def assertion(swiss: bool = False) -> str:
    """An assertion about a radiologist; its digest is right, its signature of nobody."""
    purpose = coded("PurposeOfUse", "NORM", "2.16.756.5.30.1.127.3.10.5") if swiss else ""
    purpose = purpose or coded("PurposeOfUse", "TREAT", "2.16.840.1.113883.5.8")
    role = coded("Role", "HCP", "2.16.756.5.30.1.127.3.10.6") if swiss else ""
    role = role or coded("Role", "RAD-PHYS", "1.2.3.40")
    authority = "2.16.756.5.30.1.127.3.10.3" if swiss else "1.2.3.9"
    audience = "urn:e-health-suisse:token-audience:all-communities" if swiss else "urn:oid:1.2.3.7"
    unsigned = (
        f'<s:Assertion xmlns:s="{_SAML}" ID="_a1" Version="2.0" IssueInstant="2026-03-01T09:15:00Z">'
        "<s:Issuer>https://idp.example.org</s:Issuer>@@"
        "<s:Subject><s:NameID>u-778</s:NameID>"
        '<s:SubjectConfirmation Method="urn:oasis:names:tc:SAML:2.0:cm:bearer"/></s:Subject>'
        '<s:Conditions NotBefore="2026-03-01T09:15:00Z" NotOnOrAfter="2026-03-01T09:25:00Z">'
        f"<s:AudienceRestriction><s:Audience>{audience}</s:Audience></s:AudienceRestriction></s:Conditions>"
        '<s:AuthnStatement AuthnInstant="2026-03-01T09:14:00Z"><s:AuthnContext><s:AuthnContextClassRef>'
        "urn:oasis:names:tc:SAML:2.0:ac:classes:X509</s:AuthnContextClassRef></s:AuthnContext>"
        "</s:AuthnStatement><s:AttributeStatement>"
        + attribute("urn:oasis:names:tc:xspa:1.0:subject:subject-id", "Ann Roe")
        + attribute("urn:oasis:names:tc:xspa:1.0:subject:organization-id", "urn:oid:1.2.3.8")
        + attribute("urn:ihe:iti:xca:2010:homeCommunityId", "urn:oid:1.2.3.900")
        + attribute("urn:oasis:names:tc:xacml:2.0:subject:role", role)
        + attribute("urn:oasis:names:tc:xspa:1.0:subject:purposeofuse", purpose)
        + attribute("urn:oasis:names:tc:xacml:2.0:resource:resource-id", f"P1^^^&amp;{authority}&amp;ISO")
        + attribute("urn:ihe:iti:bppc:2007:docid", "urn:oid:1.2.3.90")
        + attribute(
            "urn:ihe:iti:xua:2017:subject:provider-identifier",
            '<id xmlns="urn:hl7-org:v3" root="1.2.3.41" extension="77"/>',
        )
        + "</s:AttributeStatement></s:Assertion>"
    )
    canonical = etree.tostring(
        etree.fromstring(unsigned.replace("@@", "").encode()), method="c14n", exclusive=True
    )
    digest = base64.b64encode(hashlib.sha256(canonical).digest()).decode()
    return unsigned.replace("@@", _signature(digest))


def _signature(digest: str) -> str:
    return (
        f'<ds:Signature xmlns:ds="{_DS}"><ds:SignedInfo>'
        f'<ds:CanonicalizationMethod Algorithm="{_EXCLUSIVE}"/><ds:SignatureMethod Algorithm="{_RSA}"/>'
        f'<ds:Reference URI="#_a1"><ds:Transforms>{_TRANSFORM}<ds:Transform Algorithm="{_EXCLUSIVE}"/>'
        f'</ds:Transforms><ds:DigestMethod Algorithm="{_SHA256}"/><ds:DigestValue>{digest}</ds:DigestValue>'
        "</ds:Reference></ds:SignedInfo><ds:SignatureValue>AAAA</ds:SignatureValue></ds:Signature>"
    )


_BEARER: Final = "urn:oasis:names:tc:SAML:2.0:cm:bearer"
_IHE: Final[dict[str, tuple[str, Change]]] = {
    "no XML": ("XUA-001", swap("</s:Assertion>", "</s:Assert>")),
    "version 1.1": ("XUA-001", swap('Version="2.0"', 'Version="1.1"')),
    "no ID": ("XUA-002", swap(' ID="_a1"', "")),
    "an IssueInstant without zone": ("XUA-002", swap("09:15:00Z", "09:15:00")),
    "no Issuer": ("XUA-003", swap("https://idp.example.org", "")),
    "no signature": ("XUA-004", swap(_DS, "urn:other", 1)),
    "a reference to something else": ("XUA-005", swap('URI="#_a1"', 'URI="#_a2"')),
    "SHA-1": ("XUA-006", swap(_RSA, f"{_DS}rsa-sha1")),
    "HMAC": ("XUA-006", swap(_RSA, f"{_DS}hmac-sha1")),
    "an XSLT transform": (
        "XUA-006",
        swap(f"{_DS}enveloped-signature", "http://www.w3.org/TR/1999/REC-xslt-19991116"),
    ),
    "another user after signing": ("XUA-007", swap("u-778", "u-779")),
    "no NameID": ("XUA-008", swap("<s:NameID>u-778</s:NameID>", "")),
    "sender-vouches": ("XUA-009", swap(_BEARER, _BEARER.replace("bearer", "sender-vouches"))),
    "holder of key without key": ("XUA-009", swap(_BEARER, _BEARER.replace("bearer", "holder-of-key"))),
    "no NotBefore": ("XUA-010", swap('NotBefore="2026-03-01T09:15:00Z" ', "")),
    "no NotOnOrAfter": ("XUA-011", swap(' NotOnOrAfter="2026-03-01T09:25:00Z"', "")),
    "an end before the beginning": ("XUA-011", swap("T09:25:00Z", "T09:05:00Z")),
    "a day of validity": ("XUA-012", swap("01T09:25:00Z", "02T09:25:00Z")),
    "no audience": ("XUA-013", swap("<s:Audience>urn:oid:1.2.3.7</s:Audience>", "")),
    "no AuthnStatement": ("XUA-014", swap("s:AuthnContext>", "s:Context>", 2)),
    "a role as text": ("XUA-015", swap(coded("Role", "RAD-PHYS", "1.2.3.40"), "RAD-PHYS")),
    "a role without codeSystem": ("XUA-015", swap(' codeSystem="1.2.3.40"', "")),
    "PurposeForUse": ("XUA-016", swap("<PurposeOfUse", "<PurposeForUse")),
    "a home that is an OID": ("XUA-018", swap(">urn:oid:1.2.3.900<", ">1.2.3.900<")),
    "an organization-id that is no URI": ("XUA-019", swap(">urn:oid:1.2.3.8<", ">Example Hospital<")),
    "a docid that is an OID": ("XUA-020", swap(">urn:oid:1.2.3.90<", ">1.2.3.90<")),
    "a resource-id that is no CX": ("XUA-021", swap("P1^^^&amp;1.2.3.9&amp;ISO", "P1")),
    "a provider as text": ("XUA-022", swap('extension="77"', "")),
    "NotBefore long before IssueInstant": (
        "XUA-023",
        swap('NotBefore="2026-03-01T09:15', 'NotBefore="2026-03-01T09:10'),
    ),
    "an empty subject-id": ("XUA-024", swap("Ann Roe", "")),
    "the subject before the issuer": (
        "XUA-025",
        swap(
            "<s:Issuer>https://idp.example.org</s:Issuer>",
            "<s:Subject/><s:Issuer>https://idp.example.org</s:Issuer>",
        ),
    ),
}
_SWISS: Final[dict[str, tuple[str, Change]]] = {
    "another role": ("CH-XUA-001", swap('code="HCP"', 'code="DOCTOR"')),
    "another purpose": (
        "CH-XUA-002",
        swap(
            'code="NORM" codeSystem="2.16.756.5.30.1.127.3.10.5"',
            'code="TREAT" codeSystem="2.16.840.1.113883.5.8"',
        ),
    ),
    "no EPR-SPID": ("CH-XUA-003", swap("2.16.756.5.30.1.127.3.10.3", "1.2.3.9")),
    "another audience": (
        "CH-XUA-004",
        swap("urn:e-health-suisse:token-audience:all-communities", "urn:oid:1.2.3"),
    ),
    "no organization-id": ("CH-XUA-005", swap("subject:organization-id", "subject:organization")),
}


def token(header: dict[str, Any], claims: dict[str, Any]) -> bytes:
    """A token whose signature is of nobody."""
    parts = (json.dumps(header).encode(), json.dumps(claims).encode(), b"signature")
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts).encode()


def _parts() -> dict[str, dict[str, Any]]:
    return {
        "header": {"alg": "ES256", "typ": "at+jwt", "kid": "k1"},
        "claims": {
            "iss": "https://idp.example.org",
            "sub": "u-778",
            "client_id": "viewer",
            "aud": ["https://xds.example.org"],
            "jti": "1",
            "scope": "ITI-67 ITI-68",
            "iat": 1772356500,
            "exp": 1772357100,
            "extensions": {
                "ihe_iua": {
                    "subject_role": [{"system": "urn:oid:1.2.3.40", "code": "RAD-PHYS"}],
                    "purpose_of_use": [{"system": "urn:oid:2.16.840.1.113883.5.8", "code": "TREAT"}],
                    "home_community_id": "urn:oid:1.2.3.900",
                },
                "ihe_bppc": {"patient_id": "P1^^^&1.2.3.9&ISO"},
            },
        },
    }


Parts = dict[str, dict[str, Any]]


def claims() -> dict[str, Any]:
    """The claims of a good token."""
    return _parts()["claims"]


def _claim(name: str, value: Any) -> Callable[[Parts], object]:
    return lambda parts: parts["claims"].update({name: value})


def _header(name: str, value: Any) -> Callable[[Parts], object]:
    return lambda parts: parts["header"].update({name: value})


def _user(name: str, value: Any) -> Callable[[Parts], object]:
    return lambda parts: parts["claims"]["extensions"]["ihe_iua"].update({name: value})


_TOKENS: Final[dict[str, tuple[str, Callable[[Parts], object]]]] = {
    "alg none": ("JWT-002", _header("alg", "none")),
    "no typ": ("JWT-003", _header("typ", "")),
    "no kid": ("JWT-004", _header("kid", "")),
    "no iss": ("JWT-005", _claim("iss", "")),
    "no sub": ("JWT-006", _claim("sub", "")),
    "no client_id": ("JWT-007", _claim("client_id", "")),
    "no aud": ("JWT-008", _claim("aud", [])),
    "no jti": ("JWT-009", _claim("jti", "")),
    "exp as text": ("JWT-010", _claim("exp", "2026-03-01")),
    "exp before iat": ("JWT-010", _claim("exp", 1772356000)),
    "no iat": ("JWT-011", _claim("iat", None)),
    "no scope": ("JWT-012", _claim("scope", "")),
    "unknown extensions": ("JWT-013", _claim("extensions", {"other": {}})),
    "a role as text": ("JWT-014", _user("subject_role", ["RAD-PHYS"])),
    "a home that is an OID": ("JWT-015", _user("home_community_id", "1.2.3.900")),
    "a day of validity": ("JWT-016", _claim("exp", 1772442900)),
    "a patient that is no CX": (
        "JWT-017",
        lambda parts: parts["claims"]["extensions"]["ihe_bppc"].update(patient_id="P1"),
    ),
}


def examples() -> Iterator[Example]:
    """Good and broken assertions and tokens."""
    yield from mutated("saml-assertion", "assertion", [assertion()], encode, _IHE)
    yield from mutated("saml-assertion", "Swiss assertion", [assertion(swiss=True)], encode, _SWISS)
    yield from mutated(
        "json-web-token", "token", _parts(), lambda parts: token(parts["header"], parts["claims"]), _TOKENS
    )
    yield Example("token: no JSON", "json-web-token", b"eyJh.eyJh.AAAA", "JWT-001")
