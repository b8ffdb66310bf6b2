"""Consents as documents and resources, of fictitious patients and codes."""

from __future__ import annotations

import json
from typing import Any

ACT_REASON = "http://terminology.hl7.org/CodeSystem/v3-ActReason"
OPT_OUT, OPT_IN = "2.999.50.1", "2.999.50.2"


def a_consent(of: tuple[str, str] = ("2.999.1", "P0001"), **changes: Any) -> dict[str, Any]:
    """A FHIR Consent by PCF, which permits all unless `changes` say otherwise; a None takes a member away."""
    root, extension = of
    consent: dict[str, Any] = {
        "resourceType": "Consent",
        "status": "active",
        "scope": {
            "coding": [
                {"system": "http://terminology.hl7.org/CodeSystem/consentscope", "code": "patient-privacy"}
            ]
        },
        "category": [{"coding": [{"system": "http://loinc.org", "code": "59284-0"}]}],
        "patient": {"identifier": {"system": f"urn:oid:{root}", "value": extension}},
        "dateTime": "2030-05-04T09:00:00Z",
        "performer": [{"identifier": {"value": extension}}],
        "organization": [{"identifier": {"value": "urn:oid:2.999.7"}}],
        "sourceReference": {"reference": "DocumentReference/1"},
        "policy": [{"uri": "https://profiles.ihe.net/ITI/PCF/Policy-basic-normal"}],
        "provision": {"type": "permit"},
    }
    return {name: value for name, value in (consent | changes).items() if value is not None}


def an_actor(kind: str, value: str, system: str | None = None) -> dict[str, Any]:
    identifier = {"value": value} | ({"system": system} if system else {})
    return {
        "role": {"coding": [{"code": "IRCP"}]},
        "reference": {"type": kind, "identifier": identifier},
    }


def octets(consent: Any) -> bytes:
    return json.dumps(consent).encode()


def an_acknowledgement(
    *oids: str,
    patient: tuple[str, str] = ("2.999.1", "P0001"),
    begins: str = "20200101",
    ends: str | None = None,
) -> bytes:
    """A BPPC document."""
    high = f'<high value="{ends}"/>' if ends else ""
    events = "".join(
        '<documentationOf><serviceEvent classCode="ACT" moodCode="EVN">'
        '<templateId root="1.3.6.1.4.1.19376.1.5.3.1.2.6"/><id root="2.999.5.1"/>'
        f'<code code="{oid}" codeSystem="2.999.50"/>'
        f'<effectiveTime><low value="{begins}"/>{high}</effectiveTime></serviceEvent></documentationOf>'
        for oid in oids
    )
    return (
        '<ClinicalDocument xmlns="urn:hl7-org:v3"><templateId root="1.3.6.1.4.1.19376.1.5.3.1.1.7"/>'
        '<id root="2.999.5.2"/><code code="57016-8" codeSystem="2.16.840.1.113883.6.1"/>'
        f'<recordTarget><patientRole><id root="{patient[0]}" extension="{patient[1]}"/></patientRole>'
        f"</recordTarget>{events}</ClinicalDocument>"
    ).encode()


def an_exclusion(role: str, scheme: str, patient: tuple[str, str] = ("2.999.1", "P0001")) -> bytes:
    """An APPC document that denies a role."""
    hl7, xacml = "urn:hl7-org:v3", "urn:oasis:names:tc:xacml"
    return f"""<PolicySet xmlns="{xacml}:2.0:policy:schema:os" xmlns:h="{hl7}" PolicySetId="urn:uuid:1"
    PolicyCombiningAlgId="{xacml}:1.0:policy-combining-algorithm:deny-overrides">
  <Target><Resources><Resource><ResourceMatch MatchId="{hl7}:function:II-equal">
    <AttributeValue DataType="{hl7}#II"><h:InstanceIdentifier root="{patient[0]}" extension="{patient[1]}"/>
    </AttributeValue>
    <ResourceAttributeDesignator AttributeId="{xacml}:2.0:resource:resource-id" DataType="{hl7}#II"/>
  </ResourceMatch></Resource></Resources></Target>
  <Policy PolicyId="p" RuleCombiningAlgId="{xacml}:1.0:rule-combining-algorithm:deny-overrides">
    <Target><Subjects><Subject><SubjectMatch MatchId="{hl7}:function:CV-equal">
      <AttributeValue DataType="{hl7}#CV"><h:CodedValue code="{role}" codeSystem="{scheme}"/></AttributeValue>
      <SubjectAttributeDesignator AttributeId="{xacml}:2.0:subject:role" DataType="{hl7}#CV"/>
    </SubjectMatch></Subject></Subjects></Target>
    <Rule RuleId="r" Effect="Deny"></Rule>
  </Policy>
</PolicySet>""".encode()
