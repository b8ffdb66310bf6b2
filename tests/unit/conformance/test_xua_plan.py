"""The plan of X-User Assertion: what accepts everything is found by every probe of what must be refused."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from lxml import etree

from conformance.plans.assertions import AssertionText, Provider, Signing, signed
from conformance.plans.probe import Outcome
from conformance.plans.run import run
from conformance.plans.stand import Target
from conformance.plans.xua.provider import PLAN
from conformance.plans.xua.wrapping import WAYS, wrapped
from conformance.simulators.scripts import Cast
from conformance.simulators.server import http_simulator
from conformance.simulators.world import World
from shared.faults import SecurityFault
from shared.security.issuer import AssertionIssuer
from shared.security.xua import verified
from tests.support.certificates import communities, now, provider

AUDIENCE = "urn:oid:1.2.3"
#: Those that say what is accepted.
ACCEPTS = {"XUA-REG-01", "XUA-REG-02", "XUA-REG-03", "XUA-REG-201"}


@pytest.fixture(scope="module")
def ours() -> Provider:
    north, _ = communities()
    return Provider.load(north.issuer, AUDIENCE, north.provider.key, north.provider.certificate)


@pytest.fixture(scope="module")
def issuer() -> AssertionIssuer:
    return provider(communities()[0])


def test_a_registry_that_looks_at_no_assertion_fails_whatever_must_be_refused(ours: Provider, tmp_path: Path):
    asked = [probe for probe in PLAN if probe.id.startswith("XUA-REG")]
    with http_simulator(Cast(World(domain="1.2.3"), {"registry": "right"}).handle) as simulator:
        target = Target(endpoints={"registry": f"{simulator.url}/xds/registry"}, provider=ours)
        outcomes = {one.probe.id: one.outcome for one in run(asked, target, tmp_path).verdicts}

    assert {id for id, outcome in outcomes.items() if outcome is Outcome.PASSED} == ACCEPTS
    assert sum(outcome is Outcome.FAILED for outcome in outcomes.values()) >= 40


def test_without_a_provider_nothing_is_asked(tmp_path: Path):
    target = Target(endpoints={"registry": "http://127.0.0.1:9/"})
    asked = [probe for probe in PLAN if probe.id.startswith("XUA-REG") and not probe.option]

    assert {one.outcome for one in run(asked, target, tmp_path).verdicts} == {Outcome.NOT_OFFERED}


def test_what_is_signed_verifies_and_what_was_changed_does_not(ours: Provider, issuer: AssertionIssuer):
    believed = {ours.issuer: [issuer.certificate]}
    text = AssertionText(issuer=ours.issuer, audience=AUDIENCE)
    good = signed(text, ours)

    assert verified(good.encode(), believed, now())[0].user.name_id == "ann.roe"
    for wrong in (
        good.replace("ann.roe", "evil"),
        signed(text, ours.impostor()),
        signed(text, ours, Signing(algorithm="hmac")),
        signed(text, ours, Signing(digest="sha1")),
    ):
        with pytest.raises(SecurityFault):
            verified(wrong.encode(), believed, now())


def test_every_way_of_wrapping_is_another_message_that_holds_both_assertions(ours: Provider):
    messages = [wrapped(way, AssertionText(issuer=ours.issuer, audience=AUDIENCE), ours) for way in WAYS]

    assert len(WAYS) == 8
    for message in messages:
        root = etree.fromstring(f"<all>{message.security}{message.headers}</all>")
        assert len(root.findall(".//{*}Assertion")) == 2
        assert len(root.findall(".//{*}Signature")) == 1
    assert all(one != other for one, other in itertools.combinations(messages, 2))
