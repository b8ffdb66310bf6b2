"""Scrubs by a service itself: all that it keeps is compared with its digests, again and again."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator
from typing import Final, Protocol

from shared.background import BackgroundWork
from shared.settings.storage import StorageSettings
from shared.store.engine import Database
from shared.store.scrub import Finding, Report
from shared.telemetry.log import logger
from shared.telemetry.metrics import Metrics

_DAY_SECONDS: Final = 24 * 3600.0

_log = logger(__name__)


class Scrub(Protocol):
    """One walk over everything, from the digest `first` on and around; digest, size and finding of each."""

    def __call__(self, *, first: str, bytes_per_second: float) -> AsyncIterator[tuple[str, int, Finding]]:
        """Begin it."""
        ...


class Scrubbing:
    """The scrubs that `settings` ask for, by one of all processes at the database; what they find is shown in
    `metrics`."""

    def __init__(self, settings: StorageSettings, database: Database, metrics: Metrics, scrub: Scrub) -> None:
        self._rate = float(settings.scrub_bytes_per_second)
        self._scrub = scrub
        self._ended = 0.0
        self._damaged = 0
        self.works: tuple[BackgroundWork, ...] = ()
        if settings.scrub_days is not None:
            rest_seconds = settings.scrub_days * _DAY_SECONDS
            self.works = (
                BackgroundWork("scrub", self.turn, rest_seconds=rest_seconds, sole=database.sole("scrub")),
            )
        metrics.gauge(
            "scrub_ended_timestamp_seconds",
            "When the last scrub of everything ended that this process made, in seconds since 1970; 0 before",
            lambda: self._ended,
        )
        metrics.gauge(
            "scrub_damaged",
            "What that scrub found lost or damaged, and could not repair or read",
            lambda: float(self._damaged),
        )

    async def start(self) -> None:
        """Begin, if scrubs are asked for."""
        for work in self.works:
            work.start()

    async def stop(self) -> None:
        """End where it is; the next one begins elsewhere."""
        for work in self.works:
            await work.stop()

    async def turn(self) -> None:
        """One scrub of everything."""
        report = Report()
        walk = self._scrub(first=secrets.token_hex(32), bytes_per_second=self._rate)
        async for sha256, size, finding in walk:
            report.add(sha256, size, finding)
        self._ended = time.time()
        self._damaged = report.counts[Finding.DAMAGED] + report.counts[Finding.UNKNOWN]
        tell = _log.info if report.clean else _log.error
        tell("a scrub ended", bytes=report.bytes, **{each.value: n for each, n in report.counts.items()})
