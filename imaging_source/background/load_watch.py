"""Remembers how many requests were answered, hour by hour, for the pages of operators."""

from __future__ import annotations

from typing import Final

from imaging_source.domain.load import AnswerHistory
from shared.background import BackgroundWork
from shared.telemetry.metrics import Metrics, Result

_COUNT_SECONDS: Final = 60.0


class LoadWatch:
    """Counts at intervals; `answers` is what is known."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self.answers = AnswerHistory(self._totals)
        self.work = BackgroundWork("load watch", self._count, rest_seconds=_COUNT_SECONDS)

    def _totals(self) -> tuple[int, int]:
        ended = self._metrics.ended()
        answered = ended[Result.SUCCESS] + ended[Result.PARTIAL]
        return answered, sum(ended.values()) - answered

    async def _count(self) -> None:
        self.answers.note()
