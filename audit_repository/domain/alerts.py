"""How many refusals of one address are recorded: a flood of them must not bury the trail."""

from __future__ import annotations

from collections import OrderedDict

PER_MINUTE = 10
ADDRESSES = 10_000


class Alerts:
    """Lets the first refusals of each address and minute through and counts the others."""

    def __init__(self) -> None:
        self._seen: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def admit(self, address: str, now: float) -> int | None:
        """None when this refusal is only counted, else how many before it were; `now` in seconds."""
        began, count = self._seen.pop(address, (now, 0))
        withheld = 0
        if now - began >= 60:
            withheld, began, count = max(0, count - PER_MINUTE), now, 0
        self._seen[address] = (began, count + 1)
        if len(self._seen) > ADDRESSES:
            self._seen.popitem(last=False)
        return withheld if count < PER_MINUTE else None
