"""An object is read in ranges, a few of them ahead, and no further."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.store import objects
from shared.store.objects import ObjectLost, Reading


class Store:
    """One object, that notes which ranges are asked for."""

    def __init__(self, octets: bytes) -> None:
        self.octets = octets
        self.asked: list[int] = []
        self._lock = threading.Lock()

    def get(self, start: int, end: int) -> memoryview:
        with self._lock:
            self.asked.append(start)
        return memoryview(self.octets[start:end])


@pytest.fixture(autouse=True)
def small_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "RANGE_BYTES", 10)


@pytest.fixture(autouse=True)
def everything_is_given_back():
    before = objects._allowance._taken
    yield
    assert objects._allowance._taken == before


@given(st.binary(max_size=200))
def test_the_ranges_are_the_object(octets):
    assert b"".join(map(bytes, Reading(Store(octets).get, len(octets)))) == octets


def test_one_range_is_asked_for_at_once_and_a_few_while_they_are_taken():
    store = Store(bytes(200))
    reading = Reading(store.get, 200)
    objects._getting().submit(lambda: None).result()
    assert store.asked == [0]

    next(reading)
    assert sorted(reading_ahead(reading, store)) == [0, 10, 20, 30]
    next(reading)
    assert sorted(reading_ahead(reading, store)) == [0, 10, 20, 30, 40]
    reading.close()


def reading_ahead(reading: Reading, store: Store) -> list[int]:
    for future, _ in reading._coming:
        future.result()
    return store.asked


def test_when_others_have_read_too_far_ahead_only_what_is_needed_is_asked_for(monkeypatch):
    monkeypatch.setattr(objects, "AHEAD_BYTES", 0)
    store = Store(bytes(50))
    reading = Reading(store.get, 50)
    assert store.asked == []

    next(reading)
    assert reading_ahead(reading, store) == [0]
    assert len(list(reading)) == 4


def test_what_is_shorter_than_it_was_is_lost():
    with pytest.raises(ObjectLost):
        list(Reading(Store(bytes(25)).get, 30))


def test_a_range_that_cannot_be_had_is_told_where_it_is_taken():
    def get(start: int, end: int) -> memoryview:
        raise ObjectLost("gone")

    with pytest.raises(ObjectLost, match="gone"):
        list(Reading(get, 30))
