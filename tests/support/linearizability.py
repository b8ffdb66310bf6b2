"""Whether some order of operations, one after the other, explains what clients saw (Wing and Gong, 1993).

An order must keep to time: what returned before another was called comes before it. The search goes over the
operations that may come next, and remembers which of them, with which state, it has tried (Lowe, 2017). An
operation without an answer may have happened at any moment after its call, or never.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

State = TypeVar("State", bound=Hashable)

NEVER = math.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """What a client did, and what it was told; `returned` is `NEVER` when it was told nothing."""

    what: Any
    outcome: Any
    called: float
    returned: float

    @property
    def answered(self) -> bool:
        """Whether the client knows what became of it."""
        return self.returned < NEVER


@dataclass(frozen=True, slots=True)
class Model(Generic[State]):
    """One object by itself: its first state, and what an operation makes of a state.

    `step` gives the state after an operation, or None when its outcome cannot be had in that state. Of an
    operation without an answer it gives the state after it was carried out.
    """

    first: State
    step: Callable[[State, Operation], State | None]


def unexplained(history: Sequence[Operation], model: Model[Any]) -> list[Operation]:
    """The answered operations for which no order has a place, in the attempt that placed most; none at best.

    Parameters
    ----------
    history
        Everything that was done with one object, in any order; times are of one clock.
    """
    operations = sorted(history, key=lambda operation: operation.called)
    answered = sum(1 << at for at, operation in enumerate(operations) if operation.answered)
    furthest = 0
    seen = {(0, model.first)}
    waiting = [(0, model.first)]
    while waiting:
        placed, state = waiting.pop()
        if placed & answered == answered:
            return []
        if (placed & answered).bit_count() > (furthest & answered).bit_count():
            furthest = placed
        for at in _next(operations, placed):
            after = model.step(state, operations[at])
            if after is None or (after == state and not operations[at].answered):
                continue
            tried = (placed | 1 << at, after)
            if tried not in seen:
                seen.add(tried)
                waiting.append(tried)
    return [each for at, each in enumerate(operations) if each.answered and not furthest >> at & 1]


def _next(operations: Sequence[Operation], placed: int) -> list[int]:
    """Those not placed that were called before any other of these had returned."""
    left = [at for at in range(len(operations)) if not placed >> at & 1]
    soonest = min(operations[at].returned for at in left)
    return [at for at in left if operations[at].called <= soonest]
