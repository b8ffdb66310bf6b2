"""APPC: what is translated decides as plain XACML would; what is not wholly understood is refused and why."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.consent.decision import Action, Resource
from shared.consent.documents.appc import NAMESPACE, translated
from shared.consent.documents.translation import NotTranslatable
from shared.consent.evaluation import decide_with
from shared.consent.policy import DISCLOSURES
from shared.ebrim.model import Code
from shared.security.caller import Caller, Node, User
from shared.settings import Default
from tests.support.consent import NOW, PATIENT

DENY_OVERRIDES = "urn:oasis:names:tc:xacml:1.0:{}-combining-algorithm:deny-overrides"
F1 = "urn:oasis:names:tc:xacml:1.0:function:"
XSD = "http://www.w3.org/2001/XMLSchema#"
ROOT_TARGET = (
    '<Resources><Resource><ResourceMatch MatchId="urn:hl7-org:v3:function:II-equal">'
    '<AttributeValue DataType="urn:hl7-org:v3#II"><h:InstanceIdentifier xmlns:h="urn:hl7-org:v3" '
    'root="2.999.1" extension="P0001"/></AttributeValue><ResourceAttributeDesignator '
    'AttributeId="urn:oasis:names:tc:xacml:2.0:resource:resource-id" DataType="urn:hl7-org:v3#II"/>'
    "</ResourceMatch></Resource></Resources>"
)
ACTION_ID = "urn:oasis:names:tc:xacml:1.0:action:action-id"
QUERY = ("urn:ihe:iti:2007:RegistryStoredQuery",)
RETRIEVE = ("urn:ihe:iti:2007:RetrieveDocumentSet", "urn:ihe:rad:2009:RetrieveImagingDocumentSet")


def a_match(section: str, attribute: str, value: str, function: str, kind: str) -> str:
    return (
        f'<{section}Match MatchId="{function}"><AttributeValue DataType="{kind}">{value}</AttributeValue>'
        f'<{section}AttributeDesignator AttributeId="{attribute}" DataType="{kind}"/></{section}Match>'
    )


def a_code(section: str, attribute: str, code: str, system: str) -> str:
    value = f'<CodedValue xmlns="urn:hl7-org:v3" code="{code}" codeSystem="{system}" displayName="x"/>'
    return a_match(section, attribute, value, "urn:hl7-org:v3:function:CV-equal", "urn:hl7-org:v3#CV")


def a_uri(section: str, attribute: str, value: str) -> str:
    return a_match(section, attribute, value, f"{F1}anyURI-equal", f"{XSD}anyURI")


ATTRIBUTES = {
    "role": lambda v: a_code("Subject", "urn:oasis:names:tc:xacml:2.0:subject:role", v, "2.999.40"),
    "purpose": lambda v: a_code("Subject", "urn:oasis:names:tc:xspa:1.0:subject:purposeofuse", v, "2.999.40"),
    "organization": lambda v: a_uri(
        "Subject", "urn:oasis:names:tc:xspa:1.0:subject:organization-id", f"urn:x:{v}"
    ),
    "home": lambda v: a_uri("Subject", "urn:ihe:iti:xca:2010:homeCommunityId", f"urn:x:{v}"),
    "person": lambda v: a_match(
        "Subject", "urn:oasis:names:tc:xacml:1.0:subject:subject-id", v, f"{F1}string-equal", f"{XSD}string"
    ),
    "confidentiality": lambda v: a_code(
        "Resource", "urn:ihe:iti:xds-b:2007:confidentiality-code", v, "2.999.40"
    ),
    "class": lambda v: a_code("Resource", "urn:ihe:iti:appc:2016:document-entry:class-code", v, "2.999.40"),
    "type": lambda v: a_code("Resource", "urn:ihe:iti:appc:2016:document-entry:type-code", v, "2.999.40"),
}
ATTRIBUTES |= {
    "institution": lambda v: a_match(
        "Resource",
        "urn:ihe:iti:appc:2016:author-institution:id",
        f'<InstanceIdentifier xmlns="urn:hl7-org:v3" root="2.999.40" extension="{v}"/>',
        "urn:hl7-org:v3:function:II-equal",
        "urn:hl7-org:v3#II",
    ),
    "document": lambda v: a_match(
        "Resource",
        "urn:ihe:iti:appc:2016:document-entry:unique-id",
        v,
        f"{F1}string-equal",
        f"{XSD}string",
    ),
}
OF_ONE = ("institution", "document")
OF_SUBJECT = ("role", "purpose", "organization", "home", "person")
OF_RESOURCE = ("confidentiality", "class", "type")


@dataclass
class Target:
    """Alternatives of subjects and resources, each a conjunction; actions; and days before or after today."""

    subjects: list[dict[str, str]] = field(default_factory=list)
    resources: list[dict[str, str]] = field(default_factory=list)
    actions: tuple[Action, ...] = ()
    last_day: int | None = None

    @property
    def xml(self) -> str:
        parts = []
        for section, alternatives in (("Subject", self.subjects), ("Resource", self.resources)):
            inner = "".join(
                f"<{section}>{''.join(ATTRIBUTES[name](value) for name, value in each.items())}</{section}>"
                for each in alternatives
            )
            parts.append(f"<{section}s>{inner}</{section}s>" if alternatives else "")
        uris = [uri for action in self.actions for uri in (QUERY if action is Action.QUERY else RETRIEVE)]
        named = "".join(
            f"<Action>{a_uri('Action', 'urn:oasis:names:tc:xacml:1.0:action:action-id', uri)}</Action>"
            for uri in uris
        )
        parts.append(f"<Actions>{named}</Actions>" if named else "")
        if self.last_day is not None:
            day = (NOW + timedelta(days=self.last_day)).date().isoformat()
            match = a_match(
                "Environment",
                "urn:oasis:names:tc:xacml:1.0:environment:current-date",
                day,
                f"{F1}date-greater-than-or-equal",
                f"{XSD}date",
            )
            parts.append(f"<Environments><Environment>{match}</Environment></Environments>")
        return f"<Target>{''.join(parts)}</Target>"

    @property
    def in_force(self) -> bool:
        return self.last_day is None or self.last_day >= 0

    def applies(self, has: dict[str, set[str]], action: Action) -> bool:
        """XACML in plain loops."""
        if not self.in_force or (self.actions and action not in self.actions):
            return False
        for alternatives in (self.subjects, self.resources):
            if alternatives and not any(
                all(value in has[name] for name, value in each.items()) for each in alternatives
            ):
                return False
        return True


@dataclass
class Rule:
    effect: str
    policy: Target
    own: Target


def a_document(*rules: Rule, algorithm: str = DENY_OVERRIDES) -> bytes:
    policies = "".join(
        f'<Policy PolicyId="p{at}" RuleCombiningAlgId="{algorithm.format("rule")}">{rule.policy.xml}'
        f'<Rule RuleId="r{at}" Effect="{rule.effect}">{rule.own.xml}</Rule></Policy>'
        for at, rule in enumerate(rules)
    )
    return (
        f'<PolicySet xmlns="{NAMESPACE}" PolicySetId="urn:uuid:1" '
        f'PolicyCombiningAlgId="{algorithm.format("policy")}"><Description>x</Description>'
        f"<Target>{ROOT_TARGET}</Target>{policies}</PolicySet>"
    ).encode()


values = st.sampled_from(["A", "B"])


def alternatives(names: tuple[str, ...]):
    return st.lists(st.dictionaries(st.sampled_from(names), values, min_size=1, max_size=2), max_size=2)


@st.composite
def rules(draw) -> Rule:
    policy = Target(
        subjects=draw(alternatives(OF_SUBJECT)), last_day=draw(st.sampled_from([None, None, -1, 0, 1]))
    )
    own = Target(
        # Class and type at once are what no policy can hold; the alternatives may be one or the other.
        resources=draw(st.one_of(map(alternatives, (OF_RESOURCE[:2], OF_RESOURCE[::2], OF_ONE)))),
        actions=draw(st.sampled_from([(), (Action.QUERY,), (Action.RETRIEVE,), DISCLOSURES])),
    )
    return Rule(draw(st.sampled_from(["Permit", "Deny"])), policy, own)


requests = st.fixed_dictionaries(
    {name: st.sets(values, max_size=2) for name in ("role", "purpose", "organization")}
    | {name: st.sets(values, min_size=1, max_size=1) for name in ("home", "person", *OF_RESOURCE, *OF_ONE)}
)


def asked(has: dict[str, set[str]]) -> tuple[Caller, Resource]:
    def coded(name: str) -> tuple[Code, ...]:
        return tuple(Code(value, "2.999.40") for value in sorted(has[name]))

    def only(name: str) -> str:
        return next(iter(has[name]))

    user = User(
        name_id=only("person"),
        issuer="urn:idp",
        assertion_id="_1",
        roles=coded("role"),
        purposes=coded("purpose"),
        organization_ids=tuple(f"urn:x:{value}" for value in sorted(has["organization"])),
        home_community_id=f"urn:x:{only('home')}",
    )
    resource = Resource(
        patient_id=PATIENT,
        confidentiality=frozenset(map(str, coded("confidentiality"))),
        class_code=str(coded("class")[0]),
        type_code=str(coded("type")[0]),
        authors=frozenset({f"institution|{only('institution')}^^2.999.40"}),
        ids=frozenset({only("document")}),
    )
    return Caller(node=Node(address="192.0.2.7"), endpoint="x", user=user), resource


@given(
    st.lists(rules(), min_size=1, max_size=4),
    requests,
    st.sampled_from(DISCLOSURES),
    st.sampled_from(Default),
)
@settings(max_examples=60, deadline=None)
def test_what_is_translated_decides_as_the_document_says(listed, has, action, default):
    translation = translated(a_document(*listed), {}, issuer="urn:idp")
    policies = translation.made(patient_id=PATIENT, source="2.999.5")
    caller, resource = asked(has)

    (decision,) = decide_with(policies, caller, action, (resource,), default=default, now=NOW)

    applying = {
        rule.effect for rule in listed if rule.policy.applies(has, action) and rule.own.applies(has, action)
    }
    closed = any(rule.effect == "Permit" and rule.policy.in_force for rule in listed)
    if "Deny" in applying:
        expected = False
    elif "Permit" in applying:
        expected = True
    else:
        expected = not closed and default is Default.PERMIT
    assert decision.permitted is expected


def test_one_exclusion_is_one_denial_of_the_patient():
    excluded = Rule("Deny", Target(subjects=[{"organization": "A"}]), Target())

    translation = translated(a_document(excluded), {})

    assert (translation.patient_root, translation.patient_extension) == ("2.999.1", "P0001")
    assert translation.policies == ({"effect": "deny", "organizations": ["urn:x:A"]},)


@pytest.mark.parametrize("reference", ["PolicyIdReference", "PolicySetIdReference"])
def test_a_reference_says_what_the_policy_of_the_domain_means(reference: str):
    meanings = {"urn:x:normal": ({"effect": "permit", "purposes": ["TREAT"]},)}
    document = PLAIN.replace("</PolicySet>", f"<{reference}>urn:x:normal</{reference}></PolicySet>")

    assert translated(document.encode(), meanings).policies[-1] == {"effect": "permit", "purposes": ["TREAT"]}
    with pytest.raises(NotTranslatable, match="none of the domain"):
        translated(document.encode(), {})


PLAIN = a_document(Rule("Deny", Target(subjects=[{"role": "A"}]), Target())).decode()
BROKEN = {
    "no XML": "rubbish",
    "an external entity": '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>' + PLAIN,
    "another root": PLAIN.replace("PolicySet", "PolicySheet"),
    "no patient": PLAIN.replace(ROOT_TARGET, ""),
    "another algorithm": PLAIN.replace("policy-combining-algorithm:deny-overrides", "x:permit-overrides"),
    "a condition": PLAIN.replace("</Rule>", '<Condition><Apply FunctionId="x"/></Condition></Rule>'),
    "an obligation": PLAIN.replace("</PolicySet>", "<Obligations/></PolicySet>"),
    "a reference": PLAIN.replace(
        "</PolicySet>", "<PolicySetIdReference>urn:x</PolicySetIdReference></PolicySet>"
    ),
    "an unknown attribute": PLAIN.replace("2.0:subject:role", "2.0:subject:shoe-size"),
    "another function": PLAIN.replace("function:CV-equal", "function:CV-like"),
    "a code without a system": PLAIN.replace('codeSystem="2.999.40"', ""),
    "an unknown effect": PLAIN.replace('Effect="Deny"', 'Effect="Perhaps"'),
    "no rule": re.sub(r"<Policy .*</Policy>", "", PLAIN),
    "an action that nobody asks consent for": a_document(
        Rule("Deny", Target(), Target(actions=(Action.QUERY,)))
    )
    .decode()
    .replace("2007:RegistryStoredQuery", "2007:ProvideAndRegisterDocumentSet-b"),
    "half of the retrievals": a_document(Rule("Deny", Target(), Target(actions=(Action.RETRIEVE,))))
    .decode()
    .replace(RETRIEVE[1], "urn:ihe:iti:2007:CrossGatewayRetrieve"),
    "two roles at once": PLAIN.replace("</SubjectMatch>", "</SubjectMatch>" + ATTRIBUTES["role"]("B"), 1),
    "a person of nobody knows which issuer": a_document(
        Rule("Deny", Target(subjects=[{"person": "A"}]), Target())
    ).decode(),
    "an empty section": PLAIN.replace("<Subjects>", "<Subjects></Subjects><Subjects>", 1),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_not_wholly_understood_is_refused_with_a_reason(case: str):
    with pytest.raises(NotTranslatable) as refused:
        translated(BROKEN[case].encode(), {})
    assert len(str(refused.value)) > 10


@pytest.mark.parametrize("number", range(0, len(PLAIN), 41))
def test_a_document_that_is_cut_off_is_refused(number: int):
    with pytest.raises(NotTranslatable):
        translated(PLAIN[:number].encode(), {})


def test_a_document_that_comes_to_too_many_policies_is_refused():
    many = [{"role": f"R{number}"} for number in range(100)]
    with pytest.raises(NotTranslatable, match="more than 200"):
        translated(
            a_document(
                Rule(
                    "Deny",
                    Target(subjects=many),
                    Target(resources=[{"class": "A"}, {"type": "B"}, {"class": "B"}]),
                )
            ),
            {},
        )
