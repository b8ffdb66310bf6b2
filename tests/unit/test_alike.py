"""Items by what they have in common."""

from __future__ import annotations

from itertools import chain
from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from shared.alike import alike


class Item(NamedTuple):
    """Something with two attributes by which it is told, and one by which it is not."""

    place: str
    color: str
    number: int


FEW = st.sampled_from("ab")
ITEMS = st.lists(st.builds(Item, FEW, FEW, st.integers()))


def kind(item: Item) -> tuple[str, str]:
    return item.place, item.color


@given(ITEMS)
def test_every_item_stands_with_all_that_are_like_it_in_their_order(items):
    kinds = alike(items, "place", "color")
    assert sorted(map(items.index, chain(*kinds))) == sorted(map(items.index, items))
    for ones in kinds:
        assert list(ones) == [item for item in items if kind(item) == kind(ones[0])]


@given(ITEMS)
def test_kinds_stand_in_the_order_of_their_first_items(items):
    assert [kind(ones[0]) for ones in alike(items, "place", "color")] == list(dict.fromkeys(map(kind, items)))
