"""The janitor: forgets answers that were kept for retries, when the time for retries is over."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from registry.store.replays import FEED_MESSAGES, FIRST, SUBMISSIONS, Replays, forget_portion
from registry.unit import Parts
from shared.store.failures import DatabaseError
from shared.telemetry.log import logger

_log = logger("registry.janitor")

ROUND_SECONDS = 3600.0
# Between two portions everybody else has the database.
PAUSE_SECONDS = 0.05


class Janitor:
    """A loop beside the requests, every hour and at the start."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin; returns at once."""
        self._task = asyncio.create_task(self._rounds(), name="janitor")

    async def stop(self) -> None:
        """End the loop; a portion in work is finished by the database."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def forget(self) -> int:
        """Forget what was kept more than `replay_days` ago; count it."""
        before = self._parts.now() - timedelta(days=self._parts.settings.replay_days)
        return sum(
            [await self._forget(replays, before.isoformat()) for replays in (SUBMISSIONS, FEED_MESSAGES)]
        )

    async def _forget(self, replays: Replays, before: str) -> int:
        total, after = 0, FIRST
        while True:
            count, last = await forget_portion(self._parts.database, replays, after=after, before=before)
            total += count
            if last is None:
                return total
            after = last
            await asyncio.sleep(PAUSE_SECONDS)

    async def _rounds(self) -> None:
        while True:
            try:
                if count := await self.forget():
                    _log.info("janitor", what="replays", count=count)
            except DatabaseError as error:
                # The next round tries again; what is old stays so.
                _log.error("janitor failed", what="replays", error=type(error).__name__)
            await asyncio.sleep(ROUND_SECONDS)
