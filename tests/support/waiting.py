"""Waiting for what happens by itself, with an end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable


async def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    """Wait until `condition` holds; what it looks at has no event to wait for."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.01)


async def until_true(condition: Callable[[], Awaitable[bool]], seconds: float = 60) -> None:
    """As `until`, for what has to be asked for."""
    deadline = time.monotonic() + seconds
    while not await condition():
        assert time.monotonic() < deadline, "it did not come about in time"
        await asyncio.sleep(0.02)
