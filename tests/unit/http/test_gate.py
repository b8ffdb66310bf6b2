"""The places of a service, and how peers share them."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.http.gate import Gate
from shared.http.raw_asgi import ServerBusy


@given(st.integers(1, 40), st.lists(st.sampled_from("abcd"), max_size=120))
def test_a_peer_has_at_most_as_many_places_as_were_free_and_a_newcomer_gets_the_last(places, arrivals):
    gate = Gate(places)
    held: Counter[str] = Counter()
    with ExitStack() as inside:
        for peer in arrivals:
            free = places - held.total()
            try:
                inside.enter_context(gate.entered(peer))
                held[peer] += 1
                assert held[peer] <= free
            except ServerBusy:
                assert held[peer] >= free
            assert gate.taken == held.total() <= places
    assert gate.taken == 0


@given(st.integers(1, 200), st.integers(1, 5))
def test_however_much_a_few_peers_ask_there_is_a_place_for_who_has_none(places, greedy):
    gate = Gate(places)
    with ExitStack() as inside:
        for peer in list(range(greedy)) * places:
            try:
                inside.enter_context(gate.entered(str(peer)))
            except ServerBusy:
                continue
        if places > 2**greedy:
            inside.enter_context(gate.entered("newcomer"))


def test_one_peer_alone_has_half_of_the_places():
    gate = Gate(8)
    with ExitStack() as inside:
        for _ in range(4):
            inside.enter_context(gate.entered("one"))
        with pytest.raises(ServerBusy):
            inside.enter_context(gate.entered("one"))
        inside.enter_context(gate.entered("other"))
    assert gate.taken == 0


async def test_who_waits_gets_a_place_when_one_is_left_and_is_sent_away_after_a_while():
    gate = Gate(2)
    entered: list[str] = []

    async def wait(peer: str) -> None:
        async with gate.waited_for(peer, seconds=20):
            entered.append(peer)

    with gate.entered("one"):
        with pytest.raises(ServerBusy):
            async with gate.waited_for("one", seconds=0):
                pass
        waiting = [asyncio.create_task(wait("one")) for _ in range(3)]
        async with gate.waited_for("other", seconds=0):
            await asyncio.sleep(0)
            assert entered == []
    await asyncio.gather(*waiting)
    assert entered == ["one"] * 3
    assert gate.taken == 0


async def test_who_gives_up_waiting_holds_nothing():
    gate = Gate(1)

    async def wait() -> None:
        async with gate.waited_for("one", seconds=20):
            pytest.fail("there was no place")

    with gate.entered("one"):
        waiting = asyncio.create_task(wait())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
    assert gate.taken == 0
