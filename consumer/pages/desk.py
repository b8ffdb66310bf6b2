"""What carries orders of the pages out, as they know it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from consumer.store.take_overs import TakeOver
from shared.pages.visitors import Visitor


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What is done of an order now: `done` instances of those `of` all; 0 of 0 as long as nobody knows."""

    name: str
    done: int
    of: int


class Desk(Protocol):
    """What carries orders out."""

    def begin(self, visitor: Visitor, order: TakeOver) -> None:
        """Carry an order out for a visitor, unless that is done already."""
        ...

    def step(self, order: TakeOver) -> Step | None:
        """What is done of an order now; None when nothing is."""
        ...

    def ended(self, order: TakeOver) -> str:
        """Why the last attempt at an order ended before all was tried; empty when it did not."""
        ...
