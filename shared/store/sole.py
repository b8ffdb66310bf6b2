"""What one process does at a time, whichever of them."""

from __future__ import annotations

from typing import Protocol


class Sole(Protocol):
    """The right to a job that one process does at a time, among all processes and hosts at one database."""

    async def held(self) -> bool:
        """Whether the right is ours now: it is taken when nobody has it, and ends with this process."""
        ...
