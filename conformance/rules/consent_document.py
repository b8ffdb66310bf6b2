"""Consent documents: acknowledgements by BPPC (CDA R2) and patient policies by APPC (XACML 2.0)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

from conformance.findings import Finding
from conformance.identifiers import OID, UUID
from conformance.judgement import Judgement
from conformance.readers.source import Source
from conformance.readers.xml import Element, NotXml, document, local, place, text
from conformance.requirements import finding

_HL7: Final = "{urn:hl7-org:v3}"
_XACML: Final = "{urn:oasis:names:tc:xacml:2.0:policy:schema:os}"
_BPPC: Final = frozenset({"1.3.6.1.4.1.19376.1.5.3.1.1.7", "1.3.6.1.4.1.19376.1.5.3.1.1.7.1"})
_MEDICAL: Final = "1.3.6.1.4.1.19376.1.5.3.1.1.1"
_EVENT: Final = "1.3.6.1.4.1.19376.1.5.3.1.2.6"
_LOINC: Final = "2.16.840.1.113883.6.1"
_COMBINING: Final = (
    "urn:oasis:names:tc:xacml:1.0:policy-combining-algorithm:",
    "urn:oasis:names:tc:xacml:1.1:policy-combining-algorithm:",
)
_II: Final = "urn:hl7-org:v3#II"
_CV: Final = "urn:hl7-org:v3#CV"
_FUNCTIONS: Final = {
    _II: "urn:hl7-org:v3:function:II-equal",
    _CV: "urn:hl7-org:v3:function:CV-equal",
    "http://www.w3.org/2001/XMLSchema#anyURI": "urn:oasis:names:tc:xacml:1.0:function:anyURI-equal",
    "http://www.w3.org/2001/XMLSchema#string": "urn:oasis:names:tc:xacml:1.0:function:string-equal",
}
_MATCHES: Final = ("SubjectMatch", "ResourceMatch", "ActionMatch", "EnvironmentMatch")


def judged(source: Source) -> Judgement:
    """A consent document by its root."""
    judgement = Judgement("consent document")
    judgement.findings = _document(source, judgement)
    return judgement


def _document(source: Source, judgement: Judgement) -> Iterator[Finding]:
    try:
        root = document(source)
    except NotXml as error:
        at, _, wrong = str(error).partition(": ")
        yield finding("CONSENT-001", at, wrong)
        return
    if root is not None and root.tag == f"{_HL7}ClinicalDocument":
        judgement.title = "consent document (BPPC)"
        yield from _acknowledgement(root)
    elif root is not None:
        judgement.title = "patient policy (APPC)"
        yield from _policy_set(root)


# --- BPPC --------------------------------------------------------------------------------------------


def _templates(element: Element) -> set[str]:
    return {one.get("root") or "" for one in element.iterfind(f"{_HL7}templateId")}


def _acknowledgement(root: Element) -> Iterator[Finding]:
    templates = _templates(root)
    if not templates & _BPPC or _MEDICAL not in templates:
        value = " ".join(sorted(templates))
        yield finding("BPPC-001", place(root, "templateId"), "not those of a consent", value)
    code = root.find(f"{_HL7}code")
    pair = ("", "") if code is None else (code.get("code"), code.get("codeSystem"))
    if pair != ("57016-8", _LOINC):
        yield finding("BPPC-002", place(root, "code"), "another code", " ".join(map(str, pair)))
    id = root.find(f"{_HL7}id")
    if id is None or not _is_root(id.get("root")):
        yield finding("BPPC-003", place(root, "id"), "absent, or no OID and no UUID as root")
    patients = root.findall(f"{_HL7}recordTarget/{_HL7}patientRole/{_HL7}id")
    if not any(OID.match(one.get("root") or "") and one.get("extension") for one in patients):
        yield finding("BPPC-004", place(root, "recordTarget/patientRole/id"), "no OID with extension")
    events = root.findall(f"{_HL7}documentationOf/{_HL7}serviceEvent")
    if not events:
        yield finding("BPPC-005", place(root, "documentationOf"), "no serviceEvent")
    for event in events:
        yield from _service_event(event)
    times = {_span(event) for event in events}
    if len(times) > 1:
        yield finding("BPPC-009", place(root, "documentationOf"), f"{len(times)} spans of time")


def _is_root(value: str | None) -> bool:
    return OID.match(value or "") is not None or UUID.match(f"urn:uuid:{(value or '').lower()}") is not None


def _span(event: Element) -> tuple[str, str]:
    low, high = (event.find(f"{_HL7}effectiveTime/{_HL7}{name}") for name in ("low", "high"))
    return tuple("" if one is None else one.get("value") or "" for one in (low, high))  # type: ignore[return-value]


def _service_event(event: Element) -> Iterator[Finding]:
    if event.get("classCode") != "ACT" or event.get("moodCode") != "EVN" or _EVENT not in _templates(event):
        yield finding("BPPC-006", place(event), "not ACT, EVN and the template of the profile")
    ids = event.findall(f"{_HL7}id")
    if len(ids) != 1 or ids[0].get("extension") is not None or not _is_root(ids[0].get("root")):
        yield finding("BPPC-007", place(event, "id"), "not one id of a root alone")
    code = event.find(f"{_HL7}code")
    if code is None or not OID.match(code.get("code") or "") or not OID.match(code.get("codeSystem") or ""):
        value = "" if code is None else code.get("code") or ""
        yield finding("BPPC-008", place(event, "code"), "no policy by its OID and its domain", value)
    if not _span(event)[0]:
        yield finding("BPPC-010", place(event, "effectiveTime/low"), "absent")


# --- APPC --------------------------------------------------------------------------------------------


def _policy_set(root: Element) -> Iterator[Finding]:
    if root.tag != f"{_XACML}PolicySet":
        yield finding("APPC-001", place(root), "no PolicySet of XACML 2.0", str(root.tag))
        return
    ids: Counter[str] = Counter()
    for one in root.iter(f"{_XACML}PolicySet", f"{_XACML}Policy"):
        name = f"{local(one)}Id"
        id = one.get(name) or ""
        ids[id] += 1
        if not id.startswith("urn:"):
            yield finding("APPC-002", place(one, f"@{name}"), "no URN", id)
        yield from _algorithm(one)
    for id, times in ids.items():
        if id and times > 1:
            yield finding("APPC-003", place(root), f"{times} policies of one id", id)
    for rule in root.iter(f"{_XACML}Rule"):
        if rule.get("Effect") not in ("Permit", "Deny"):
            yield finding(
                "APPC-005", place(rule, "@Effect"), "neither Permit nor Deny", rule.get("Effect") or ""
            )
    yield from _patient(root)
    for name in _MATCHES:
        for match in root.iter(f"{_XACML}{name}"):
            yield from _match(match)
    inner = ("Policy", "PolicySet", "PolicyIdReference", "PolicySetIdReference")
    if not any(local(child) in inner for child in root):
        yield finding("APPC-010", place(root), "no policy and no reference to one")


def _algorithm(one: Element) -> Iterator[Finding]:
    name = "PolicyCombiningAlgId" if local(one) == "PolicySet" else "RuleCombiningAlgId"
    value = one.get(name) or ""
    prefixes = [each.replace("policy-", "rule-") if name.startswith("Rule") else each for each in _COMBINING]
    if not value.startswith(tuple(prefixes)):
        yield finding("APPC-004", place(one, f"@{name}"), "no combining algorithm of XACML", value)


def _patient(root: Element) -> Iterator[Finding]:
    target = root.find(f"{_XACML}Target")
    named_patients = (
        [] if target is None else list(target.iterfind(f"{_XACML}Resources/{_XACML}Resource//{_HL7}*"))
    )
    if not any(local(one) == "InstanceIdentifier" for one in named_patients):
        yield finding("APPC-006", place(root, "Target/Resources"), "no patient by InstanceIdentifier")


def _match(match: Element) -> Iterator[Finding]:
    value = match.find(f"{_XACML}AttributeValue")
    designator = next((one for one in match if local(one).endswith("Designator")), None)
    if value is None or designator is None:
        yield finding("APPC-007", place(match), "no AttributeValue, or no designator")
        return
    data_type = value.get("DataType") or ""
    if data_type != designator.get("DataType"):
        yield finding("APPC-008", place(designator, "@DataType"), "not that of the value", data_type)
    function = _FUNCTIONS.get(data_type)
    stated = match.get("MatchId") or ""
    if function is not None and stated != function and "regexp" not in stated:
        yield finding("APPC-008", place(match, "@MatchId"), "not of the type", stated, right=function)
    if data_type == _II:
        child = value.find(f"{_HL7}InstanceIdentifier")
        if child is None or not _is_root(child.get("root")):
            yield finding("APPC-009", place(value), "no InstanceIdentifier with an OID as root", text(value))
    if data_type == _CV:
        child = value.find(f"{_HL7}CodedValue")
        if child is None or not child.get("code") or not OID.match(child.get("codeSystem") or ""):
            yield finding("APPC-009", place(value), "no CodedValue with code and codeSystem", text(value))
