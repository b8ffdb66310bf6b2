"""The drift watch: looks at published manifests and the reports beside them, one study after the other and
again and again, at a set rate."""

from __future__ import annotations

from typing import Final

from imaging_source.background.publisher import Publisher
from imaging_source.domain.drift import Drift, ReportDrift
from imaging_source.peers.registrations import RegistryAway
from imaging_source.store.drift import count_open, next_study
from imaging_source.transactions import drift, report_drift
from imaging_source.transactions.archived import ArchiveSilent
from imaging_source.transactions.rad68 import NotWithdrawn
from imaging_source.unit import Parts
from shared.background import BackgroundWork
from shared.telemetry.log import logger
from shared.telemetry.metrics import Metrics

_log = logger(__name__)

_MINUTE_SECONDS: Final = 60.0


class DriftWatch:
    """One manifest a turn, of the study after the last one; by one of all processes at the database.

    A start begins with the first study. What is found is counted in `metrics`.
    """

    def __init__(self, parts: Parts, publisher: Publisher, metrics: Metrics) -> None:
        self._parts = parts
        self._publisher = publisher
        self._after = ""
        self._open = 0
        self._count = metrics.counters(
            "manifest_drifts", "Manifests that were found to be untrue, by how", "drift", list(Drift)
        )
        self._count_reports = metrics.counters(
            "report_drifts",
            "Reports beside manifests that were found to be untrue, by how",
            "drift",
            list(ReportDrift),
        )
        metrics.gauge(
            "manifests_for_persons",
            "Studies whose manifest drifted, and a person has to decide",
            lambda: float(self._open),
        )
        rate = parts.settings.drift_checks_per_minute
        self.works = (
            [
                BackgroundWork(
                    "drift watch",
                    self.turn,
                    rest_seconds=_MINUTE_SECONDS / rate,
                    sole=parts.database.sole("drift watch"),
                )
            ]
            if rate
            else []
        )

    def start(self) -> None:
        """Begin, if a rate is set."""
        for work in self.works:
            work.start()

    async def stop(self) -> None:
        """End where it is."""
        for work in self.works:
            await work.stop()

    async def turn(self) -> None:
        """Look at the next manifest; while the registry is away, at the same one again."""
        if study := await next_study(self._parts.database, self._after):
            try:
                kinds = await drift.examine(self._parts, study)
                for each in await report_drift.examine(self._parts, study):
                    self._count_reports[each]()
            except RegistryAway:
                _log.warning("the drift watch waits for the registry")
                return
            except ArchiveSilent as error:
                _log.warning("a manifest cannot be compared with its archive now", reason=str(error))
                kinds = ()
            except NotWithdrawn as error:
                _log.error("a manifest of which nothing is left stays registered", reason=str(error))
                kinds = ()
            for kind in kinds:
                self._count[kind]()
                self._publisher.wake()
        self._after = study
        self._open = await count_open(self._parts.database)
