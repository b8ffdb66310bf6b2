"""The janitor: learns what became of submissions without an outcome, sends updates that were not answered,
removes bytes that nothing refers to, and forgets answers when the time for retries is over."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from typing import Any

from repository.store import documents, replays
from repository.store.blobs import StoreUnavailable
from repository.transactions import iti42, iti57
from repository.unit import Parts, Unit
from shared.errors import XdsError
from shared.soap.perform import log_mistake
from shared.store.failures import DatabaseError
from shared.telemetry.log import logger

_log = logger("repository.janitor")

# A provision younger than this may still be in the hands of the request that made it.
_IN_HAND = 3.0
_SWEEP_SECONDS = 3600.0
_DAY_SECONDS = 86_400.0
# Between two portions everybody else has the database.
PAUSE_SECONDS = 0.05


class Janitor:
    """Loops beside the requests: doubts and updates at once and every `retry_seconds`, as the test of a
    store that refuses to write; the sweep and the forgetting every hour."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Begin; what a crash left undecided is asked for at once."""
        self._tasks = [
            asyncio.create_task(self._doubts()),
            asyncio.create_task(self._sweeps()),
            asyncio.create_task(self._updates()),
            asyncio.create_task(self._healing()),
        ]

    async def stop(self) -> None:
        """End the loops."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def resolve(self, *, older_than_seconds: float) -> int:
        """Ask the registry once about every provision without an outcome; count those that have one now."""
        resolved = 0
        for provision in await documents.find_undecided(
            self._parts.database, older_than_seconds=older_than_seconds
        ):
            outcome = await iti42.register(Unit(self._parts), provision)
            if not outcome.final:
                break  # the registry is away: asking for the next one now would tell nothing more
            resolved += 1
        return resolved

    async def sweep(self) -> int:
        """Remove blobs without a document that are older than the grace time; count them."""
        grace_seconds = self._parts.settings.grace_seconds

        async def referenced(digests: list[str]) -> set[str]:
            return await documents.referenced(self._parts.database, digests, grace_seconds=grace_seconds)

        return await self._parts.blobs.sweep(referenced, grace_seconds=grace_seconds)

    async def forget(self) -> int:
        """Forget what was kept for retries more than `replay_days` ago; count it."""
        before = time.time() - self._parts.settings.replay_days * _DAY_SECONDS
        total = 0
        while count := await replays.forget_portion(self._parts.database, before=before):
            total += count
            await asyncio.sleep(PAUSE_SECONDS)
        return total

    async def _doubts(self) -> None:
        settings = self._parts.settings
        older_than = 0.0
        while True:
            await self._guarded(self.resolve(older_than_seconds=older_than), "doubts")
            older_than = 2 * settings.registration_timeout_seconds + _IN_HAND
            await asyncio.sleep(settings.retry_seconds)

    async def _updates(self) -> None:
        while True:
            await self._guarded(iti57.resolve(Unit(self._parts)), "updates")
            await asyncio.sleep(self._parts.settings.retry_seconds)

    async def _sweeps(self) -> None:
        while True:
            await self._guarded(self.sweep(), "sweep")
            await self._guarded(self.forget(), "replays")
            await asyncio.sleep(_SWEEP_SECONDS)

    async def _healing(self) -> None:
        while True:
            await asyncio.sleep(self._parts.settings.retry_seconds)
            await self._guarded(self._healed(), "healing")

    async def _healed(self) -> int:
        await self._parts.blobs.heal()
        return 0

    async def _guarded(self, work: Coroutine[Any, Any, int], what: str) -> None:
        try:
            if count := await work:
                _log.info("janitor", what=what, count=count)
        except (XdsError, DatabaseError, StoreUnavailable, OSError) as error:
            # The next round tries again; until then the state in the database says all there is to know.
            _log.error("janitor failed", what=what, error=type(error).__name__)
        except Exception as error:
            # A mistake must not end the rounds that everything else waits for.
            log_mistake(error)
