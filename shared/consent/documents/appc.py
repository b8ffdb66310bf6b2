"""Advanced Patient Privacy Consents: the subset of XACML 2.0 that policies of ours can say (IHE APPC).

A PolicySet of one patient, whose sets, policies and rules combine by deny-overrides, and whose targets name
roles, organisations, purposes, home communities, persons, confidentiality, class and type codes, authors,
single documents, actions and dates; or that refers to policies of the domain. A permission closes the list,
as every permission of ours does. Everything else is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final

from shared.consent.documents.bppc import Meanings, of_domain
from shared.consent.documents.translation import (
    Fields,
    NotTranslatable,
    Translation,
    combined,
    merged,
    parsed,
)
from shared.xml import Element, elements

FORMAT_CODE: Final = "urn:ihe:iti:appc:2016:consent"
NAMESPACE: Final = "urn:oasis:names:tc:xacml:2.0:policy:schema:os"

_X: Final = f"{{{NAMESPACE}}}"
_HL7: Final = "{urn:hl7-org:v3}"
_XSD: Final = "http://www.w3.org/2001/XMLSchema#"
_F1: Final = "urn:oasis:names:tc:xacml:1.0:function:"
_COMBINING: Final = frozenset(
    f"urn:oasis:names:tc:xacml:{version}:{of}-combining-algorithm:{order}deny-overrides"
    for version, order in (("1.0", ""), ("1.1", "ordered-"))
    for of in ("policy", "rule")
)
#: Attributes by which the root names the patient.
_PATIENT: Final = frozenset(
    {
        "urn:oasis:names:tc:xacml:2.0:resource:resource-id",
        "urn:ihe:iti:ser:2016:patient-id",
        "urn:e-health-suisse:2015:epr-spid",
    }
)
_QUERIES: Final = frozenset(
    {
        "urn:ihe:iti:2007:RegistryStoredQuery",
        "urn:ihe:iti:2007:CrossGatewayQuery",
        "urn:ihe:iti:2009:MultiPatientStoredQuery",
    }
)
_RETRIEVALS: Final = frozenset(
    {
        "urn:ihe:iti:2007:RetrieveDocumentSet",
        "urn:ihe:iti:2007:CrossGatewayRetrieve",
        "urn:ihe:rad:2009:RetrieveImagingDocumentSet",
        "urn:ihe:rad:2011:CrossGatewayRetrieveImagingDocumentSet",
    }
)
#: What must be named for all queries, and for all retrievals: a gateway asks by them as everybody does.
_EVERY_QUERY: Final = frozenset({"urn:ihe:iti:2007:RegistryStoredQuery"})
_EVERY_RETRIEVAL: Final = frozenset(
    {"urn:ihe:iti:2007:RetrieveDocumentSet", "urn:ihe:rad:2009:RetrieveImagingDocumentSet"}
)

_CV_EQUAL: Final = ("urn:hl7-org:v3:function:CV-equal", "urn:hl7-org:v3#CV")
_II_EQUAL: Final = ("urn:hl7-org:v3:function:II-equal", "urn:hl7-org:v3#II")
_URI_EQUAL: Final = (f"{_F1}anyURI-equal", f"{_XSD}anyURI")
_STRING_EQUAL: Final = (f"{_F1}string-equal", f"{_XSD}string")
_ACTION: Final = "urn:oasis:names:tc:xacml:1.0:action:action-id"
_DATE: Final = "urn:oasis:names:tc:xacml:1.0:environment:current-date"
_SUBJECT_ID: Final = "urn:oasis:names:tc:xacml:1.0:subject:subject-id"

#: What may be asked for: section and attribute to the field of a policy, a prefix of its values, and the
#: functions and data types that compare it.
_NAMED: Final[Mapping[tuple[str, str], tuple[str, str, tuple[tuple[str, str], ...]]]] = {
    ("Subject", "urn:oasis:names:tc:xacml:2.0:subject:role"): ("roles", "", (_CV_EQUAL,)),
    ("Subject", "urn:oasis:names:tc:xspa:1.0:subject:purposeofuse"): ("purposes", "", (_CV_EQUAL,)),
    ("Subject", "urn:oasis:names:tc:xspa:1.0:subject:organization-id"): (
        "organizations",
        "",
        (_URI_EQUAL, _STRING_EQUAL),
    ),
    ("Subject", "urn:ihe:iti:xca:2010:homeCommunityId"): (
        "home_communities",
        "",
        (_URI_EQUAL, _STRING_EQUAL),
    ),
    ("Subject", _SUBJECT_ID): ("users", "", (_STRING_EQUAL,)),
    ("Resource", "urn:ihe:iti:xds-b:2007:confidentiality-code"): ("confidentiality", "", (_CV_EQUAL,)),
    ("Resource", "urn:ihe:iti:appc:2016:confidentiality-code"): ("confidentiality", "", (_CV_EQUAL,)),
    ("Resource", "urn:ihe:iti:appc:2016:document-entry:class-code"): (
        "document_types",
        "class|",
        (_CV_EQUAL,),
    ),
    ("Resource", "urn:ihe:iti:appc:2016:document-entry:type-code"): ("document_types", "type|", (_CV_EQUAL,)),
    ("Resource", "urn:ihe:iti:appc:2016:author-institution:id"): ("authors", "institution|", (_II_EQUAL,)),
    ("Resource", "urn:ihe:iti:appc:2016:author-person:id"): ("authors", "person|", (_II_EQUAL,)),
    ("Resource", "urn:ihe:iti:appc:2016:document-entry:unique-id"): (
        "documents",
        "",
        (_STRING_EQUAL, _URI_EQUAL),
    ),
    ("Resource", "urn:oasis:names:tc:xacml:1.0:resource:resource-id"): ("documents", "", (_URI_EQUAL,)),
    ("Action", _ACTION): ("actions", "", (_URI_EQUAL, _STRING_EQUAL)),
}
_SECTIONS: Final = ("Subject", "Resource", "Action", "Environment")


def translated(octets: bytes, meanings: Meanings, *, issuer: str = "") -> Translation:
    """What an APPC document says.

    Parameters
    ----------
    meanings
        What the policies of the domain mean to which it may refer.
    issuer
        Whose NameIDs the subject-ids are; without it a document that names persons is refused.

    Raises
    ------
    NotTranslatable
        Something of it is not understood.
    """
    root = parsed(octets)
    if root.tag != f"{_X}PolicySet":
        raise NotTranslatable(f"the root is not PolicySet of {NAMESPACE}")
    reading = _XacmlDocument(meanings, issuer)
    alternatives = reading.target(root, "the root", patient=True)
    policies = list(reading.inner(root, alternatives))
    if not policies:
        raise NotTranslatable("it has no rule that ever holds, and so says nothing")
    assert reading.patient is not None
    for name in ("confidentiality", "document_types", "authors", "documents"):
        policies = merged(policies, name)
    return Translation(*reading.patient, tuple(policies))


class _XacmlDocument:
    """One document while it is read; `patient` is whom its root names."""

    def __init__(self, meanings: Meanings, issuer: str) -> None:
        self._meanings = meanings
        self._issuer = issuer
        self.patient: tuple[str, str] | None = None

    def inner(self, outer: Element, above: Sequence[Fields]) -> Iterator[Fields]:
        """The policies of what stands in a PolicySet or Policy, for which `above` holds."""
        algorithm = outer.get("PolicyCombiningAlgId") or outer.get("RuleCombiningAlgId")
        if algorithm not in _COMBINING:
            raise NotTranslatable(f"{_where(outer)}: combines by {algorithm}; deny-overrides is understood")
        for part in elements(outer):
            match part.tag.removeprefix(_X):
                case "Description" | "Target":
                    continue
                case "PolicySet" | "Policy":
                    yield from self.inner(part, combined(above, self.target(part, _where(part))))
                case "PolicyIdReference" | "PolicySetIdReference":
                    yield from combined(above, of_domain(_text(part, _where(outer)), self._meanings))
                case "Rule" if outer.tag == f"{_X}Policy":
                    yield from self._rule(part, above)
                case other:
                    raise NotTranslatable(f"{_where(outer)}: {other} is not understood")

    def _rule(self, rule: Element, above: Sequence[Fields]) -> Iterator[Fields]:
        effect = {"Permit": "permit", "Deny": "deny"}.get(rule.get("Effect", ""))
        if effect is None:
            raise NotTranslatable(f"{_where(rule)}: Effect is Permit or Deny")
        for part in elements(rule):
            if part.tag not in (f"{_X}Description", f"{_X}Target"):
                raise NotTranslatable(f"{_where(rule)}: {part.tag.removeprefix(_X)} is not understood")
        for fields in combined(above, self.target(rule, _where(rule))):
            yield {"effect": effect, **fields}

    def target(self, of: Element, where: str, *, patient: bool = False) -> list[Fields]:
        """The alternatives of a Target, each a conjunction; of the root its patient."""
        targets = of.findall(f"{_X}Target")
        if len(targets) > 1:
            raise NotTranslatable(f"{where}: has more than one Target")
        parts: list[list[Fields]] = []
        for section in elements(targets[0]) if targets else ():
            name = section.tag.removeprefix(_X)
            if name[:-1] not in _SECTIONS:
                raise NotTranslatable(f"{where}: {name} is not understood")
            alternatives = [self._alternative(each, name[:-1], where, patient) for each in elements(section)]
            if not alternatives:
                raise NotTranslatable(f"{where}: {name} names nobody and nothing")
            parts.append(_actions(alternatives, where) if name == "Actions" else alternatives)
        if patient and self.patient is None:
            raise NotTranslatable("the root's Target names no patient (resource-id as II)")
        return combined(*parts)

    def _alternative(self, each: Element, section: str, where: str, patient: bool) -> Fields:
        fields: dict[str, Any] = {}
        if each.tag != f"{_X}{section}":
            raise NotTranslatable(f"{where}: {each.tag} is not understood")
        for match in elements(each):
            one = self._match(match, section, where, patient)
            if set(one) & set(fields):
                raise NotTranslatable(f"{where}: asks for two {min(one)} at once, which no policy can hold")
            fields |= one
        return fields

    def _match(self, match: Element, section: str, where: str, patient: bool) -> Fields:
        parts = list(elements(match))
        if match.tag != f"{_X}{section}Match" or [part.tag for part in parts] != [
            f"{_X}AttributeValue",
            f"{_X}{section}AttributeDesignator",
        ]:
            raise NotTranslatable(f"{where}: a match of {section} is an AttributeValue and its designator")
        value, designator = parts
        function, kind = match.get("MatchId", ""), value.get("DataType", "")
        attribute = designator.get("AttributeId", "")
        if designator.get("DataType") != kind or not set(designator.attrib) <= {
            "AttributeId",
            "DataType",
            "MustBePresent",
        }:
            raise NotTranslatable(f"{where}: {attribute}: designator and value are of different kinds")
        if section == "Environment" and attribute == _DATE:
            return _dates(function, value, kind, where)
        if section == "Resource" and attribute in _PATIENT and (function, kind) == _II_EQUAL:
            return self._patient(_instance(value, where), where, patient)
        target = _NAMED.get((section, attribute))
        if target is None or (function, kind) not in target[2]:
            raise NotTranslatable(f"{where}: {section} {attribute} by {function} is not understood")
        field, prefix, _ = target
        text = _value(value, kind, where)
        if field == "users":
            if not self._issuer:
                raise NotTranslatable(
                    f"{where}: names a person, and whose NameIDs these are is not known here"
                )
            text = f"{text}@{self._issuer}"
        return {field: [f"{prefix}{text}"]}

    def _patient(self, patient: tuple[str, str], where: str, is_root: bool) -> Fields:
        if self.patient is None and is_root:
            self.patient = patient
        if patient != self.patient:
            raise NotTranslatable(
                f"{where}: names a patient, and not the one of the root; one consent is of one"
            )
        return {}


def _actions(alternatives: Sequence[Fields], where: str) -> list[Fields]:
    """Queries are decided alike, and retrievals are, so that each of them has to be named whole."""
    listed = {action for each in alternatives for action in each.get("actions", ())}
    if len(listed) != len(alternatives):
        raise NotTranslatable(f"{where}: each Action names one action-id")
    if others := sorted(listed - _QUERIES - _RETRIEVALS):
        raise NotTranslatable(f"{where}: no service asks consent for {others[0]}")
    actions = []
    for action, some, every in (
        ("query", _QUERIES, _EVERY_QUERY),
        ("retrieve", _RETRIEVALS, _EVERY_RETRIEVAL),
    ):
        if listed & some:
            if missing := sorted(every - listed):
                raise NotTranslatable(f"{where}: {action} is decided as one; name {missing[0]} too")
            actions.append(action)
    return [{"actions": actions}]


def _dates(function: str, value: Element, kind: str, where: str) -> Fields:
    """The first of two arguments is the literal: one that is greater bounds the date above."""
    if kind != f"{_XSD}date":
        raise NotTranslatable(f"{where}: current-date is compared with a date")
    try:
        day = datetime.combine(date.fromisoformat(_text(value, where).removesuffix("Z")), time(), UTC)
    except ValueError:
        raise NotTranslatable(f"{where}: a date is written 2030-05-04") from None
    bounds: Mapping[str, Callable[[], Fields]] = {
        f"{_F1}date-greater-than-or-equal": lambda: {"valid_until": day + timedelta(days=1)},
        f"{_F1}date-greater-than": lambda: {"valid_until": day},
        f"{_F1}date-less-than-or-equal": lambda: {"valid_from": day},
        f"{_F1}date-less-than": lambda: {"valid_from": day + timedelta(days=1)},
    }
    if function not in bounds:
        raise NotTranslatable(f"{where}: current-date by {function} is not understood")
    return bounds[function]()


def _coded(value: Element, where: str) -> str:
    [coded] = _only(value, f"{_HL7}CodedValue", where)
    code, system = coded.get("code", ""), coded.get("codeSystem", "")
    if not code or not system or "^" in code + system:
        raise NotTranslatable(f"{where}: a CodedValue has a code and a codeSystem")
    return f"{code}^^{system}"


def _value(value: Element, kind: str, where: str) -> str:
    if kind == _CV_EQUAL[1]:
        return _coded(value, where)
    if kind != _II_EQUAL[1]:
        return _text(value, where)
    [instance] = _only(value, f"{_HL7}InstanceIdentifier", where)
    root, extension = instance.get("root", ""), instance.get("extension", "")
    if not root or "^" in root + extension:
        raise NotTranslatable(f"{where}: an InstanceIdentifier has a root")
    return f"{extension}^^{root}" if extension else root


def _instance(value: Element, where: str) -> tuple[str, str]:
    [instance] = _only(value, f"{_HL7}InstanceIdentifier", where)
    root, extension = instance.get("root", ""), instance.get("extension", "")
    if not root or not extension:
        raise NotTranslatable(f"{where}: a patient is an InstanceIdentifier with root and extension")
    return root, extension


def _only(value: Element, tag: str, where: str) -> list[Element]:
    inner = list(elements(value))
    if [one.tag for one in inner] != [tag]:
        raise NotTranslatable(f"{where}: the value is one {tag.removeprefix(_HL7)} of urn:hl7-org:v3")
    return inner


def _text(value: Element, where: str) -> str:
    text = (value.text or "").strip()
    if not text or len(value):
        raise NotTranslatable(f"{where}: a value is empty, or no text")
    return text


def _where(element: Element) -> str:
    name = element.tag.removeprefix(_X)
    identifier = element.get(f"{name}Id", "")
    return f"{name} {identifier}".strip()
