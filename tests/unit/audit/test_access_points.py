"""NetworkAccessPointID and its type: addresses as addresses, names as names, one spelling for one node
(DICOM PS3.15 A.5.2.1)."""

from __future__ import annotations

from ipaddress import IPv4Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.audit.events import (
    AuditSource,
    Outcome,
    Participant,
    access_point,
    feed_participants,
    http_pull_participants,
    http_push_participants,
    pull_participants,
    push_participants,
)
from shared.audit.node_events import node_authentication_failure, started, user_authentication_failure
from shared.security.caller import Caller, Node

ADDRESSES = {
    "192.0.2.17": "192.0.2.17",
    "2001:db8::7": "2001:db8::7",
    "2001:DB8:0:0::7": "2001:db8::7",
    "[2001:db8::7]": "2001:db8::7",
    "::1": "::1",
    "fe80::1%eth0": "fe80::1",
    "::ffff:192.0.2.17": "192.0.2.17",
}
NAMES = ["registry.hub.example", "localhost", "hub", "192.0.2", "1.2.3.4.5", "a-b.c"]


@pytest.mark.parametrize(("given", "shown"), ADDRESSES.items())
def test_an_address_is_of_type_2_and_has_one_spelling(given: str, shown: str):
    assert access_point(given) == {"network_id": shown, "network_type": 2}


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_of_type_1(name: str):
    assert access_point(name) == {"network_id": name, "network_type": 1}


def test_what_is_nowhere_has_no_access_point():
    assert access_point("") == {"network_id": "", "network_type": None}


@given(st.ip_addresses())
def test_every_address_is_one(address):
    for spelled in (str(address), f"[{address}]"):
        point = access_point(spelled)
        assert point["network_type"] == 2
        assert ip_address(point["network_id"]) in (address, getattr(address, "ipv4_mapped", None))
        assert isinstance(address, IPv4Address) or "[" not in point["network_id"]


def patterns(client: str, server: str) -> dict[str, tuple[Participant, ...]]:
    host = f"[{server}]" if ":" in server else server
    caller = Caller(node=Node(address=client), endpoint=f"https://{host}:8010/xds/registry")
    return {
        "push": push_participants(caller, server=True),
        "pull": pull_participants(caller, server=False),
        "http push": http_push_participants(caller, server=True),
        "http pull": http_pull_participants(caller, server=False),
        "feed": feed_participants(
            sender=("NORTH", "ADT"),
            receiver=("HUB", "REG"),
            sender_address=client,
            receiver_host=server,
            server=True,
        ),
        "start": started(AuditSource(source_id="xdsi-test", hostname=server)).participants,
        "user": user_authentication_failure(claimed="", node=Node(address=client), reason="x").participants,
    }


@pytest.mark.parametrize("client", [*ADDRESSES, *NAMES])
@pytest.mark.parametrize("server", ["192.0.2.1", "2001:db8::1", "registry.hub.example"])
def test_every_participant_says_where_it_is_in_that_form(client: str, server: str):
    points = [access_point(client), access_point(server)]
    for name, participants in patterns(client, server).items():
        for one in participants:
            at = {"network_id": one.network_id, "network_type": one.network_type}
            assert at in points, name


def test_the_requestor_is_the_side_that_asks_where_no_human_is_known():
    for name, participants in patterns("192.0.2.17", "hub.example").items():
        asking = [one.network_id for one in participants if one.requestor]
        assert asking == ([] if name == "start" else ["192.0.2.17"]), name


def test_a_refused_node_makes_nobody_a_requestor():
    event = node_authentication_failure("192.0.2.99", "untrusted")
    assert event.outcome is Outcome.SERIOUS_FAILURE
    assert [one.requestor for one in event.participants] == [False]
    assert all(one.network_id and one.network_type for one in event.participants)
