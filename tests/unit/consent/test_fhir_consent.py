"""FHIR Consent by PCF: what is translated decides as base and exceptions do; all else is refused."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.consent.decision import Action, Resource
from shared.consent.documents.fhir_consent import translated
from shared.consent.documents.translation import NotTranslatable
from shared.consent.evaluation import decide_with
from shared.ebrim.model import Code
from shared.security.caller import Caller, Node, User
from shared.settings import Default
from tests.support.consent import NOW, PATIENT
from tests.support.consents import ACT_REASON, a_consent, an_actor, octets

HL7_REASON = "2.16.840.1.113883.5.8"


def test_a_consent_of_the_basic_profile_is_a_permission():
    translation = translated(
        octets(
            a_consent(
                provision={
                    "type": "permit",
                    "period": {"start": "2030-01-01", "end": "2030-12-31"},
                    "purpose": [{"system": ACT_REASON, "code": "TREAT"}],
                    "actor": [an_actor("Organization", "urn:oid:2.999.7")],
                }
            )
        )
    )

    assert (translation.patient_root, translation.patient_extension) == ("2.999.1", "P0001")
    assert translation.policies == (
        {
            "effect": "permit",
            "purposes": [f"TREAT^^{HL7_REASON}"],
            "organizations": ["urn:oid:2.999.7"],
            "valid_from": datetime(2030, 1, 1, tzinfo=UTC),
            "valid_until": datetime(2031, 1, 1, tzinfo=UTC),
        },
    )


# --- against plain rules --------------------------------------------------------------------------------

purposes = st.lists(st.sampled_from(["TREAT", "HRESCH"]), max_size=2, unique=True)
actors = st.lists(
    st.tuples(st.sampled_from(["Organization", "Practitioner"]), st.sampled_from(["a", "b"])),
    max_size=2,
    unique=True,
)
days = st.sampled_from([None, None, (-2, -1), (-1, 1), (1, 2)])


@st.composite
def provisions(draw, effect: str, *, conditions: bool = True, period: bool = True) -> dict[str, Any]:
    provision: dict[str, Any] = {"type": effect}
    if conditions and (codes := draw(purposes)):
        provision["purpose"] = [{"system": ACT_REASON, "code": code} for code in codes]
    if conditions and (named := draw(actors)):
        provision["actor"] = [an_actor(kind, value, "urn:idp") for kind, value in named]
    if period and (bounds := draw(days)):
        first, last = ((NOW + timedelta(days=day)).date().isoformat() for day in bounds)
        provision["period"] = {"start": first, "end": last}
    return provision


@st.composite
def bases(draw) -> dict[str, Any]:
    effect = draw(st.sampled_from(["permit", "deny"]))
    other = "deny" if effect == "permit" else "permit"
    nested = draw(st.lists(provisions(other, period=effect == "permit"), max_size=2))
    # What base and exception both ask for is one condition or none that policies can hold.
    base = draw(provisions(effect, conditions=not nested))
    return base | ({"provision": nested} if nested else {})


def in_force(provision: dict[str, Any]) -> bool:
    period = provision.get("period")
    return period is None or period["start"] <= NOW.date().isoformat() <= period["end"]


def applies(provision: dict[str, Any], user: User) -> bool:
    """One provision in plain words."""
    if not in_force(provision):
        return False
    codes = {purpose["code"] for purpose in provision.get("purpose", ())}
    if codes and not codes & {purpose.value for purpose in user.purposes}:
        return False
    listed = provision.get("actor", ())
    return not listed or any(
        (actor["reference"]["type"], actor["reference"]["identifier"]["value"])
        in {("Practitioner", user.name_id), *(("Organization", each) for each in user.organization_ids)}
        for actor in listed
    )


@given(
    bases(),
    st.builds(
        User,
        name_id=st.sampled_from(["a", "c"]),
        issuer=st.just("urn:idp"),
        assertion_id=st.just("_1"),
        purposes=st.sampled_from(["TREAT", "HRESCH"]).map(lambda code: (Code(code, HL7_REASON),)),
        organization_ids=st.sampled_from([(), ("b",), ("a",)]),
    ),
    st.sampled_from(Default),
)
@settings(max_examples=60, deadline=None)
def test_what_is_translated_decides_as_base_and_exceptions_do(base, user, default):
    policies = translated(octets(a_consent(provision=base))).made(patient_id=PATIENT, source="Consent/1")
    caller = Caller(node=Node(address="192.0.2.7"), endpoint="x", user=user)

    (decision,) = decide_with(
        policies, caller, Action.QUERY, (Resource(patient_id=PATIENT),), default=default, now=NOW
    )

    nested = base.get("provision", [])
    excepted = any(applies(one, user) for one in nested)
    if not in_force(base):
        expected = default is Default.PERMIT
    elif base["type"] == "permit":
        expected = applies(base, user) and not excepted
    elif nested:
        expected = excepted
    else:
        expected = default is Default.PERMIT and not applies(base, user)
    assert decision.permitted is expected


OID, UID = "urn:oid:2.999.60", "2.25.77"


def data(meaning: str, kind: str, value: str, system: str = OID) -> dict[str, Any]:
    reference = {"type": kind, "identifier": {"system": system, "value": value}}
    return {"meaning": meaning, "reference": reference}


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        (
            [data("instance", "DocumentReference", f"urn:oid:{UID}", "urn:ietf:rfc:3986")],
            [{"documents": (UID,)}],
        ),
        ([data("instance", "ImagingStudy", UID, "urn:dicom:uid")], [{"documents": (UID,)}]),
        ([data("authoredby", "Practitioner", "dr.a")], [{"authors": ("person|dr.a^^2.999.60",)}]),
        (
            [data("authoredby", "Organization", "urn:oid:2.999.7", "urn:ietf:rfc:3986")],
            [{"authors": ("institution|2.999.7",)}],
        ),
        (
            [data("instance", "ImagingStudy", UID), data("authoredby", "Organization", "b")],
            [{"documents": (UID,)}, {"authors": ("institution|b^^2.999.60",)}],
        ),
    ],
)
def test_exceptions_name_single_documents_studies_and_authors(named, expected):
    consent = a_consent(provision={"type": "permit", "provision": [{"type": "deny", "data": named}]})

    base, *denials = translated(octets(consent)).made(patient_id=PATIENT, source="Consent/1")

    assert base.effect == "permit"
    assert [policy.effect for policy in denials] == ["deny"] * len(expected)
    for policy, conditions in zip(denials, expected, strict=True):
        assert {name: getattr(policy, name) for name in conditions} == conditions


# --- what is refused --------------------------------------------------------------------------------------

REFUSED: dict[str, Any] = {
    "no JSON": b"{",
    "a list": b"[]",
    "a name twice": b'{"resourceType": "Consent", "resourceType": "Consent"}',
    "another resource": {"resourceType": "Patient"},
    "a draft": a_consent(status="draft"),
    "another scope": a_consent(scope={"coding": [{"code": "research"}]}),
    "no category": a_consent(category=None),
    "no performer": a_consent(performer=None),
    "no organization": a_consent(organization=None),
    "no dateTime": a_consent(dateTime=None),
    "no source": a_consent(sourceReference=None),
    "two sources": a_consent(sourceAttachment={}),
    "no policy": a_consent(policy=None),
    "an unknown policy": a_consent(policy=[{"uri": "https://elsewhere.example/policy"}]),
    "a patient by reference alone": a_consent(patient={"reference": "Patient/1"}),
    "a patient of no OID": a_consent(patient={"identifier": {"system": "https://x", "value": "1"}}),
    "no provision": a_consent(provision=None),
    "no type": a_consent(provision={}),
    "a verification": a_consent(verification=[{"verified": True}]),
    "an implicit rule": a_consent(implicitRules="https://x"),
    "a modifier extension": a_consent(modifierExtension=[]),
}
for member, value in {
    "data": [{"meaning": "instance", "reference": {"reference": "DocumentReference/1"}}],
    "dataPeriod": {"start": "2030-01-01"},
    "action": [{"coding": [{"code": "access"}]}],
    "class": [{"code": "x"}],
    "code": [{"coding": [{"code": "x"}]}],
    "actor": [{"role": {"coding": [{"code": "PRCP"}]}, "reference": {"type": "Organization"}}],
    "purpose": [{"system": "https://unknown.example", "code": "X"}],
    "period": {"start": "2030-01-02", "end": "2030-01-01"},
    "modifierExtension": [{"url": "https://x"}],
    "provision": [{"type": "permit"}],
}.items():
    REFUSED[f"provision.{member}"] = a_consent(provision={"type": "permit", member: value})
for meaning, kind, system in (
    ("related", "Encounter", OID),
    ("dependents", "DocumentReference", OID),
    ("instance", "Observation", OID),
    ("authoredby", "Practitioner", "https://idp.example"),
):
    REFUSED[f"data {meaning} {kind}"] = a_consent(
        provision={"type": "permit", "data": [data(meaning, kind, "x", system)]}
    )
REFUSED["three levels"] = a_consent(
    provision={"type": "permit", "provision": [{"type": "deny", "provision": [{"type": "permit"}]}]}
)
REFUSED["a person without issuer"] = a_consent(
    provision={"type": "permit", "actor": [an_actor("Practitioner", "dr.a")]}
)
REFUSED["a group of actors"] = a_consent(provision={"type": "permit", "actor": [an_actor("Group", "g")]})
REFUSED["an exception that ends before its denial"] = a_consent(
    provision={"type": "deny", "provision": [{"type": "permit", "period": {"end": "2030-01-01"}}]}
)
REFUSED["a denial of some with exceptions"] = a_consent(
    provision={
        "type": "deny",
        "purpose": [{"system": ACT_REASON, "code": "TREAT"}],
        "provision": [{"type": "permit", "actor": [an_actor("Organization", "a")]}],
    }
)


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_wholly_understood_is_refused_with_a_reason(case: str):
    content = REFUSED[case]
    with pytest.raises(NotTranslatable) as refused:
        translated(content if isinstance(content, bytes) else octets(content))
    assert len(str(refused.value)) > 10


WHOLE = a_consent(
    provision={
        "type": "permit",
        "period": {"start": "2030-01-01"},
        "actor": [an_actor("Organization", "urn:oid:2.999.7")],
        "purpose": [{"system": ACT_REASON, "code": "TREAT"}],
        "provision": [{"type": "deny", "actor": [an_actor("Practitioner", "dr.a", "urn:idp")]}],
    }
)


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every place of a resource: an object or a list, and the key there."""
    for key in list(value) if isinstance(value, dict) else range(len(value)):
        yield value, key
        if isinstance(value[key], dict | list):
            yield from places(value[key])


NO_VALUE = [None, 0, "", "x", [], {}, [None], [[]], [{}], {"coding": 1}, True, "9999-99-99"]


@pytest.mark.parametrize("value", NO_VALUE, ids=repr)
def test_what_stands_in_any_place_of_a_consent_is_translated_or_refused(value: Any):
    for at in range(len(list(places(WHOLE)))):
        changed = copy.deepcopy(WHOLE)
        parent, key = list(places(changed))[at]
        parent[key] = value
        with suppress(NotTranslatable):
            assert translated(octets(changed)).made(patient_id=PATIENT, source="Consent/1")


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_whatever_is_changed_in_a_consent_it_is_translated_or_refused_and_nothing_else(data):
    changed = copy.deepcopy(WHOLE)
    place: Any = changed
    while isinstance(place, dict | list) and place:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = data.draw(st.sampled_from(keys))
        if not isinstance(place[key], dict | list) or not place[key] or data.draw(st.booleans()):
            place[key] = data.draw(st.sampled_from(NO_VALUE))
            break
        place = place[key]
    try:
        policies = translated(json.dumps(changed).encode()).made(patient_id=PATIENT, source="Consent/1")
    except NotTranslatable:
        return
    assert policies
