"""How many wrong passwords are taken: of one name, and from one node, in a quarter of an hour.

Memory is bounded whoever comes: beyond `MOST` the one that failed longest ago is forgotten.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

SECONDS: Final = 900.0
OF_ONE_NAME: Final = 10
OF_ONE_NODE: Final = 40
MOST: Final = 20_000


class Lockout:
    """Counts failures; `clock` gives seconds that only grow."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures: OrderedDict[tuple[str, str], tuple[float, int]] = OrderedDict()

    def holds(self, name: str, node: str) -> bool:
        """Whether nothing is tried for `name`, or from `node`, until the quarter of an hour is over."""
        return self._number("name", name) >= OF_ONE_NAME or self._number("node", node) >= OF_ONE_NODE

    def failed(self, name: str, node: str) -> None:
        """Count a failure."""
        for key in (("name", name), ("node", node)):
            number = self._number(*key)
            since = self._failures[key][0] if number else self._clock()
            self._failures[key] = (since, number + 1)
            self._failures.move_to_end(key)
        while len(self._failures) > MOST:
            self._failures.popitem(last=False)

    def succeeded(self, name: str) -> None:
        """Forget the failures of who signed in."""
        self._failures.pop(("name", name), None)

    def _number(self, kind: str, what: str) -> int:
        since, number = self._failures.get((kind, what), (0.0, 0))
        return number if self._clock() - since < SECONDS else 0
