"""When a peer is too slow, and when there are too many."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from shared.http.limits import Admission, Cut, HttpLimits, Pace

LIMITS = HttpLimits(stall_seconds=20, slow_after_seconds=10, bytes_per_second=10_000)


def seconds_until_cut(bytes_each_second, limit: int = 200) -> tuple[int, Cut] | None:
    pace = Pace(LIMITS)
    moved = 0
    for second in range(1, limit + 1):
        moved += bytes_each_second(second)
        if why := pace.step(1.0, moved):
            return second, why
    return None


def test_a_body_that_stops_is_cut_after_its_stall():
    fast_for_5_seconds = seconds_until_cut(lambda second: 10_000_000 if second <= 5 else 0)
    assert fast_for_5_seconds == (25, Cut.STALLED)


def test_a_body_that_drips_is_cut_soon_after_the_time_of_grace():
    assert seconds_until_cut(lambda second: 100) == (11, Cut.SLOW)


def test_a_body_that_never_comes_is_cut_after_the_stall():
    assert seconds_until_cut(lambda second: 0) == (20, Cut.STALLED)


def test_a_pause_shorter_than_the_stall_is_forgiven():
    assert seconds_until_cut(lambda second: 0 if second < 19 else 1_000_000) is None


def test_a_body_at_the_least_rate_goes_on():
    assert seconds_until_cut(lambda second: 10_000) is None


@given(st.lists(st.integers(10_000, 10_000_000), min_size=1, max_size=60))
def test_whoever_keeps_up_the_rate_is_never_cut(amounts):
    assert seconds_until_cut(lambda second: amounts[(second - 1) % len(amounts)]) is None


@given(st.lists(st.tuples(st.booleans(), st.sampled_from("abc")), max_size=60))
def test_never_more_are_open_than_the_limits_allow(steps):
    admission = Admission(connections=5, per_peer=3)
    inside: list[str] = []
    for enters, address in steps:
        if not enters and address in inside:
            inside.remove(address)
            admission.leave(address)
        elif enters:
            allowed = len(inside) < 5 and inside.count(address) < 3
            assert admission.admit(address) is allowed
            inside += [address] * allowed
        assert admission.open == len(inside)
