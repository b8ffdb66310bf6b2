"""The janitor: learns what became of submissions without an outcome, sends updates that were not answered,
removes bytes that nothing refers to, and forgets answers when the time for retries is over."""

from __future__ import annotations

import asyncio
import time

from repository.store import documents, replays
from repository.transactions import iti57, registration
from repository.unit import Parts, Unit
from shared.background import BackgroundWork
from shared.store.statements import SQLITE
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
        #: Provisions without an outcome, when they were asked for last.
        self.in_doubt = 0
        again = parts.settings.retry_seconds
        sole = parts.database.sole
        self._in_hand_seconds = 2 * parts.settings.registration_timeout_seconds + _IN_HAND
        # What a crash left is asked for at once, where no other process may have it in its hands.
        self._older_than_seconds = 0.0 if parts.database.dialect == SQLITE else self._in_hand_seconds
        self.works = (
            BackgroundWork("doubts", self._doubts, rest_seconds=again, sole=sole("doubts")),
            BackgroundWork("updates", self._updates, rest_seconds=again, sole=sole("updates")),
            BackgroundWork("healing", parts.blobs.heal, rest_seconds=again),
            BackgroundWork("sweep", self._sweep, rest_seconds=_SWEEP_SECONDS, sole=sole("sweep")),
            BackgroundWork("forgetting", self._forget, rest_seconds=_SWEEP_SECONDS, sole=sole("forgetting")),
        )

    async def start(self) -> None:
        """Begin; what a crash left undecided is asked for at once."""
        for work in self.works:
            work.start()

    async def stop(self) -> None:
        """End the loops."""
        for work in self.works:
            await work.stop()

    async def resolve(self, *, older_than_seconds: float) -> int:
        """Ask the registry once about every provision without an outcome; count those that have one now."""
        resolved = 0
        for provision in await documents.find_undecided(
            self._parts.database, older_than_seconds=older_than_seconds
        ):
            outcome = await registration.register(Unit(self._parts, self._parts.ourselves), provision)
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
        _tell("doubts", await self.resolve(older_than_seconds=self._older_than_seconds))
        self._older_than_seconds = self._in_hand_seconds
        self.in_doubt = await documents.count_undecided(
            self._parts.database, older_than_seconds=self._older_than_seconds
        )

    async def _updates(self) -> None:
        _tell("updates", await iti57.resolve(Unit(self._parts, self._parts.ourselves)))

    async def _sweep(self) -> None:
        _tell("sweep", await self.sweep())

    async def _forget(self) -> None:
        _tell("replays", await self.forget())


def _tell(what: str, count: int) -> None:
    if count:
        _log.info("janitor", what=what, count=count)
