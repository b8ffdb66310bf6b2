"""How much a source has to do, hour by hour, and how full what it writes to is."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

HOUR_SECONDS: Final = 3600
#: Hours that are told of.
HOURS: Final = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrivals:
    """What came in one hour, which began at `hour` (hours since 1970)."""

    hour: int
    instances: int
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """How transactions ended in one hour, which began at `hour` (hours since 1970); `failed` are those that
    were answered by an error, whoever's it was."""

    hour: int
    answered: int
    failed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Fill:
    """How full a place is; `is_short` when nothing more is kept there."""

    name: str
    used_bytes: int
    total_bytes: int
    is_short: bool

    @property
    def share(self) -> float:
        """The part that is used, 0 to 1."""
        return self.used_bytes / self.total_bytes if self.total_bytes else 0.0


class AnswerHistory:
    """Answers of the last hours, by counters that only grow; `totals` reads them, `clock` is seconds since
    1970. What was before this process began is not known."""

    def __init__(self, totals: Callable[[], tuple[int, int]], clock: Callable[[], float] = time.time) -> None:
        self._totals = totals
        self._clock = clock
        self._last = totals()
        self._hours: dict[int, tuple[int, int]] = {}

    def note(self) -> None:
        """Count what was answered since the last time to the hour that it is."""
        hour = int(self._clock()) // HOUR_SECONDS
        answered, failed = self._totals()
        before = self._hours.get(hour, (0, 0))
        self._hours[hour] = (before[0] + answered - self._last[0], before[1] + failed - self._last[1])
        self._last = (answered, failed)
        self._hours = {one: numbers for one, numbers in self._hours.items() if one > hour - HOURS}

    def of_hours(self) -> Mapping[int, Answers]:
        """What is known, by hour, until now."""
        self.note()
        return {
            hour: Answers(hour=hour, answered=answered, failed=failed)
            for hour, (answered, failed) in self._hours.items()
        }
