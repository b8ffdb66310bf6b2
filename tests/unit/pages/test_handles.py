"""A handle is opaque, cannot be made up, and belongs to the one it was given to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.pages.handle_kind import HandleKind
from shared.pages.handles import LIFETIME_SECONDS, Handles, UnknownHandle

HANDLES = Handles()
FIELDS = ("2.25.1", "P-1001^^^&1.2.3&ISO")


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def opens(handles: Handles, kind: HandleKind, holder: str, handle: str) -> bool:
    try:
        handles.open(kind, holder, handle)
    except UnknownHandle:
        return False
    return True


@given(st.sampled_from(HandleKind), st.text(max_size=50), st.lists(st.text(max_size=70), max_size=8))
def test_its_holder_gets_back_what_was_sealed(kind: HandleKind, holder: str, fields: list[str]):
    assert HANDLES.open(kind, holder, HANDLES.seal(kind, holder, *fields)) == tuple(fields)


def test_nothing_of_what_was_sealed_can_be_read_in_it_and_no_two_are_alike():
    one, other = (HANDLES.seal(HandleKind.INSTANCE, "roe", *FIELDS) for _ in range(2))

    assert one != other
    assert "P-1001" not in one
    assert one.replace("-", "").replace("_", "").isalnum()


def test_another_holder_and_another_kind_do_not_open_it():
    handle = HANDLES.seal(HandleKind.INSTANCE, "roe", *FIELDS)

    assert not opens(HANDLES, HandleKind.INSTANCE, "doe", handle)
    assert not opens(HANDLES, HandleKind.MANIFEST, "roe", handle)
    assert not opens(Handles(), HandleKind.INSTANCE, "roe", handle)


@given(st.integers(min_value=0), st.integers(min_value=1, max_value=63))
def test_no_character_can_be_changed(place: int, shift: int):
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    handle = HANDLES.seal(HandleKind.INSTANCE, "roe", "fields of some length")
    place %= len(handle) - 1  # the last one has bits that base64 does not use
    changed = alphabet[(alphabet.index(handle[place]) + shift) % 64]

    assert not opens(HANDLES, HandleKind.INSTANCE, "roe", handle[:place] + changed + handle[place + 1 :])


@pytest.mark.parametrize("made_up", ["", "A", "abc", "é" * 40, "A" * 60, "A" * 100_000, "%%%", "a b"])
def test_what_was_made_up_is_unknown(made_up: str):
    assert not opens(HANDLES, HandleKind.INSTANCE, "roe", made_up)


def test_it_ends_with_a_working_day():
    clock = Clock()
    handles = Handles(clock=clock)
    handle = handles.seal(HandleKind.SEARCH, "roe", *FIELDS)

    clock.now += LIFETIME_SECONDS - 1
    assert opens(handles, HandleKind.SEARCH, "roe", handle)
    clock.now += 1
    assert not opens(handles, HandleKind.SEARCH, "roe", handle)
