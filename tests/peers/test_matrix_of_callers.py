"""The matrix of callers, over everything that gives documents or images: a good assertion opens nothing that
is denied, or of another patient; one of another voice, or used before, opens nothing at all.

Forged, altered, wrapped and expired ones, at every door: `test_every_token`. Nodes: `test_every_door`,
`test_registered_nodes`.
"""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from tests.peers.test_break_at_every_door import Asker
from tests.peers.test_every_token import BAD_HEADERS
from tests.peers.test_every_transaction_asks_consent import Shared, a_shared_study, gives
from tests.support.bad_tokens import BAD_TOKENS
from tests.support.certificates import assertion_for, communities
from tests.support.metadata import DOMAIN

pytestmark = [pytest.mark.heavy]

NORTH, SOUTH = communities()
#: Kinds of callers that no door may let in, and words of the cases in which each is tried.
KINDS = {
    "unsigned": "no signature",
    "expired": "expired",
    "not yet valid": "not yet valid",
    "wrong audience": "wrong audience",
    "wrong issuer": "unknown issuer",
    "downgraded": "SHA-1",
    "comment-truncated": "comment in NameID",
    **{f"wrapped, {number}": f"XSW{number}" for number in range(1, 9)},
}
OF_TOKENS = ("unsigned", "expired", "not yet valid", "wrong audience", "wrong issuer", "algorithm none",
             "issuer of another community claiming our organisation", "name cut short")  # fmt: skip


def an_asker(shared: Shared, assertion: bytes) -> Asker:
    parts = {field.name: getattr(shared, field.name) for field in fields(Shared)}
    return Asker(**parts, assertion=assertion, every=True)


async def answers(asker: Asker) -> dict[str, bool]:
    """Whether something is given at each door."""
    return {name: gives(await ask()) for name, ask in asker.doors()}


def test_every_kind_of_caller_is_among_those_who_are_tried_at_every_door():
    untried = [kind for kind, words in KINDS.items() if not any(words in name for name in BAD_HEADERS)]

    assert untried == []
    assert [kind for kind in OF_TOKENS if kind not in BAD_TOKENS] == []


async def test_nothing_is_given_of_what_is_denied_and_to_who_came_for_another_patient(
    tmp_path: Path,
):
    settings: dict[str, Any] = {"assertion": NORTH.settings()["assertion"]}
    audience = f"urn:oid:{DOMAIN}"
    anybody = assertion_for("dr.north", audience=audience)
    of_another = assertion_for("dr.north", audience=audience, resource_ids=(f"P2^^^&{DOMAIN}&ISO",))
    async with a_shared_study(tmp_path, **settings) as shared:
        permitted = await answers(an_asker(shared, anybody))
        other_patient = await answers(an_asker(shared, of_another))
        await shared.set_policy("deny")
        denied = await answers(an_asker(shared, anybody))

    # A handle is of whoever was given it, and DIMSE knows no users.
    by_user = {name for name, is_given in permitted.items() if is_given and "DIMSE " not in name}
    assert len(by_user) > 15
    assert {name for name in denied if denied[name]} == set()
    assert {name for name in by_user if other_patient[name]} == set()


async def test_an_assertion_that_was_used_or_is_of_another_voice_opens_no_door(tmp_path: Path):
    speaks = {SOUTH.issuer: {"communities": ["urn:oid:2.999.72"], "organizations": ["urn:oid:2.999.8"]}}
    given = NORTH.settings(SOUTH)["assertion"]
    settings: dict[str, Any] = {"assertion": given | {"speaks_for": speaks}}
    audience = f"urn:oid:{DOMAIN}"
    # Of South, about somebody of our own organisation.
    claiming = assertion_for("dr.evil", SOUTH, audience=audience)
    opened, replayed = set(), set()
    async with a_shared_study(tmp_path, **settings) as shared:
        doors = [name for name, _ in an_asker(shared, claiming).doors() if not name.startswith("DIMSE ")]
        for name in doors:
            if gives(await dict(an_asker(shared, claiming).doors())[name]()):
                opened.add(name)
            once = assertion_for("dr.north", audience=audience, one_time_use=True)
            asked = dict(an_asker(shared, once).doors())
            await asked[name]()
            if gives(await asked[name]()):
                replayed.add(name)

    assert opened == set()
    assert replayed == set()
