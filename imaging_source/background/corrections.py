"""Manifests of patients whom a message corrected: compared with the registry at once, and for as long as the
registry may hear of it later than we."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from imaging_source.background.publisher import Publisher
from imaging_source.peers.registrations import RegistryAway
from imaging_source.store.orders import end_correction, find_corrected
from imaging_source.transactions import drift
from imaging_source.transactions.archived import ArchiveSilent
from imaging_source.transactions.rad68 import NotWithdrawn
from imaging_source.unit import Parts
from shared.background import BackgroundWork
from shared.telemetry.log import logger

_log = logger(__name__)

_REST_SECONDS: Final = 5.0


class PatientCorrections:
    """What the drift watch does in its turn, for these studies now; by one of all processes."""

    def __init__(self, parts: Parts, publisher: Publisher) -> None:
        self._parts = parts
        self._publisher = publisher
        self.work = BackgroundWork(
            "patient corrections",
            self.turn,
            rest_seconds=_REST_SECONDS,
            sole=parts.database.sole("patient corrections"),
        )

    async def turn(self) -> None:
        """Look at what is due; while the registry is away it stays so."""
        database = self._parts.database
        for study, noted_at in await find_corrected(database, datetime.now(UTC)):
            try:
                kinds = await drift.examine(self._parts, study)
            except RegistryAway:
                _log.warning("corrected patients wait for the registry")
                return
            except (ArchiveSilent, NotWithdrawn) as error:
                _log.error("a manifest of a corrected patient is not compared now", reason=str(error))
                kinds = ()
            await end_correction(database, study, noted_at, datetime.now(UTC), changed=bool(kinds))
            if kinds:
                self._publisher.wake()
