"""Sessions end by themselves, and there are never more than fit (limits and faults, 3)."""

from __future__ import annotations

import pytest

from shared.pages.sessions import (
    IDLE_SECONDS,
    LONGEST_SECONDS,
    MOST,
    MOST_OF_ONE_USER,
    Sessions,
    TooManySessions,
)
from shared.pages.visitors import Visitor
from shared.security.caller import Caller, Node, User


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def a_visitor(name_id: str = "dr.roe") -> Visitor:
    user = User(name_id=name_id, issuer="https://idp.example", assertion_id="_1")
    return Visitor(
        caller=Caller(node=Node(address="192.0.2.7", subject="CN=viewer"), endpoint="", user=user),
        assertion=b"<a/>",
    )


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sessions(clock: Clock) -> Sessions:
    return Sessions(clock=clock)


def test_a_session_is_found_by_its_number_and_by_no_other(sessions: Sessions):
    number = sessions.open(a_visitor())

    assert (found := sessions.find(number)) is not None
    assert found.visitor == a_visitor()
    assert sessions.find(number + "x") is None
    assert sessions.find("") is None


async def test_use_keeps_it_and_idleness_ends_it(sessions: Sessions, clock: Clock):
    number = sessions.open(a_visitor())
    for _ in range(3):
        clock.now += IDLE_SECONDS - 1
        assert sessions.find(number) is not None
    clock.now += IDLE_SECONDS

    assert sessions.find(number) is None
    assert [one.visitor for one in await sessions.take_ended()] == [a_visitor()]
    assert len(sessions) == 0


def test_it_ends_with_a_working_day_however_much_it_is_used(sessions: Sessions, clock: Clock):
    number = sessions.open(a_visitor())
    while clock.now + 600 < LONGEST_SECONDS:
        clock.now += 600
        assert sessions.find(number) is not None
    clock.now = LONGEST_SECONDS

    assert sessions.find(number) is None


def test_one_user_has_so_many_and_then_the_oldest_ends(sessions: Sessions):
    numbers = [sessions.open(a_visitor()) for _ in range(MOST_OF_ONE_USER + 1)]

    assert sessions.find(numbers[0]) is None
    assert all(sessions.find(number) for number in numbers[1:])


def test_there_are_never_more_than_fit(sessions: Sessions):
    for number in range(MOST):
        sessions.open(a_visitor(f"user{number}"))
    with pytest.raises(TooManySessions):
        sessions.open(a_visitor("one more"))

    assert len(sessions) == MOST
