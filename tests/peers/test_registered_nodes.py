"""The register of nodes at every door: unknown, revoked, foreign, and the right node as the wrong actor."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from shared.security import nodes as module
from shared.security.nodes import RIGHTS_OF, NodeActor
from shared.security.peer_certificate import fingerprint_of
from shared.security.rights import Right
from tests.peers.test_every_door import NORTH, OPEN, SOUTH, TRUST, right_of
from tests.support.every_door import Visit, a_house

pytestmark = [pytest.mark.heavy]

THEIRS = fingerprint_of(SOUTH.node.certificate)
TOOLS = {"name": "tools", "sha256": "0" * 64, "actors": ["community-service"]}
#: What a refusal of a node names, as that which would let it in.
LETS_IN = ("xdsi node add", "XDSI_RIGHTS__")
GATEWAY = {"community": "urn:oid:2.999.72"}


def register(path: Path, *entries) -> None:
    beside = path.with_suffix(".new")
    beside.write_text(json.dumps({"nodes": [TOOLS, *entries]}), "utf-8")
    beside.replace(path)


def south(*actors: NodeActor, **fields):
    community = GATEWAY if NodeActor.INITIATING_GATEWAY in actors else {}
    return {"name": "south", "sha256": THEIRS, "actors": list(actors), **community, **fields}


async def tried(house) -> tuple[set[str], set[str]]:
    """The doors that were tried, and those that were closed."""
    answers = await Visit(house, SOUTH).tried()
    doors = {door for door in answers if door not in OPEN}
    # Who is told that its form is none of this browser was let in as a node.
    return doors, {door for door in doors if any(word in answers[door] for word in LETS_IN)}


async def test_what_the_register_says_holds_at_every_door_and_a_change_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.0)
    path = tmp_path / "nodes.json"
    register(path)
    # What settings say beside a register gives nobody anything.
    named = {"community_nodes": (THEIRS,), "rights": {"ask": (THEIRS,)}}
    async with a_house(tmp_path, TRUST, nodes=path, **named) as house:
        doors, closed = await tried(house)
        assert closed == doors, "a trusted node that is not registered"

        actor = NodeActor.IMAGING_DOCUMENT_SOURCE
        register(path, south(actor))
        _, closed = await tried(house)
        wrong = {door for door in doors if right_of(door) not in RIGHTS_OF[actor]}
        assert closed == wrong, "the right node as the wrong actor"

        everything = [right.value for right in Right]
        register(path, south(NodeActor.INITIATING_GATEWAY, rights=everything))
        _, closed = await tried(house)
        assert closed == set(), "may everything"

        register(path, south(NodeActor.INITIATING_GATEWAY, rights=everything, revoked="2030-05-04T00:00:00Z"))
        _, closed = await tried(house)
        assert closed == doors, "revoked"

        answers = await Visit(house, NORTH).tried()
        assert {door for door, answer in answers.items() if answer} == set(), "our own needs no entry"
