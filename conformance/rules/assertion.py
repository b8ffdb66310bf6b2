"""Assertions about users (SAML 2.0 core; ITI TF-2 3.40.4.1.2), and the Swiss profile as a pack of its own."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Callable, Iterator
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from typing import Final

from conformance.findings import Finding
from conformance.identifiers import OID, is_oid_urn, wrong_cx
from conformance.judgement import Judgement
from conformance.readers.source import Source
from conformance.readers.xml import Element, NotXml, document, local, place, text
from conformance.requirements import finding
from conformance.rules.signature import canonical, of_assertion

SAML: Final = "{urn:oasis:names:tc:SAML:2.0:assertion}"
_DS: Final = "{http://www.w3.org/2000/09/xmldsig#}"
_HL7: Final = "{urn:hl7-org:v3}"
_EXCLUSIVE: Final = "http://www.w3.org/2001/10/xml-exc-c14n#"
_ENVELOPED: Final = "http://www.w3.org/2000/09/xmldsig#enveloped-signature"
_BEARER: Final = "urn:oasis:names:tc:SAML:2.0:cm:bearer"
_HOLDER: Final = "urn:oasis:names:tc:SAML:2.0:cm:holder-of-key"
_ORDER: Final = (
    "Issuer", "Signature", "Subject", "Conditions", "Advice", "AuthnStatement", "AttributeStatement",
    "AuthzDecisionStatement",
)  # fmt: skip
_INSTANT: Final = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.\d+)?Z\Z", re.ASCII)
_DIGESTS: Final = {
    "http://www.w3.org/2001/04/xmlenc#sha256": "sha256",
    "http://www.w3.org/2001/04/xmldsig-more#sha384": "sha384",
    "http://www.w3.org/2001/04/xmlenc#sha512": "sha512",
}
_LONGEST: Final = timedelta(hours=1)

SUBJECT_ID: Final = "urn:oasis:names:tc:xspa:1.0:subject:subject-id"
ORGANIZATION_ID: Final = "urn:oasis:names:tc:xspa:1.0:subject:organization-id"
HOME: Final = "urn:ihe:iti:xca:2010:homeCommunityId"
ROLE: Final = "urn:oasis:names:tc:xacml:2.0:subject:role"
PURPOSE: Final = "urn:oasis:names:tc:xspa:1.0:subject:purposeofuse"
RESOURCE_ID: Final = "urn:oasis:names:tc:xacml:2.0:resource:resource-id"
PROVIDER: Final = "urn:ihe:iti:xua:2017:subject:provider-identifier"
_POLICIES: Final = ("urn:ihe:iti:bppc:2007:docid", "urn:ihe:iti:xua:2012:acp")


def judged(source: Source) -> Judgement:
    """An assertion alone."""
    judgement = Judgement("SAML assertion (XUA)")
    judgement.findings = _alone(source)
    return judgement


def _alone(source: Source) -> Iterator[Finding]:
    try:
        root = document(source)
    except NotXml as error:
        at, _, wrong = str(error).partition(": ")
        yield finding("XUA-001", at, wrong)
        return
    if root is not None:
        yield from assertion(root)


def assertion(root: Element) -> Iterator[Finding]:
    """An assertion, alone or in the header of a message."""
    if root.get("Version") != "2.0":
        yield finding("XUA-001", place(root, "@Version"), "another version", root.get("Version") or "")
    if not root.get("ID"):
        yield finding("XUA-002", place(root, "@ID"), "absent")
    issued = _instant(root.get("IssueInstant"))
    if issued is None:
        value = root.get("IssueInstant") or ""
        yield finding("XUA-002", place(root, "@IssueInstant"), "absent, or no time in UTC", value)
    names = [local(child) for child in root]
    positions = [_ORDER.index(name) for name in names if name in _ORDER]
    if positions != sorted(positions):
        yield finding("XUA-025", place(root), "another order", " ".join(names))
    if not text(root.find(f"{SAML}Issuer")):
        yield finding("XUA-003", place(root, "Issuer"), "absent")
    yield from _signature(root)
    yield from _subject(root)
    yield from _conditions(root, issued)
    if root.find(f"{SAML}AuthnStatement/{SAML}AuthnContext") is None:
        yield finding("XUA-014", place(root, "AuthnStatement"), "no AuthnContext")
    yield from _attributes(root)
    if _is_swiss(root):
        yield from _swiss(root)


def _instant(value: str | None) -> datetime | None:
    moment = _INSTANT.match(value or "")
    if moment is None:
        return None
    try:
        return datetime.fromisoformat(moment[1]).replace(tzinfo=UTC)
    except ValueError:
        return None


# --- signature ---------------------------------------------------------------------------------------


def _signature(root: Element) -> Iterator[Finding]:
    signatures = root.findall(f"{_DS}Signature")
    if len(signatures) != 1:
        yield finding("XUA-004", place(root, "Signature"), f"{len(signatures)} signatures")
        return
    (signature,) = signatures
    references = signature.findall(f"{_DS}SignedInfo/{_DS}Reference")
    if len(references) != 1 or references[0].get("URI") != f"#{root.get('ID')}":
        value = " ".join(one.get("URI") or "" for one in references)
        yield finding("XUA-005", place(signature, "SignedInfo/Reference"), "not the assertion alone", value)
        return
    (reference,) = references
    algorithms = [one.get("Algorithm") or "" for one in signature.iter(f"{_DS}Transform")]
    if sorted(set(algorithms)) != sorted({_ENVELOPED, _EXCLUSIVE}):
        yield finding("XUA-006", place(reference, "Transforms"), "other transforms", " ".join(algorithms))
        return
    method = signature.find(f"{_DS}SignedInfo/{_DS}SignatureMethod")
    algorithm = "" if method is None else method.get("Algorithm") or ""
    if not algorithm.endswith(("-sha256", "-sha384", "-sha512", "-MGF1")):
        yield finding("XUA-006", place(signature, "SignedInfo/SignatureMethod"), "too weak", algorithm)
    digest_method = reference.find(f"{_DS}DigestMethod")
    digest_algorithm = "" if digest_method is None else digest_method.get("Algorithm") or ""
    if digest_algorithm not in _DIGESTS:
        yield finding("XUA-006", place(reference, "DigestMethod"), "too weak", digest_algorithm)
        return
    yield from _digest(root, reference, _DIGESTS[digest_algorithm])
    yield from of_assertion(signature)


def _digest(root: Element, reference: Element, algorithm: str) -> Iterator[Finding]:
    """Whether the assertion is the one that was signed."""
    stated = text(reference.find(f"{_DS}DigestValue"))
    octets = canonical(_without_signature(root), reference.iter(f"{{{_EXCLUSIVE}}}InclusiveNamespaces"))
    right = hashlib.new(algorithm, octets).digest()
    try:
        value = base64.b64decode("".join(stated.split()), validate=True)
    except (binascii.Error, ValueError):
        value = b""
    if value != right:
        wrong = "not the digest of the assertion"
        yield finding("XUA-007", place(reference, "DigestValue"), wrong, stated)


def _without_signature(root: Element) -> Element:
    tree = deepcopy(root)
    tree.tail = None
    for signature in tree.findall(f"{_DS}Signature"):
        tail, before = signature.tail or "", signature.getprevious()
        tree.remove(signature)
        if before is not None:
            before.tail = (before.tail or "") + tail
        else:
            tree.text = (tree.text or "") + tail
    return tree


# --- subject, conditions, attributes -----------------------------------------------------------------


def _subject(root: Element) -> Iterator[Finding]:
    if not text(root.find(f"{SAML}Subject/{SAML}NameID")):
        yield finding("XUA-008", place(root, "Subject/NameID"), "absent")
    confirmations = root.findall(f"{SAML}Subject/{SAML}SubjectConfirmation")
    methods = {one.get("Method") or "" for one in confirmations}
    if not methods & {_BEARER, _HOLDER}:
        value = " ".join(sorted(methods))
        yield finding("XUA-009", place(root, "Subject/SubjectConfirmation"), "absent, or another", value)
    for one in confirmations:
        if one.get("Method") == _HOLDER and next(one.iter(f"{_DS}KeyInfo"), None) is None:
            yield finding("XUA-009", place(one), "holder of key without the key")


def _conditions(root: Element, issued: datetime | None) -> Iterator[Finding]:
    conditions = root.find(f"{SAML}Conditions")
    at = place(root, "Conditions")
    begins = _instant(None if conditions is None else conditions.get("NotBefore"))
    ends = _instant(None if conditions is None else conditions.get("NotOnOrAfter"))
    if begins is None:
        yield finding("XUA-010", f"{at}/@NotBefore", "absent, or no time in UTC")
    if ends is None:
        yield finding("XUA-011", f"{at}/@NotOnOrAfter", "absent, or no time in UTC")
    if begins is not None and ends is not None:
        if ends <= begins:
            yield finding("XUA-011", f"{at}/@NotOnOrAfter", "not after NotBefore", str(ends))
        elif ends - begins > _LONGEST:
            yield finding("XUA-012", at, "valid for more than an hour", str(ends - begins))
    if begins is not None and issued is not None and abs(begins - issued) > timedelta(seconds=60):
        yield finding("XUA-023", f"{at}/@NotBefore", "not IssueInstant", str(begins))
    audiences = [text(one) for one in root.iter(f"{SAML}Audience")]
    if not any(":" in audience for audience in audiences):
        value = " ".join(audiences)
        yield finding("XUA-013", f"{at}/AudienceRestriction/Audience", "absent, or no URI", value)


def attribute_values(root: Element, name: str) -> list[Element]:
    """Every AttributeValue of an attribute, across statements."""
    return [
        value
        for one in root.iter(f"{SAML}Attribute")
        if one.get("Name") == name
        for value in one.iterfind(f"{SAML}AttributeValue")
    ]


def _attributes(root: Element) -> Iterator[Finding]:
    for name, element, id in ((ROLE, "Role", "XUA-015"), (PURPOSE, "PurposeOfUse", "XUA-016")):
        for value in attribute_values(root, name):
            child = value.find(f"{_HL7}{element}")
            if child is None:
                yield finding(id, place(value), f"no {element} of urn:hl7-org:v3", text(value))
                continue
            if not child.get("code") or not OID.match(child.get("codeSystem") or ""):
                stated = f"{child.get('code')} {child.get('codeSystem')}"
                yield finding(id, place(child), "no code, or no OID as codeSystem", stated)
    for name, (id, wrong_of) in _TEXTS.items():
        for value in attribute_values(root, name):
            if wrong := wrong_of(text(value)):
                yield finding(id, place(value), wrong, text(value))
    for value in attribute_values(root, PROVIDER):
        child = value.find(f"{_HL7}id")
        if child is None or not OID.match(child.get("root") or "") or not child.get("extension"):
            yield finding("XUA-022", place(value), "no id of urn:hl7-org:v3 with root and extension")


def _wrong_uri(value: str) -> str:
    return "" if is_oid_urn(value) or value.startswith(("http://", "https://", "urn:")) else "no URI"


def _wrong_oid_urn(value: str) -> str:
    return "" if is_oid_urn(value) else "no urn:oid:"


_TEXTS: Final[dict[str, tuple[str, Callable[[str], str]]]] = {
    HOME: ("XUA-018", _wrong_oid_urn),
    ORGANIZATION_ID: ("XUA-019", _wrong_uri),
    _POLICIES[0]: ("XUA-020", _wrong_oid_urn),
    _POLICIES[1]: ("XUA-020", _wrong_oid_urn),
    RESOURCE_ID: ("XUA-021", wrong_cx),
    SUBJECT_ID: ("XUA-024", lambda value: "" if value else "empty"),
}

# --- the Swiss profile -------------------------------------------------------------------------------

_PURPOSES: Final = "2.16.756.5.30.1.127.3.10.5"
_ACTORS: Final = "2.16.756.5.30.1.127.3.10.6"
_SPID: Final = "&2.16.756.5.30.1.127.3.10.3&ISO"
_AUDIENCE: Final = "urn:e-health-suisse:token-audience:all-communities"
_ROLES: Final = frozenset({"HCP", "ASS", "TCU", "PAT", "REP", "PADM", "DADM"})


def _is_swiss(root: Element) -> bool:
    return any(
        child.get("codeSystem") in (_PURPOSES, _ACTORS)
        for name in (ROLE, PURPOSE)
        for value in attribute_values(root, name)
        for child in value
    )


def _swiss(root: Element) -> Iterator[Finding]:
    roles = [child for value in attribute_values(root, ROLE) for child in value]
    purposes = [child for value in attribute_values(root, PURPOSE) for child in value]
    codes = {one.get("code") or "" for one in roles}
    at = place(root, "AttributeStatement")
    if not codes & _ROLES or any(one.get("codeSystem") != _ACTORS for one in roles):
        yield finding("CH-XUA-001", at, "another role", " ".join(sorted(codes)))
    if any(one.get("codeSystem") != _PURPOSES for one in purposes) or not purposes:
        value = " ".join(one.get("code") or "" for one in purposes)
        yield finding("CH-XUA-002", at, "another purpose of use", value)
    patients = [text(value) for value in attribute_values(root, RESOURCE_ID)]
    if not codes & {"PADM", "DADM"} and not any(value.endswith(_SPID) for value in patients):
        yield finding("CH-XUA-003", at, "no EPR-SPID as resource-id", " ".join(patients))
    audiences = [text(one) for one in root.iter(f"{SAML}Audience")]
    if _AUDIENCE not in audiences:
        yield finding("CH-XUA-004", place(root, "Conditions"), "another audience", " ".join(audiences))
    if codes & {"HCP", "ASS"} and not attribute_values(root, ORGANIZATION_ID):
        yield finding("CH-XUA-005", at, "no organization-id of a professional")
