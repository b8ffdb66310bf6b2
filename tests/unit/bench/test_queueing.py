"""The simulation by which scale is told obeys the laws and bounds that queueing networks have."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.support.queueing import Visit, simulate

CLIENT, SERVICE = 0.001, 0.002
seconds = st.floats(0.0005, 0.01)


def way(service: str, client: float = CLIENT, work: float = SERVICE) -> list[Visit]:
    return [Visit(("client",), client), Visit((service,), work)]


def test_one_customer_waits_for_nobody():
    simulated = simulate([way("a")], processors=8, rounds=20_000)
    assert simulated.rate == pytest.approx(1 / (CLIENT + SERVICE), rel=0.03)


def test_many_customers_keep_the_slowest_thread_at_work():
    simulated = simulate([way("a")] * 30, processors=8, rounds=20_000)
    assert simulated.rate == pytest.approx(1 / SERVICE, rel=0.03)
    assert simulated.busy["a"] == pytest.approx(1, abs=0.01)


def test_processors_that_are_all_at_work_are_shared():
    simulated = simulate([way("a"), way("b"), way("c"), way("d")] * 8, processors=1, rounds=20_000)
    assert simulated.rate == pytest.approx(1 / (CLIENT + SERVICE), rel=0.03)


def test_work_that_has_to_take_turns_takes_what_it_takes_then():
    [client, service] = way("a")
    crowded = [client, Visit(("b",), SERVICE, crowded_seconds=3 * SERVICE)]
    alone = simulate([crowded], processors=8, rounds=20_000)
    assert alone.rate == pytest.approx(1 / (CLIENT + SERVICE), rel=0.03)
    ways = [[client, service], crowded] * 8
    shared = simulate(ways, processors=1, rounds=20_000)
    assert shared.rate < 0.9 * simulate([way("a"), way("b")] * 8, processors=1, rounds=20_000).rate


@settings(max_examples=15)
@given(seconds, seconds, st.integers(1, 20), st.floats(0.5, 4))
def test_no_more_is_done_than_threads_and_processors_can(
    client: float, work: float, customers: int, processors: float
):
    simulated = simulate([way("a", client, work)] * customers, processors=processors, rounds=4_000)
    bounds = (1 / client, 1 / work, processors / (client + work), customers / (client + work))
    assert simulated.rate <= 1.06 * min(bounds)


def test_it_says_the_same_each_time():
    assert simulate([way("a")] * 3, processors=2, rounds=500) == simulate(
        [way("a")] * 3, processors=2, rounds=500
    )
