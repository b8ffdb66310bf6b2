"""Decides and reports what storage commitment was asked for, until it has reached who asked, or a week has
passed."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Final

from imaging_source.dimse.commitment import NotReported, report
from imaging_source.dimse.entities import ApplicationEntities
from imaging_source.domain.commitment import KEPT, pause
from imaging_source.store import commitments
from imaging_source.store.commitments import Commitment
from imaging_source.transactions import rad10
from imaging_source.unit import Parts
from shared.background import BackgroundWork
from shared.security.rights import Rights
from shared.telemetry.log import logger

_log = logger(__name__)

REST_SECONDS: Final = 5.0
_AT_ONCE: Final = 4


class Commitments:
    """The reports that are due; `work` is run by the service."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._entities = ApplicationEntities(parts.settings, Rights(parts.settings))
        self.work = BackgroundWork(
            "storage commitment",
            self.turn,
            rest_seconds=REST_SECONDS,
            sole=parts.database.sole("storage commitment"),
        )

    async def turn(self) -> None:
        """Look at everything that is due; one entity that is away keeps no other waiting."""
        database = self._parts.database
        at_a_time = asyncio.Semaphore(_AT_ONCE)

        async def advance(one: Commitment) -> None:
            async with at_a_time:
                await self._advance(one)

        await asyncio.gather(*map(advance, await commitments.due(database, datetime.now(UTC))))
        await commitments.forget(database, datetime.now(UTC))

    async def _advance(self, one: Commitment) -> None:
        database = self._parts.database
        result = await rad10.decided(self._parts, one)
        if result is None:
            soon = datetime.now(UTC) + timedelta(seconds=REST_SECONDS)
            await commitments.postpone(database, one, soon, attempts=0)
            return
        entity = self._entities[one.request.ae_title]
        try:
            if entity is None or entity.settings.host is None:
                raise NotReported("the table of AE titles has no address for it any more")
            await asyncio.to_thread(report, entity, self._parts.settings, one, result)
        except NotReported as failure:
            await self._failed(one, str(failure))
            return
        await commitments.end(database, one)

    async def _failed(self, one: Commitment, reason: str) -> None:
        now, attempts = datetime.now(UTC), one.attempts + 1
        details = {"ae_title": one.request.ae_title, "reason": reason, "attempts": attempts}
        if now - one.received_at > KEPT:
            _log.error("a result of storage commitment is given up", **details)
            await commitments.end(self._parts.database, one)
            return
        _log.warning("a result of storage commitment waits", **details)
        await commitments.postpone(self._parts.database, one, now + pause(attempts), attempts=attempts)
