"""Which node may write under which AuditSourceID: whoever can send can write any name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit_repository.domain.sources import Sources, Standing
from shared.security.caller import Node
from shared.security.nodes import NodeActor, NodeRegister, RegisteredNode
from shared.security.rights import NodeList

OURS = Node(address="192.0.2.1", subject="CN=registry,O=Hub", fingerprint="11" * 32)
PACS = Node(address="192.0.2.2", subject="CN=pacs,O=North", fingerprint="22" * 32)
FOREIGN = Node(address="192.0.2.3", subject="CN=other,O=South", fingerprint="33" * 32)
BARE = Node(address="192.0.2.4")

SOURCES = Sources(
    {
        "pacs-north": NodeList((PACS.fingerprint,), "SOURCES"),
        "xdsi-consumer": NodeList((PACS.subject, OURS.subject), "SOURCES"),
    },
    ours=("trail-of-the-hub",),
    of_the_community=lambda node: node == OURS,
    proves_nodes=True,
)


@pytest.mark.parametrize(
    ("source_id", "node", "standing"),
    [
        ("xdsi-registry", OURS, Standing.PROVED),
        ("trail-of-the-hub", OURS, Standing.PROVED),
        ("a name of our own", OURS, Standing.PROVED),
        ("pacs-north", PACS, Standing.PROVED),
        ("xdsi-consumer", PACS, Standing.PROVED),
        ("viewer-south", FOREIGN, Standing.CLAIMED),
        ("viewer-south", BARE, Standing.CLAIMED),
        ("", FOREIGN, Standing.CLAIMED),
        ("", OURS, Standing.CLAIMED),
        ("xdsi-registry", FOREIGN, Standing.MISMATCHED),
        ("xdsi-registry", BARE, Standing.MISMATCHED),
        ("xdsi-something-new", PACS, Standing.MISMATCHED),
        ("xdsi-consumer", FOREIGN, Standing.MISMATCHED),
        ("trail-of-the-hub", FOREIGN, Standing.MISMATCHED),
        ("pacs-north", FOREIGN, Standing.MISMATCHED),
        ("pacs-north", BARE, Standing.MISMATCHED),
        # what is bound is for its nodes alone, not even for others of ours
        ("pacs-north", OURS, Standing.MISMATCHED),
    ],
)
def test_a_record_stands_by_the_node_that_delivered_it(source_id: str, node: Node, standing: Standing):
    assert SOURCES.standing(source_id, node) is standing


@pytest.mark.parametrize("spelled", ["XDSI-Registry", " xdsi-registry ", "xdsi-registry\n", "Xdsi-REGISTRY"])
def test_another_spelling_that_readers_take_for_ours_is_ours(spelled: str):
    assert SOURCES.standing(spelled, FOREIGN) is Standing.MISMATCHED
    assert SOURCES.standing(spelled, OURS) is Standing.PROVED


@pytest.mark.parametrize("alike", ["xdsi\u2011registry", "\u0445dsi-registry", "xdsi_registry"])
def test_what_only_looks_alike_is_never_proved_for_a_node_that_is_not_ours(alike: str):
    assert SOURCES.standing(alike, FOREIGN) is not Standing.PROVED


def test_where_nodes_show_no_certificate_all_are_on_this_machine_and_no_table_tells_them_apart():
    sources = Sources(
        {"pacs-north": NodeList((PACS.fingerprint,), "SOURCES")},
        of_the_community=lambda node: node.address == "127.0.0.1",
        proves_nodes=False,
    )
    for source_id in ("pacs-north", "xdsi-registry", "another"):
        assert sources.standing(source_id, Node(address="127.0.0.1")) is Standing.PROVED
    assert sources.standing("pacs-north", BARE) is Standing.MISMATCHED


@given(st.text(max_size=30), st.sampled_from((OURS, PACS, FOREIGN, BARE)))
def test_a_node_that_is_neither_ours_nor_bound_proves_nothing_whatever_it_writes(source_id: str, node: Node):
    proved = SOURCES.standing(source_id, node) is Standing.PROVED
    assert not proved or node in (OURS, PACS)
    assert not proved or node == OURS or source_id.strip().casefold() in ("pacs-north", "xdsi-consumer")


# --- the register of nodes ------------------------------------------------------------------------------


def test_a_registered_source_is_of_its_node_alone_and_a_bound_node_uses_no_other():
    theirs = RegisteredNode(
        name="north", sha256="a" * 64, actors=(NodeActor.MODALITY,), audit_sources=("north-pacs",)
    )
    register = NodeRegister((theirs,))
    found = Sources({}, of_the_community=lambda _: True, proves_nodes=True, register=lambda: register)
    north, other = (Node(address="192.0.2.7", fingerprint=digit * 64) for digit in "ab")

    assert found.standing("North-PACS", north) is Standing.PROVED
    assert found.standing("north-pacs", other) is Standing.MISMATCHED
    assert found.standing("else", north) is Standing.MISMATCHED
    assert found.standing("else", other) is Standing.PROVED
