"""The register of nodes: it alone says who may, once a node stands in it; a change takes effect by itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.faults import NodeRefused
from shared.security import nodes as module
from shared.security.caller import Node
from shared.security.doors import DOORS, Right
from shared.security.nodes import (
    RIGHTS_OF,
    NodeActor,
    RegisterError,
    check_bound,
    decode_register,
    encode_register,
)
from shared.security.rights import Rights
from shared.settings import ServiceSettings, SettingsError
from tests.support.certificates import communities, node_of, stranger

NORTH, SOUTH = communities()
OURS = node_of(NORTH.node.certificate)
THEIRS = node_of(SOUTH.node.certificate)
OTHER = node_of(stranger().node.certificate)


def an_entry(node: Node = THEIRS, actor: str = "document-consumer", **fields):
    return {"name": node.subject, "sha256": node.fingerprint, "actors": [actor], **fields}


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Writes the register; it is looked at each time."""
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.0)

    def write(*entries) -> Path:
        path = tmp_path / "nodes.json"
        beside = tmp_path / "beside.json"
        beside.write_text(json.dumps({"nodes": list(entries)}), "utf-8")
        return beside.replace(path)

    return write


def rights(path: Path, **changes) -> Rights:
    return Rights(ServiceSettings(**NORTH.settings(), nodes=path, **changes))


@pytest.mark.parametrize("actor", NodeActor)
def test_a_node_may_what_its_actor_may_and_nothing_else(written, actor: NodeActor):
    of_others = {"community": "urn:oid:2.999.2"} if actor is NodeActor.INITIATING_GATEWAY else {}
    found = rights(written(an_entry(actor=actor.value, **of_others)))

    assert {door for door in DOORS if found.may(THEIRS, door)} == {
        door for door, right in DOORS.items() if right in RIGHTS_OF[actor]
    }
    assert found.community(THEIRS) is (actor is NodeActor.COMMUNITY_SERVICE)


def test_what_stands_in_the_settings_gives_nothing_beside_a_register(written):
    named = {"community_nodes": (OTHER.fingerprint,), "rights": {"ask": (OTHER.subject,)}}
    found = rights(written(an_entry()), **named)

    assert not any(found.may(OTHER, door) for door in DOORS)
    assert not found.community(OTHER)
    assert found.community(OURS), "our own certificate is ours without an entry"


def test_without_a_registered_node_the_settings_say_who_may(written):
    found = rights(written(), community_nodes=(OTHER.fingerprint,))

    assert found.community(OTHER)
    assert not found.may(THEIRS, "ITI-18")


def test_a_change_of_the_file_takes_effect_without_a_restart(written):
    path = written(an_entry())
    found = rights(path)
    assert found.may(THEIRS, "ITI-18")

    written(an_entry(revoked="2030-05-04T00:00:00Z"))

    with pytest.raises(NodeRefused) as refused:
        found.check(THEIRS, "ITI-18")
    assert "`xdsi node add`" in refused.value.reason
    assert "was revoked on 2030-05-04" in refused.value.detail


def test_our_own_certificate_can_be_revoked(written):
    found = rights(written(an_entry(OURS, "community-service", revoked="2030-05-04T00:00:00Z")))

    assert not found.community(OURS)
    assert not any(found.may(OURS, door) for door in DOORS)


@pytest.mark.parametrize("content", [b"", b"{", b'{"nodes": [{}]}', b"[" * 100_000, None])
def test_a_file_that_breaks_keeps_what_was_read_before_and_a_good_one_is_taken_again(written, content):
    path = written(an_entry())
    found = rights(path)
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)

    assert found.may(THEIRS, "ITI-18")
    assert not found.may(OTHER, "ITI-18")

    written(an_entry(OTHER))
    assert not found.may(THEIRS, "ITI-18")
    assert found.may(OTHER, "ITI-18")


def test_a_service_does_not_start_on_a_register_that_cannot_be_read(tmp_path: Path):
    with pytest.raises(SettingsError, match="XDSI_NODES"):
        rights(tmp_path / "nowhere.json")


def test_a_node_known_by_name_is_known_by_subject_and_issuer_together(written):
    by_name = {
        "name": "n",
        "subject": THEIRS.subject,
        "issuer": THEIRS.issuer,
        "actors": ["document-consumer"],
    }
    found = rights(written(by_name))
    forged = Node(address="192.0.2.66", subject=THEIRS.subject, issuer=OURS.issuer, fingerprint="0" * 64)

    assert found.may(THEIRS, "ITI-18")
    assert not found.may(forged, "ITI-18")


def test_a_revoked_certificate_stays_revoked_where_its_successor_is_known_by_name(written):
    by_name = {
        "name": "n",
        "subject": THEIRS.subject,
        "issuer": THEIRS.issuer,
        "actors": ["document-consumer"],
    }
    stolen = an_entry(revoked="2030-05-04T00:00:00Z") | {"name": "stolen"}
    found = rights(written(by_name, stolen))
    renewed = Node(address="192.0.2.7", subject=THEIRS.subject, issuer=THEIRS.issuer, fingerprint="1" * 64)

    assert not found.may(THEIRS, "ITI-18")
    assert found.may(renewed, "ITI-18")


def test_an_ae_title_belongs_to_the_node_for_which_it_is_registered(written):
    found = rights(written(an_entry(ae_titles=["PACS"]), an_entry(OTHER)))

    found.check_title(THEIRS, "PACS")
    found.check_title(OTHER, "ELSE")
    for node, title in ((OTHER, "PACS"), (OURS, "PACS"), (THEIRS, "ELSE")):
        with pytest.raises(NodeRefused) as refused:
            found.check_title(node, title)
        assert "AE title" in refused.value.reason


def test_what_an_entry_binds_is_kept_to():
    check_bound((), ("1.2.3",), "feeds the domain")
    check_bound(("1.2.3",), ("1.2.3",), "feeds the domain")
    with pytest.raises(NodeRefused) as refused:
        check_bound(("1.2.3",), ("1.2.3", "1.2.4"), "feeds the domain")
    assert "feeds the domain 1.2.4" in refused.value.reason
    assert "names 1.2.3" in refused.value.reason


@pytest.mark.parametrize(
    ("entry", "complaint"),
    [
        ({}, "name"),
        ({"name": "a", "actors": ["document-source"]}, "sha256, or subject and issuer"),
        ({"name": "a", "actors": ["document-source"], "subject": "CN=a"}, "sha256, or subject and issuer"),
        ({"name": "a", "actors": [], "sha256": "0" * 64}, "actors"),
        ({"name": "a", "actors": ["emperor"], "sha256": "0" * 64}, "actors"),
        ({"name": "a", "actors": ["document-source"], "sha256": "0" * 63}, "64 digits"),
        ({"name": "a", "actors": ["document-source"], "sha256": "0" * 64, "may": ["ask"]}, "may"),
        ({"name": "a", "actors": ["initiating-gateway"], "sha256": "0" * 64}, "homeCommunityId"),
        (
            {"name": "a", "actors": ["community-service"], "sha256": "0" * 64, "community": "urn:oid:2.999"},
            "our own community",
        ),
        (
            {"name": "a", "actors": ["document-source"], "sha256": "0" * 64, "repositories": ["x"]},
            "repositories",
        ),
    ],
)
def test_an_entry_that_is_not_understood_is_refused_and_says_where(entry, complaint: str):
    with pytest.raises(RegisterError, match="node 1") as refused:
        decode_register({"nodes": [entry]})
    assert complaint in str(refused.value)


@pytest.mark.parametrize("second", [{"name": "n"}, {"sha256": "1" * 64}], ids=["name", "certificate"])
def test_nothing_stands_in_a_register_twice(second):
    entries = [
        {"name": "n", "sha256": "1" * 64, "actors": ["modality"]},
        {"name": "m", "sha256": "2" * 64, "actors": ["modality"]} | second,
    ]
    with pytest.raises(RegisterError, match="twice"):
        decode_register({"nodes": entries})


@settings(max_examples=30)
@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "name": st.text(min_size=1, max_size=20),
                "sha256": st.from_regex(r"[0-9a-f]{64}", fullmatch=True),
            },
            optional={
                "rights": st.lists(st.sampled_from([right.value for right in Right]), unique=True),
                "ae_titles": st.lists(st.from_regex(r"[A-Z]{1,16}", fullmatch=True), max_size=3),
                "revoked": st.datetimes().map(lambda at: at.isoformat() + "Z"),
            },
        ).map(lambda one: one | {"actors": ["modality"]}),
        unique_by=(lambda one: one["name"], lambda one: one["sha256"]),
        max_size=5,
    )
)
def test_what_is_written_is_read_back_the_same(entries):
    register = decode_register({"nodes": entries})

    assert decode_register(json.loads(encode_register(register))).nodes == register.nodes
