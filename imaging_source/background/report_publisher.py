"""Registers reports beside the manifests of their studies, one after the other."""

from __future__ import annotations

from typing import Final

from imaging_source.store import imaging_reports
from imaging_source.store.publications import now_ms
from imaging_source.transactions import report_publishing
from imaging_source.unit import Parts
from shared.attempts import awaited
from shared.background import BackgroundWork
from shared.perform import log_mistake
from shared.store.failures import DatabaseError
from shared.telemetry.metrics import Metrics
from shared.telemetry.trace import one_trace

_REST_SECONDS: Final = 0.5
_COUNT_SECONDS: Final = 5.0


class ReportPublisher:
    """What is due is found in the database, so that nothing is lost with a process; by one of all."""

    def __init__(self, parts: Parts, metrics: Metrics) -> None:
        self._parts = parts
        self._open = imaging_reports.OpenReports()
        self.work = BackgroundWork(
            "reports", self.turn, rest_seconds=_REST_SECONDS, sole=parts.database.sole("reports")
        )
        census = BackgroundWork("count of reports", self.count, rest_seconds=_COUNT_SECONDS)
        self.works = [self.work, census]
        metrics.gauges(
            "reports",
            "Reports that are not registered beside their images, by state",
            "state",
            {"waiting": lambda: float(self._open.waiting), "refused": lambda: float(self._open.refused)},
        )
        metrics.gauge(
            "reports_for_persons",
            "Reports that are not registered until a person decides",
            lambda: float(self._open.for_persons),
        )

    def start(self) -> None:
        """Begin."""
        for work in self.works:
            work.start()

    async def stop(self) -> None:
        """End after the report that is under way."""
        for work in self.works:
            await work.stop()

    async def turn(self) -> None:
        """Look at what is due."""
        due = await imaging_reports.find_due(self._parts.database, now_ms())
        for row in due:
            with one_trace():
                match await awaited(report_publishing.look(self._parts, row)):
                    case DatabaseError() as error:
                        raise error
                    case Exception() as error:
                        # One report must not keep the others from being registered.
                        log_mistake(error)
                        await report_publishing.later(self._parts, row)
        if due:
            self.work.wake()

    async def count(self) -> None:
        """Count anew what is not registered."""
        self._open = await imaging_reports.count_open(self._parts.database)
