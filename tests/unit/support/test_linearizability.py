"""The judge of histories is judged: it finds what is wrong in bad ones and nothing in good ones."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.document_model import (
    DEPRECATED_DOCUMENT,
    DOCUMENT,
    NON_IDENTICAL_HASH,
    REFERENCED,
    UNRESOLVED,
    WRONG_UPDATE,
    Document,
    Done,
    FindApproved,
    Get,
    Refused,
    Register,
    Remove,
    Saw,
    SetApproved,
    Shown,
    Unknown,
    step,
)
from tests.support.linearizability import NEVER, Operation, unexplained

A, B = Register("a", "1"), Register("b", "1")
OTHER_BYTES = Register("o", "2")
REPLACED = Register("r", "1", replaces="a")
REPLACED_TOO = Register("s", "1", replaces="a")


def op(what, outcome, called, returned):
    return Operation(what=what, outcome=outcome, called=called, returned=returned)


def done(what, called, returned):
    return op(what, Done(), called, returned)


def lost(what, called):
    return op(what, Unknown(), called, NEVER)


def refused(what, code, called, returned):
    return op(what, Refused(code), called, returned)


def got(called, returned, *entries, content="1"):
    shown = (Shown(name.lower(), content, name.islower()) for name in entries)  # in capitals: Deprecated
    return op(Get(), Saw(frozenset(shown)), called, returned)


def found(called, returned, *entries):
    return op(FindApproved(), Saw(frozenset(Shown(name, "1", True) for name in entries)), called, returned)


GOOD = {
    "nothing happened": [got(1, 2)],
    "one after the other": [done(A, 1, 2), got(3, 4, "a"), done(B, 5, 6), got(7, 8, "a", "b")],
    "a query during a registration sees it": [done(A, 1, 5), got(2, 3, "a")],
    "a query during a registration does not see it": [done(A, 1, 5), got(2, 3)],
    "overlapping calls take effect in the other order": [
        done(A, 1, 9),
        refused(OTHER_BYTES, NON_IDENTICAL_HASH, 2, 8),
    ],
    "a lost one happened at once": [lost(A, 1), got(2, 3, "a")],
    "a lost one happened late": [lost(A, 1), got(2, 3), got(4, 5), got(6, 7, "a")],
    "a lost one never happened": [lost(A, 1), got(2, 3), done(OTHER_BYTES, 4, 5)],
    "a lost one made another fail": [lost(A, 1), refused(OTHER_BYTES, NON_IDENTICAL_HASH, 2, 3)],
    "a lost removal came through between two queries": [
        done(A, 1, 2),
        lost(Remove("a"), 3),
        got(4, 5, "a"),
        got(6, 7),
    ],
    "a lost one that would be refused": [done(A, 1, 2), lost(OTHER_BYTES, 3), got(4, 5, "a")],
    "one of two replacements": [
        done(A, 1, 2),
        done(REPLACED, 3, 6),
        refused(REPLACED_TOO, DEPRECATED_DOCUMENT, 3, 6),
        got(7, 8, "A", "r"),
        found(7, 8, "r"),
    ],
    "a removal gives the replaced one free": [
        done(A, 1, 2),
        done(REPLACED, 3, 4),
        refused(Remove("a"), REFERENCED, 5, 6),
        done(Remove("r"), 7, 8),
        done(Remove("a"), 9, 10),
        refused(Remove("a"), UNRESOLVED, 11, 12),
        refused(REPLACED_TOO, UNRESOLVED, 11, 12),
        got(13, 14),
    ],
    "a status goes and comes": [
        done(A, 1, 2),
        done(SetApproved("a", False), 3, 4),
        refused(SetApproved("a", False), WRONG_UPDATE, 5, 6),
        found(7, 8),
        done(SetApproved("a", True), 9, 10),
        found(11, 12, "a"),
    ],
    "the content outlives its last entry": [
        done(A, 1, 2),
        done(Remove("a"), 3, 4),
        refused(OTHER_BYTES, NON_IDENTICAL_HASH, 5, 6),
    ],
    "two things wrong at once": [
        done(A, 1, 2),
        refused(Register("o", "2", "x"), NON_IDENTICAL_HASH, 3, 4),
        refused(Register("o", "2", "x"), UNRESOLVED, 3, 4),
    ],
}

BAD = {
    "a lost acknowledged write": [done(A, 1, 2), got(3, 4)],
    "a lost acknowledged write that later ones hide": [done(A, 1, 2), done(B, 3, 4), got(5, 6, "b")],
    "a stale read": [done(A, 1, 2), got(3, 4, "a"), done(B, 5, 6), got(7, 8, "a"), got(9, 10, "a", "b")],
    "a read goes back": [lost(A, 1), got(2, 3, "a"), got(4, 5)],
    "a stale status": [done(A, 1, 2), done(SetApproved("a", False), 3, 4), found(5, 6, "a")],
    "two winners with different bytes": [done(A, 1, 4), done(OTHER_BYTES, 2, 5)],
    "two winners of one replacement": [done(A, 1, 2), done(REPLACED, 3, 6), done(REPLACED_TOO, 4, 7)],
    "a chain with two heads": [done(A, 1, 2), done(REPLACED, 3, 6), got(7, 8, "a", "r")],
    "half a replacement": [done(A, 1, 2), lost(REPLACED, 3), got(4, 5, "A")],
    "a read from the future": [got(1, 2, "a"), done(A, 3, 4)],
    "a read of what nobody wrote": [done(A, 1, 2), got(3, 4, "a", "b")],
    "a read of a refused one": [
        done(A, 1, 2),
        refused(REPLACED, DEPRECATED_DOCUMENT, 3, 4),
        got(5, 6, "A", "r"),
    ],
    "a resurrected removal": [done(A, 1, 2), done(Remove("a"), 3, 4), got(5, 6), got(7, 8, "a")],
    "a removal that came back although another was lost": [
        done(A, 1, 2),
        done(Remove("a"), 3, 4),
        lost(B, 5),
        got(6, 7, "a", "b"),
    ],
    "a refusal without a reason": [refused(A, NON_IDENTICAL_HASH, 1, 2)],
    "a refusal by what comes later": [refused(OTHER_BYTES, NON_IDENTICAL_HASH, 1, 2), done(A, 3, 4)],
    "a refusal with a wrong code": [done(A, 1, 2), refused(OTHER_BYTES, UNRESOLVED, 3, 4)],
    "a success that should be a refusal": [done(A, 1, 2), done(OTHER_BYTES, 3, 4)],
    "other bytes than were registered": [done(A, 1, 2), got(3, 4, "a", content="2")],
    "the content is forgotten": [done(A, 1, 2), done(Remove("a"), 3, 4), done(OTHER_BYTES, 5, 6)],
    "a lost one that happened twice": [
        lost(A, 1),
        got(2, 3, "a"),
        done(Remove("a"), 4, 5),
        got(6, 7, "a"),
    ],
    "a lost one that happened before its call": [got(1, 2, "a"), lost(A, 3)],
}


@pytest.mark.parametrize("history", GOOD.values(), ids=GOOD)
def test_a_good_history_is_explained(history):
    assert unexplained(history, DOCUMENT) == []


@pytest.mark.parametrize("history", BAD.values(), ids=BAD)
def test_a_bad_history_is_not(history):
    assert unexplained(history, DOCUMENT)


def test_what_is_unexplained_is_named():
    stale = got(7, 8, "a")
    assert unexplained([done(A, 1, 2), done(B, 3, 4), stale], DOCUMENT) == [stale]


# --- what a real register does, whatever it is asked ----------------------------------------------------

NAMES = st.sampled_from("abcd")
CHANGES = st.one_of(
    st.builds(Register, NAMES, st.sampled_from("12")),
    st.builds(SetApproved, NAMES, st.booleans()),
    st.builds(Remove, NAMES),
    st.just(Get()),
    st.just(FindApproved()),
)


def answer(state, what):
    if isinstance(what, Get | FindApproved):
        return state.shown(deprecated=isinstance(what, Get))
    if step(state, done(what, 0, 1)) is not None:
        return Done()
    codes = (NON_IDENTICAL_HASH, UNRESOLVED, WRONG_UPDATE, REFERENCED)
    return next(Refused(code) for code in codes if step(state, refused(what, code, 0, 1)) is not None)


@given(st.lists(st.tuples(CHANGES, st.integers(0, 9), st.integers(0, 9), st.booleans()), max_size=25))
def test_whatever_happens_one_after_the_other_is_explained_however_long_calls_take(calls):
    """Each takes effect at a moment of its own, is called before and answered after it, or never."""
    state, history, registered = Document(), [], set()
    for moment, (what, before, after, is_lost) in enumerate(calls):
        if isinstance(what, Register) and what.entry in registered:
            continue  # an id is given once
        registered.add(what.entry if isinstance(what, Register) else "")
        outcome = answer(state, what)
        state = step(state, done(what, 0, 1)) or state if isinstance(outcome, Done) else state
        called = moment - before / 3
        history.append(lost(what, called) if is_lost else op(what, outcome, called, moment + after / 3 + 0.1))
    assert unexplained(history, DOCUMENT) == []
