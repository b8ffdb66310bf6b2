"""The caller: node by certificate, user by assertion, and which of them a transaction needs."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from shared.faults import WSSE, NodeRefused, SecurityFault
from shared.security.authenticator import Authenticator
from shared.security.caller import Node
from shared.security.peer_certificate import fingerprint_of, node_from_der, subject_of
from shared.settings import ServiceSettings, XuaMode
from tests.support.certificates import (
    assertion_for,
    bearer,
    communities,
    node_of,
)
from tests.support.envelopes import envelope, security, security_header

NORTH, SOUTH = communities()
NOW = datetime.now(UTC)
ENDPOINT = "https://registry.example/xds/registry"
GENUINE = assertion_for("u-778", not_before=NOW - timedelta(minutes=1))
EXPIRED = assertion_for("u-778", not_before=NOW - timedelta(days=1))
LOCAL = Node(address="127.0.0.1")
OURS = node_of(NORTH.node.certificate)
THEIRS = node_of(SOUTH.node.certificate)


def an_authenticator(*, tls: bool = True, **changes) -> Authenticator:
    given = NORTH.settings()
    if not tls:
        given["tls"] = {}
    return Authenticator(ServiceSettings(**given | changes), clock=lambda: NOW)


def header(*tokens: bytes):
    return security_header(envelope(security(*tokens)))


def caller(authenticator: Authenticator, node: Node = OURS, *, speaker_is_user: bool = True, **came):
    came = {"door": "ITI-18", "endpoint": ENDPOINT, "speaker_is_user": speaker_is_user} | came
    return asyncio.run(authenticator.caller(node, **came))


def test_an_assertion_makes_a_user_and_the_certificate_a_node():
    found = caller(
        an_authenticator(), security_header=header(GENUINE), reply_to="urn:reply", message_id="urn:uuid:1"
    )

    assert found.user.name_id == "u-778"
    assert found.node == OURS
    assert (found.endpoint, found.reply_to, found.message_id) == (ENDPOINT, "urn:reply", "urn:uuid:1")


def test_a_bearer_token_makes_the_same_user():
    found = caller(an_authenticator(), bearer=bearer(GENUINE))

    assert found.user == caller(an_authenticator(), security_header=header(GENUINE)).user


def test_a_query_needs_a_user_when_assertions_are_required():
    with pytest.raises(SecurityFault) as refused:
        caller(an_authenticator())

    assert refused.value.subcode == (WSSE, "InvalidSecurity")


def test_a_submission_may_come_from_a_node_alone():
    assert caller(an_authenticator(), speaker_is_user=False).user is None


def test_an_assertion_is_checked_although_a_submission_needs_none():
    with pytest.raises(SecurityFault):
        caller(an_authenticator(), speaker_is_user=False, security_header=header(EXPIRED))


@pytest.mark.parametrize("tokens", [(), (EXPIRED,)], ids=["empty header", "expired"])
def test_an_optional_assertion_is_checked_when_it_comes(tokens):
    with pytest.raises(SecurityFault):
        caller(an_authenticator(tls=False), LOCAL, security_header=header(*tokens))


def test_an_optional_assertion_may_be_absent():
    assert caller(an_authenticator(tls=False), LOCAL).user is None


def test_when_off_assertions_are_not_looked_at_on_this_machine():
    authenticator = an_authenticator(tls=False, xua=XuaMode.OFF)

    assert caller(authenticator, LOCAL, security_header=header(EXPIRED)).user is None
    assert caller(authenticator, LOCAL, bearer="?").user is None


def test_when_off_nobody_else_gets_in():
    with pytest.raises(SecurityFault) as refused:
        caller(an_authenticator(tls=False, xua=XuaMode.OFF), Node(address="192.0.2.7"))

    assert refused.value.subcode == (WSSE, "FailedAuthentication")


def test_with_tls_a_node_without_certificate_is_refused():
    with pytest.raises(SecurityFault) as refused:
        caller(an_authenticator(), LOCAL, security_header=header(GENUINE))

    assert refused.value.subcode == (WSSE, "FailedAuthentication")


def test_a_header_and_a_bearer_token_together_are_refused():
    with pytest.raises(SecurityFault):
        caller(an_authenticator(), security_header=header(GENUINE), bearer=bearer(GENUINE))


@pytest.mark.parametrize(
    ("token", "name"),
    [
        ("", "InvalidSecurity"),
        (bearer(GENUINE) + "=", "InvalidSecurity"),
        ("a" * 5, "InvalidSecurity"),
        ("AAAA", "InvalidSecurity"),
        ("äöü", "InvalidSecurity"),
        (bearer(GENUINE)[:-8], "InvalidSecurity"),
        ("eyJhbGciOiJub25lIn0.eyJzdWIiOiJ4In0.", "FailedAuthentication"),
        (bearer(b"<Response/>"), "UnsupportedSecurityToken"),
        (bearer(b"<Response>" + GENUINE + b"</Response>"), "UnsupportedSecurityToken"),
        (bearer(b"x" * 70_000), "InvalidSecurityToken"),
    ],
)
def test_a_bearer_token_that_is_no_assertion_is_refused(token, name):
    with pytest.raises(SecurityFault) as refused:
        caller(an_authenticator(), bearer=token)

    assert refused.value.subcode == (WSSE, name)


# --- what a node may do -------------------------------------------------------------------------------


def test_a_node_without_the_right_is_refused_whoever_its_user_is():
    with pytest.raises(NodeRefused) as refused:
        caller(an_authenticator(), THEIRS, security_header=header(GENUINE))

    assert refused.value.subcode == (WSSE, "FailedAuthentication")
    assert "XDSI_RIGHTS__ASK" in refused.value.reason


def test_a_node_that_is_named_for_it_is_let_in_and_is_not_of_the_community():
    authenticator = an_authenticator(rights={"ask": (THEIRS.fingerprint,)})

    found = caller(authenticator, THEIRS, security_header=header(GENUINE))

    assert found.user.name_id == "u-778"
    assert not found.community_node
    assert caller(authenticator, OURS, security_header=header(GENUINE)).community_node


# --- certificates as nodes ----------------------------------------------------------------------------


def test_a_node_is_its_subject_and_the_digest_of_its_certificate():
    assert OURS.subject == subject_of(NORTH.node.certificate) == "CN=North node,O=North"
    assert OURS.fingerprint == fingerprint_of(NORTH.node.certificate)
    assert len(OURS.fingerprint) == 64


def test_without_tls_a_node_is_its_address():
    assert node_from_der(None, "127.0.0.1") == LOCAL


def test_a_certificate_that_cannot_be_read_is_no_node():
    with pytest.raises(SecurityFault):
        node_from_der(b"\x30\x03\x02\x01\x01", "192.0.2.7")
