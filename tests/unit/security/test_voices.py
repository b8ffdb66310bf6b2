"""For whom an issuer may speak: its own community and organisations, and nobody else's."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.faults import WSSE, SecurityFault
from shared.security.authenticator import Authenticator
from shared.security.caller import Node, User
from shared.security.voices import Voices
from shared.settings import ServiceSettings, VoiceSettings
from tests.support.certificates import HOME, assertion_for, bearer, communities

NORTH, SOUTH = communities()
FAR = "urn:oid:2.999.72"
ENDPOINT = "https://registry.example/xds/registry"


def authenticated(assertion: bytes, **speaks_for: object) -> User | None:
    issuers = {each.issuer: each.provider.certificate for each in (NORTH, SOUTH)}
    settings = ServiceSettings.model_validate({"assertion": {"issuers": issuers, "speaks_for": speaks_for}})
    came = {"door": "ITI-18", "endpoint": ENDPOINT, "bearer": bearer(assertion), "speaker_is_user": True}
    return asyncio.run(Authenticator(settings).caller(Node(address="127.0.0.1"), **came)).user


def refusal(assertion: bytes, **speaks_for: object) -> SecurityFault:
    with pytest.raises(SecurityFault) as refused:
        authenticated(assertion, **speaks_for)
    assert refused.value.subcode == (WSSE, "InvalidSecurityToken")
    return refused.value


@pytest.mark.parametrize("home", ["", HOME, HOME.removeprefix("urn:oid:")])
def test_an_issuer_speaks_for_our_own_community_without_being_named(home):
    assert authenticated(assertion_for("u-1", SOUTH, home_community_id=home))


def test_what_another_community_is_claimed_for_is_refused_with_its_reason_and_user():
    fault = refusal(assertion_for("u-1", SOUTH, home_community_id=FAR))
    assert "does not speak for the home community" in fault.detail
    assert f"u-1@{SOUTH.issuer}" in fault.claimed


def test_an_issuer_of_another_community_speaks_for_that_one_and_not_for_ours():
    far = {SOUTH.issuer: {"communities": [FAR], "organizations": ["2.999.7"]}}
    assert authenticated(assertion_for("u-1", SOUTH, home_community_id=FAR), **far)
    assert "home community" in refusal(assertion_for("u-1", SOUTH, home_community_id=HOME), **far).detail
    # And for whom nothing is said goes on as before.
    assert authenticated(assertion_for("u-1", NORTH, home_community_id=HOME, organization_ids=()), **far)


def test_an_organisation_that_an_issuer_is_named_for_is_claimed_by_no_other():
    named = {NORTH.issuer: {"organizations": ["urn:oid:2.999.7"]}}
    assert authenticated(assertion_for("u-1", NORTH, organization_ids=("2.999.7",)), **named)
    assert (
        "organisation" in refusal(assertion_for("u-1", SOUTH, organization_ids=("2.999.7",)), **named).detail
    )
    assert authenticated(assertion_for("u-1", SOUTH, organization_ids=("2.999.8",)), **named)
    assert (
        "organisation" in refusal(assertion_for("u-1", NORTH, organization_ids=("2.999.8",)), **named).detail
    )


def test_an_issuer_of_another_community_claims_no_organisation_that_it_is_not_named_for():
    far = {SOUTH.issuer: {"communities": [FAR]}}
    fault = refusal(assertion_for("u-1", SOUTH, home_community_id=FAR, organization_ids=("2.999.8",)), **far)
    assert "organisation" in fault.detail
    assert authenticated(assertion_for("u-1", SOUTH, home_community_id=FAR, organization_ids=()), **far)


homes = st.sampled_from([HOME, FAR, "urn:oid:2.999.73"])
organizations = st.sampled_from(["2.999.7", "2.999.8", "2.999.9"])
voices = st.builds(
    VoiceSettings,
    communities=st.lists(homes, max_size=2).map(tuple),
    organizations=st.lists(organizations, max_size=2).map(tuple),
)


@given(
    st.dictionaries(st.sampled_from(["a", "b", "c"]), voices),
    st.sampled_from(["a", "b", "c"]),
    st.one_of(st.just(""), homes),
    st.lists(organizations, max_size=2),
)
def test_whoever_is_named_speaks_for_those_alone(speaks_for, issuer, home, claimed):
    user = User(
        name_id="u", issuer=issuer, assertion_id="_1", home_community_id=home, organization_ids=tuple(claimed)
    )
    own = speaks_for.get(issuer, VoiceSettings())
    communities_ = own.communities or (HOME,)
    may = home == "" or home in communities_
    for each in claimed:
        if own.organizations or set(communities_) != {HOME}:
            may = may and each in own.organizations
        else:
            may = may and not any(each in other.organizations for other in speaks_for.values())
    try:
        Voices(speaks_for, HOME).check(user)
    except SecurityFault:
        assert not may
    else:
        assert may


def test_it_is_checked_once_for_an_assertion_that_is_remembered():
    assertion = assertion_for("u-1", SOUTH, home_community_id=FAR, not_before=datetime.now(UTC))
    for _ in range(2):
        refusal(assertion)
