"""Consent documents by BPPC and APPC, and what can be wrong with them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from conformance.corpus.example import Example, mutated
from conformance.corpus.metadata import Change, all_of, encode, swap

_XACML: Final = "urn:oasis:names:tc:xacml:2.0:policy:schema:os"
_II: Final = "urn:hl7-org:v3#II"
_URI: Final = "http://www.w3.org/2001/XMLSchema#anyURI"


def _event(policy: str) -> str:
    return (
        '<documentationOf typeCode="DOC"><serviceEvent classCode="ACT" moodCode="EVN">'
        '<templateId root="1.3.6.1.4.1.19376.1.5.3.1.2.6"/><id root="1.2.3.90"/>'
        f'<code code="{policy}" codeSystem="1.2.3.91"/>'
        '<effectiveTime><low value="20260301"/><high value="20270301"/></effectiveTime>'
        "</serviceEvent></documentationOf>"
    )


def acknowledgement() -> str:
    """A patient acknowledges two policies."""
    return (
        '<ClinicalDocument xmlns="urn:hl7-org:v3"><templateId root="1.3.6.1.4.1.19376.1.5.3.1.1.1"/>'
        '<templateId root="1.3.6.1.4.1.19376.1.5.3.1.1.7"/><id root="2.25.4001"/>'
        '<code code="57016-8" codeSystem="2.16.840.1.113883.6.1"/><effectiveTime value="20260301"/>'
        '<recordTarget><patientRole><id root="1.3.6.1.4.1.21367.13.20.1000" extension="P-1"/></patientRole>'
        f"</recordTarget>{_event('1.2.3.92')}{_event('1.2.3.93')}</ClinicalDocument>"
    )


def policy() -> str:
    """A patient denies an organization."""
    return (
        f'<PolicySet xmlns="{_XACML}" PolicySetId="urn:uuid:00000000-0000-4000-8000-000000000001"'
        ' PolicyCombiningAlgId="urn:oasis:names:tc:xacml:1.0:policy-combining-algorithm:deny-overrides">'
        '<Target><Resources><Resource><ResourceMatch MatchId="urn:hl7-org:v3:function:II-equal">'
        f'<AttributeValue DataType="{_II}"><h:InstanceIdentifier xmlns:h="urn:hl7-org:v3"'
        ' root="1.3.6.1.4.1.21367.13.20.1000" extension="P-1"/></AttributeValue>'
        '<ResourceAttributeDesignator AttributeId="urn:oasis:names:tc:xacml:2.0:resource:resource-id"'
        f' DataType="{_II}"/></ResourceMatch></Resource></Resources></Target>'
        '<Policy PolicyId="urn:uuid:00000000-0000-4000-8000-000000000002"'
        ' RuleCombiningAlgId="urn:oasis:names:tc:xacml:1.0:rule-combining-algorithm:deny-overrides">'
        "<Target><Subjects><Subject>"
        '<SubjectMatch MatchId="urn:oasis:names:tc:xacml:1.0:function:anyURI-equal">'
        f'<AttributeValue DataType="{_URI}">urn:oid:1.2.3.8</AttributeValue>'
        '<SubjectAttributeDesignator AttributeId="urn:oasis:names:tc:xspa:1.0:subject:organization-id"'
        f' DataType="{_URI}"/></SubjectMatch></Subject></Subjects></Target>'
        '<Rule RuleId="r1" Effect="Deny"/></Policy></PolicySet>'
    )


_BPPC: Final[dict[str, tuple[str, Change]]] = {
    "no XML": ("CONSENT-001", swap("</ClinicalDocument>", "")),
    "no template": ("BPPC-001", swap('<templateId root="1.3.6.1.4.1.19376.1.5.3.1.1.7"/>', "")),
    "another code": ("BPPC-002", swap("57016-8", "18748-4")),
    "no id": ("BPPC-003", swap('<id root="2.25.4001"/>', "")),
    "a patient without extension": ("BPPC-004", swap(' extension="P-1"', "")),
    "no policy": ("BPPC-005", swap(_event("1.2.3.92") + _event("1.2.3.93"), "")),
    "an event that is a request": ("BPPC-006", swap('moodCode="EVN"', 'moodCode="RQO"')),
    "an event with an extension": ("BPPC-007", swap('root="1.2.3.90"', 'root="1.2.3.90" extension="1"')),
    "a policy by name": ("BPPC-008", swap('code="1.2.3.92"', 'code="OPT-IN"')),
    "two spans of time": ("BPPC-009", swap('<high value="20270301"/>', "")),
    "no beginning": ("BPPC-010", swap('<low value="20260301"/>', "", 2)),
}
_APPC: Final[dict[str, tuple[str, Change]]] = {
    "XACML 3.0": ("APPC-001", swap(_XACML, "urn:oasis:names:tc:xacml:3.0:core:schema:wd-17")),
    "an id that is no URN": ("APPC-002", swap("urn:uuid:00000000-0000-4000-8000-000000000001", "policy-1")),
    "one id twice": ("APPC-003", swap("000000000002", "000000000001")),
    "an unknown algorithm": (
        "APPC-004",
        swap("urn:oasis:names:tc:xacml:1.0:policy-combining-algorithm:", "urn:x:"),
    ),
    "an unknown effect": ("APPC-005", swap('Effect="Deny"', 'Effect="Refuse"')),
    "no patient": ("APPC-006", swap("h:InstanceIdentifier", "h:Other")),
    "a match without designator": ("APPC-007", swap("SubjectAttributeDesignator", "SubjectAttribute")),
    "a function of another type": ("APPC-008", swap("function:II-equal", "function:CV-equal")),
    "an authority that is no OID": ("APPC-009", swap("1.3.6.1.4.1.21367.13.20.1000", "HOSPITAL")),
    "nothing inside": (
        "APPC-010",
        all_of(swap("<Policy ", '<Other xmlns="urn:x" '), swap("</Policy>", "</Other>")),
    ),
}


def examples() -> Iterator[Example]:
    """Good and broken consent documents."""
    yield from mutated("cda-consent", "acknowledgement", [acknowledgement()], encode, _BPPC)
    yield from mutated("xacml-policy", "policy", [policy()], encode, _APPC)
