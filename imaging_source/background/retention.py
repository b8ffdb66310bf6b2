"""Retention: studies whose time is over are erased, with their manifests."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from imaging_source.peers.registrations import RegistryAway
from imaging_source.store.erasure import studies_before
from imaging_source.transactions.erasure import erase
from imaging_source.transactions.rad68 import NotWithdrawn
from imaging_source.unit import Parts
from shared.background import BackgroundWork
from shared.telemetry.log import logger

_log = logger(__name__)

REST_SECONDS: Final = 3600.0
_AT_ONCE: Final = 500
_REASON: Final = "the time for which the site keeps studies is over"


class Retention:
    """Erases what is older than the settings allow; by one of all processes at the database."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self.works = (
            [
                BackgroundWork(
                    "retention", self.turn, rest_seconds=REST_SECONDS, sole=parts.database.sole("retention")
                )
            ]
            if parts.settings.retention_days is not None
            else []
        )

    def start(self) -> None:
        """Begin, if the settings name a time."""
        for work in self.works:
            work.start()

    async def stop(self) -> None:
        """End where it is."""
        for work in self.works:
            await work.stop()

    async def turn(self) -> None:
        """Erase every study whose last instance came before the time; what cannot be withdrawn now stays."""
        parts = self._parts
        before = datetime.now(UTC) - timedelta(days=parts.settings.retention_days or 0)
        for study in await studies_before(parts.database, before, limit=_AT_ONCE):
            try:
                await erase(parts, study, (), _REASON, parts.as_client())
            except (RegistryAway, NotWithdrawn) as error:
                _log.warning("a study whose time is over stays for now", error=type(error).__name__)
