"""Trials that run, and those that were: at most so many at once, each for so long; the oldest make room."""

from __future__ import annotations

import asyncio
import re
import secrets
import shutil
import sys
from asyncio.subprocess import DEVNULL, Process
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from conformance.plans.probe import Outcome
from conformance.settings import ConformanceSettings
from conformance.trials.folder import REPORTS, Question, TrialFolder
from conformance.trials.guide import Guide, guide_of
from conformance.trials.order import Order
from shared.http.problem import Conflict, NotFound, Unavailable

_ID: Final = re.compile(r"[A-Za-z0-9_-]{22}")
#: The first probes ask whether a system is reached at all; without them no other is asked.
REACH: Final = "REACH-"
_STOPPED: Final = "the service was stopped while it ran"
_FAILURES: Final = (Outcome.FAILED, Outcome.UNDECIDED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What is known of a trial now.

    `ending` is None while it runs, empty when it was done to its end, else the words why not; `question` is
    what waits for the person's answer; `of` is how many steps there will be,
    0 while that is not known.
    """

    id: str
    guide: Guide
    order: Order
    steps: list[dict[str, Any]]
    of: int
    ending: str | None
    question: Question | None

    @property
    def runs(self) -> bool:
        """Whether there is more to come."""
        return self.ending is None

    @property
    def failures(self) -> list[dict[str, Any]]:
        """The steps that did not pass."""
        return [one for one in self.steps if one["outcome"] in _FAILURES]

    @property
    def unreached(self) -> bool:
        """Whether nothing could be asked, since an address is wrong."""
        return any(one["id"].startswith(REACH) for one in self.failures)

    @property
    def passed(self) -> bool:
        """Whether it was done to its end, and nothing failed."""
        return self.ending == "" and not self.failures

    @property
    def counts(self) -> dict[str, int]:
        """How many steps ended how."""
        outcomes = [one["outcome"] for one in self.steps]
        return {str(one): outcomes.count(one) for one in Outcome if one in outcomes}


class Trials:
    """The trials below a folder; who knows the id of one may see it, if the node may test."""

    def __init__(self, settings: ConformanceSettings) -> None:
        self._settings = settings
        self._folder = settings.folder / "trials"
        self._running: dict[str, tuple[Process, asyncio.Task[None]]] = {}
        self._beginning = asyncio.Lock()

    async def begin(self, order: Order) -> str:
        """Begin a trial; its id.

        Raises
        ------
        Unavailable
            As many run as may.
        """
        async with self._beginning:
            self._check_place(order)
            id = secrets.token_urlsafe(16)
            folder = TrialFolder(self._folder / id)
            await asyncio.to_thread(folder.write_order, order)
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "conformance.trials.process", folder.path),
                stdin=DEVNULL,
                stdout=DEVNULL,
                stderr=DEVNULL,
            )
            end = asyncio.create_task(self._ended(id, folder, process), name="trial")
            self._running[id] = process, end
        await asyncio.to_thread(self._make_room)
        return id

    def _check_place(self, order: Order) -> None:
        if len(self._running) >= self._settings.trials:
            raise Unavailable("as many tests run now as may; wait until one is done, or cancel it")
        others = [TrialFolder(self._folder / id).order().actor for id in self._running]
        if order.actor == "consumer" and order.actor in others:
            raise Unavailable(
                "a consumer is tested now, and the peers that we play are its; wait, or cancel it"
            )

    async def _ended(self, id: str, folder: TrialFolder, process: Process) -> None:
        seconds = self._settings.trial_seconds
        words = "it ended before it was done: what came from the system was more than could be read"
        try:
            async with asyncio.timeout(seconds):
                await process.wait()
        except TimeoutError:
            words = f"it was stopped after {seconds:g} s"
        finally:
            await _killed(process)
            del self._running[id]
            await asyncio.to_thread(folder.end, words)

    def find(self, id: str) -> Trial:
        """A trial as it is now; raises NotFound when there is none, or no more."""
        folder = self._of(id)
        order = folder.order()
        guide = guide_of(order.actor)
        if guide is None:
            raise _no_trial()
        ending = folder.ending()
        if ending is None and id not in self._running:
            ending = _STOPPED
        return Trial(
            id=id,
            guide=guide,
            order=order,
            steps=folder.steps(),
            of=folder.length(),
            ending=ending,
            question=folder.question() if ending is None else None,
        )

    def report(self, id: str, name: str) -> Path:
        """A report of a trial as a file; raises NotFound while there is none."""
        path = self._of(id).report(name)
        if path is None:
            raise NotFound(
                f"there is no such report; a test that is done to its end has {', '.join(REPORTS)}"
            )
        return path

    def answer(self, id: str, number: int, *, yes: bool) -> None:
        """Answer what the person is asked; raises Conflict where another question waits by now."""
        folder = self._of(id)
        question = folder.question()
        if question is None or question.number != number:
            raise Conflict("this question does not wait for an answer; look at the page again")
        folder.write_answer(number, yes=yes)

    async def cancel(self, id: str) -> None:
        """End a trial; one that has ended stays as it is."""
        folder = self._of(id)
        if id in self._running:
            process, end = self._running[id]
            await asyncio.to_thread(folder.end, "it was cancelled")
            await _killed(process)
            await asyncio.wait((end,))

    async def stop(self) -> None:
        """End every trial."""
        for id, (process, end) in list(self._running.items()):
            await asyncio.to_thread(TrialFolder(self._folder / id).end, _STOPPED)
            await _killed(process)
            await asyncio.wait((end,))

    def _of(self, id: str) -> TrialFolder:
        if not (_ID.fullmatch(id) and (self._folder / id / "order.json").is_file()):
            raise _no_trial()
        return TrialFolder(self._folder / id)

    def _make_room(self) -> None:
        listed = sorted(self._folder.iterdir(), key=lambda one: one.stat().st_ctime_ns)
        idle = [one for one in listed if one.name not in self._running]
        for oldest in idle[: max(0, len(listed) - self._settings.max_trials)]:
            shutil.rmtree(oldest, ignore_errors=True)


def _no_trial() -> NotFound:
    return NotFound("there is no such test, or it made room for newer ones; begin another")


async def _killed(process: Process) -> None:
    if process.returncode is None:
        process.kill()
    await process.wait()
