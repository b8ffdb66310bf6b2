"""Which node may do what: the community everything, a named node what it is named for, all others nothing."""

from __future__ import annotations

import pytest

from gateway.settings import GatewaySettings
from shared.faults import WSSE, NodeRefused
from shared.security.caller import Node
from shared.security.rights import DOORS, Right, Rights
from shared.settings import RightsSettings, ServiceSettings, SettingsError
from tests.support.certificates import communities, node_of, stranger
from xdsi.documents import doors

NORTH, SOUTH = communities()
OURS = node_of(NORTH.node.certificate)
THEIRS = node_of(SOUTH.node.certificate)
OTHER = node_of(stranger().node.certificate)
EVERY = doors()
NAMED = [right for right in Right if right is not Right.CROSS]


def rights(*, tls: bool = True, **changes) -> Rights:
    given = NORTH.settings() if tls else {}
    return Rights(ServiceSettings(**given | changes))


# --- the community ------------------------------------------------------------------------------------


@pytest.mark.parametrize("door", DOORS)
def test_our_own_certificate_may_do_everything_and_another_nothing(door):
    assert rights().community(OURS)
    assert rights().may(OURS, door)
    assert not rights().community(THEIRS)
    assert not rights().may(THEIRS, door)


def test_another_certificate_with_our_name_is_not_ours():
    forged = Node(address="192.0.2.66", subject=OURS.subject, fingerprint=THEIRS.fingerprint)

    assert not rights().community(forged)


@pytest.mark.parametrize(
    "entry",
    [
        THEIRS.subject,
        THEIRS.subject.replace(",", ", "),
        THEIRS.fingerprint,
        THEIRS.fingerprint.upper(),
    ],
    ids=["a name", "a name with blanks", "a fingerprint", "a fingerprint in upper case"],
)
def test_nodes_that_are_named_are_of_the_community(entry):
    found = rights(community_nodes=(entry,))

    assert found.community(THEIRS)
    assert found.community(OURS)
    assert not found.community(OTHER)


@pytest.mark.parametrize("entry", ["", "registry", "CN", "sha256:00"])
@pytest.mark.parametrize(
    ("setting", "given"),
    [
        ("XDSI_COMMUNITY_NODES", lambda entry: {"community_nodes": (entry,)}),
        *((right.setting, lambda entry, right=right: {"rights": {right.value: (entry,)}}) for right in NAMED),
    ],
)
def test_a_name_that_is_none_is_told(setting, given, entry):
    with pytest.raises(SettingsError, match=setting):
        rights(**given(entry))


@pytest.mark.parametrize("address", ["127.0.0.1", "127.3.2.1", "::1", "::ffff:127.0.0.1", "localhost"])
def test_without_tls_this_machine_is_of_the_community(address):
    assert rights(tls=False).community(Node(address=address))


@pytest.mark.parametrize("address", ["192.0.2.7", "::ffff:192.0.2.7", "", "testclient"])
def test_without_tls_no_other_machine_is(address):
    nobody = Node(address=address)

    assert not rights(tls=False).community(nobody)
    assert not any(rights(tls=False, rights={"ask": ("CN=a",)}).may(nobody, door) for door in DOORS)


# --- one right --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("right", NAMED)
def test_a_node_that_is_named_for_one_right_has_that_and_no_other(right):
    found = rights(rights={right.value: (THEIRS.fingerprint,)})

    assert {needed for door, needed in EVERY.items() if found.may(THEIRS, door, needed)} == {right}
    assert not any(found.may(OTHER, door, needed) for door, needed in EVERY.items())


def test_the_gateway_of_another_community_crosses_and_does_nothing_else():
    settings = GatewaySettings(**NORTH.settings(), community_gateways={"urn:oid:2.999.2": THEIRS.fingerprint})
    found = Rights(settings)

    assert {needed for door, needed in EVERY.items() if found.may(THEIRS, door, needed)} == {Right.CROSS}


@pytest.mark.parametrize("door", DOORS)
def test_a_refusal_names_the_setting_that_would_let_the_node_in_and_tells_the_log_who_it_was(door):
    with pytest.raises(NodeRefused) as refused:
        rights().check(THEIRS, door)

    assert DOORS[door].setting in refused.value.reason
    assert THEIRS.subject not in refused.value.reason
    assert THEIRS.fingerprint in refused.value.detail
    assert refused.value.subcode == (WSSE, "FailedAuthentication")


def test_every_right_has_its_setting():
    assert set(RightsSettings.model_fields) == {right.value for right in NAMED}
    assert set(EVERY.values()) == set(Right)


def test_a_door_that_is_not_in_the_table_lets_nobody_in():
    with pytest.raises(KeyError):
        rights().may(THEIRS, "ITI-0")
