"""Cooling: instances that have aged are moved from the files at hand to the cold storage."""

from __future__ import annotations

import time
from typing import Final

from imaging_source.store.files import FOLDERS
from imaging_source.store.kept_files import have_row, walk
from imaging_source.store.tiers import TieredFiles, cools_before
from imaging_source.unit import Parts
from shared.background import BackgroundWork
from shared.http.checked import DamagedBlob
from shared.telemetry.log import logger
from shared.telemetry.metrics import Metrics

_log = logger(__name__)

REST_SECONDS: Final = 1800.0
#: A file that was copied stays so long at hand: whoever has found it there reads it from there.
PARTING_SECONDS: Final = 2 * 3600.0
# Copied and still at hand, at most; each takes about 150 bytes of memory.
_MOST_COPIED: Final = 50_000


class Cooling:
    """Moves what is older than the settings say; by one of all processes at the database.

    A turn copies, and lets go of what an earlier turn has copied. What a process that died had copied is
    proved again, and waits again.
    """

    def __init__(self, parts: Parts, metrics: Metrics) -> None:
        self._parts = parts
        self._files = parts.instances.files
        self._copied: dict[str, float] = {}
        self._moved_bytes = 0
        self.works = (
            [
                BackgroundWork(
                    "cooling", self.turn, rest_seconds=REST_SECONDS, sole=parts.database.sole("cooling")
                )
            ]
            if isinstance(self._files, TieredFiles)
            else []
        )
        metrics.gauge(
            "cooled_bytes",
            "Bytes of instances that this process has moved to the cold storage",
            lambda: float(self._moved_bytes),
        )

    def start(self) -> None:
        """Begin, if the settings name a cold storage."""
        for work in self.works:
            work.start()

    async def stop(self) -> None:
        """End where it is."""
        for work in self.works:
            await work.stop()

    async def turn(self) -> None:
        """Copy what is old enough, and let go of what was copied long enough ago.

        Raises
        ------
        StoreUnavailable, Refused
            The cold storage does not take it; the next turn goes on.
        """
        files = self._files
        assert isinstance(files, TieredFiles)
        before = cools_before(self._parts.settings.cold_after_days)
        bytes_before = self._moved_bytes
        for folder in FOLDERS:
            if digests := set(await files.at_hand(folder, before=before)):
                # What has no row is not ours to move: it may be adopted.
                async for sha256, size, _ in walk(self._parts.database, folder, f"{folder}g"):
                    if sha256 in digests:
                        await self._step(files, sha256, size, before)
        if self._moved_bytes > bytes_before:
            _log.info("instances were moved to the cold storage", bytes=self._moved_bytes - bytes_before)

    async def _step(self, files: TieredFiles, sha256: str, size: int, before: float) -> None:
        since = self._copied.get(sha256)
        if since is None:
            if len(self._copied) < _MOST_COPIED:
                await self._copy(files, sha256, size)
        elif since + PARTING_SECONDS <= time.monotonic():
            del self._copied[sha256]
            if await files.let_go(sha256, size, before=before):
                self._moved_bytes += size

    async def _copy(self, files: TieredFiles, sha256: str, size: int) -> None:
        try:
            await files.copy_to_cold(sha256, size)
        except (OSError, DamagedBlob) as error:
            # It stays where it is; who asks for it, or a scrub, tells of it.
            _log.error("an instance could not be moved", sha256=sha256, error=type(error).__name__)
        else:
            self._copied[sha256] = time.monotonic()
            # Erased meanwhile: what was copied after that would be an instance that nobody knows of.
            if not await have_row(self._parts.database, sha256):
                del self._copied[sha256]
                await files.forget(sha256)
