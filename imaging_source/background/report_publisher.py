"""Registers reports beside the manifests of their studies, one after the other."""

from __future__ import annotations

from functools import partial
from typing import Final

from imaging_source.domain.imaging_reports import ReportState
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


class ReportPublisher:
    """What is due is found in the database, so that nothing is lost with a process; by one of all."""

    def __init__(self, parts: Parts, metrics: Metrics) -> None:
        self._parts = parts
        self._counts = {ReportState.WAITING: 0, ReportState.REFUSED: 0}
        self.work = BackgroundWork(
            "reports", self.turn, rest_seconds=_REST_SECONDS, sole=parts.database.sole("reports")
        )
        metrics.gauges(
            "reports",
            "Reports that are not registered beside their images, by state",
            "state",
            {state: partial(self._count, state) for state in self._counts},
        )

    def _count(self, state: ReportState) -> float:
        return float(self._counts[state])

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
            self._counts = await imaging_reports.count_open(self._parts.database)
            self.work.wake()
