"""Orders of people at browsers, carried out beside the requests: a few at once, each with the assertion of
who ordered it, so that consent is asked as for anything else that this person sees.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Final

from consumer.background.taking_over import TakenOver, take_over
from consumer.domain.study import UnsafeManifest
from consumer.front.problems import asking
from consumer.imaging_document_consumer import ImagingDocumentConsumer
from consumer.pages.desk import Step
from consumer.store.take_overs import AtWork, TakeOver, TakeOvers
from consumer.unit import Parts
from shared.attempts import awaited
from shared.background import BackgroundWork
from shared.http.problem import HttpProblem
from shared.pages.visitors import Visitor
from shared.perform import log_mistake

_AT_ONCE: Final = 2
_SWEEP_SECONDS: Final = 3600.0


class TakeOverQueue:
    """Carries orders out; `work` forgets those whose time is over."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._places = asyncio.Semaphore(_AT_ONCE)
        self._tasks: dict[Path, asyncio.Task[None]] = {}
        self._steps: dict[Path, Step] = {}
        self._ended: dict[Path, str] = {}
        self.work = BackgroundWork("take-overs", self.forget_old, rest_seconds=_SWEEP_SECONDS)

    def begin(self, visitor: Visitor, order: TakeOver) -> None:
        """Carry an order out for a visitor, unless that is done already."""
        folder = order.folder
        if folder in self._tasks:
            return
        self._ended.pop(folder, None)
        self._steps[folder] = Step(name="waiting", done=0, of=0)
        task = asyncio.create_task(self._run(visitor, order), name="take-over")
        self._tasks[folder] = task
        task.add_done_callback(lambda _: self._forget_task(folder))

    def step(self, order: TakeOver) -> Step | None:
        """What is done of an order now; None when nothing is."""
        return self._steps.get(order.folder)

    def ended(self, order: TakeOver) -> str:
        """Why the last attempt at an order ended before all was tried; empty when it did not."""
        return self._ended.get(order.folder, "")

    async def forget_old(self) -> None:
        """Remove orders, and what was fetched for them, that are older than the settings say."""
        before = datetime.now(UTC) - timedelta(days=self._parts.settings.take_over_days)
        await asyncio.to_thread(self._forget_before, before)

    async def stop(self) -> None:
        """End what is under way; it goes on when somebody orders it again."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _forget_before(self, before: datetime) -> None:
        root = self._parts.settings.take_over_folder
        for folder in root.iterdir() if root.is_dir() else ():
            orders = TakeOvers(folder)
            for one in orders.all():
                if one.order.ordered < before and one.folder not in self._tasks:
                    orders.forget(one)

    def _forget_task(self, folder: Path) -> None:
        self._tasks.pop(folder, None)
        self._steps.pop(folder, None)

    async def _run(self, visitor: Visitor, order: TakeOver) -> None:
        async with self._places:
            reason = _reason_of(await awaited(self._taken_over(visitor, order)))
        if reason:
            self._ended[order.folder] = reason

    async def _taken_over(self, visitor: Visitor, order: TakeOver) -> TakenOver:
        consumer = ImagingDocumentConsumer(self._parts.unit(visitor.user, lambda: visitor.assertion))
        async with asking("the other hospital", None):
            return await take_over(consumer, order, progress=partial(self._note, order.folder))

    def _note(self, folder: Path, name: str, done: int, of: int) -> None:
        self._steps[folder] = Step(name=name, done=done, of=of)


def _reason_of(outcome: TakenOver | Exception) -> str:
    match outcome:
        case TakenOver():
            return outcome.ended
        case HttpProblem():
            return outcome.detail
        case UnsafeManifest():
            return f"the document is not a manifest: {outcome}"
        case AtWork():
            return "a command works on this order now; wait for it"
        case _:
            log_mistake(outcome)
            return "a mistake of xdsi itself; its log explains it"
