"""The janitor: forgets answers that were kept for retries, when the time for retries is over, and finishes
merges that were left alone.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta

from registry.store import merges
from registry.store.replays import FEED_MESSAGES, FIRST, SUBMISSIONS, Replays, forget_portion
from registry.unit import Parts
from shared.background import BackgroundWork
from shared.telemetry.log import logger

_log = logger("registry.janitor")

ROUND_SECONDS = 3600.0
MERGES_ROUND_SECONDS = 10.0
# Between two portions everybody else has the database.
PAUSE_SECONDS = 0.05


class Janitor:
    """Loops beside the requests, which begin at the start."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        sole = parts.database.sole
        self.works = (
            BackgroundWork("forgetting", self._round, rest_seconds=ROUND_SECONDS, sole=sole("forgetting")),
            BackgroundWork(
                "merging", self._finish_merges, rest_seconds=MERGES_ROUND_SECONDS, sole=sole("merging")
            ),
        )

    async def start(self) -> None:
        """Begin; returns at once."""
        for work in self.works:
            work.start()

    async def stop(self) -> None:
        """End the loops; a portion in work is finished by the database."""
        for work in self.works:
            await work.stop()

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

    async def _finish_merges(self) -> None:
        if count := await merges.finish(self._parts.database):
            _log.info("janitor", what="merges", count=count)

    async def _round(self) -> None:
        if count := await self.forget():
            _log.info("janitor", what="replays", count=count)
