"""Work beside the requests: one turn after the other until it is stopped, and never ended by a failure."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime

from shared.attempts import awaited
from shared.store.failures import DatabaseBusy, DatabaseError, DatabaseFull, SchemaError
from shared.store.sole import Sole
from shared.telemetry.log import logger

_log = logger(__name__)

# Between a failure and the next turn; it doubles with each failure in a row.
SHORTEST_PAUSE = 0.25
LONGEST_PAUSE = 15.0
# A turn may last for ever, as a connection does: after so long without a failure it counts as one that works.
STEADY_SECONDS = 30.0

Turn = Callable[[], Awaitable[object]]


class BackgroundWork:
    """A loop that begins its next turn whatever became of the last one.

    Parameters
    ----------
    name
        Shown to operators; fixed when the service is wired.
    turn
        One turn. What it raises is logged and counted, and the next turn comes after a pause that grows.
    rest_seconds
        Between the end of a turn that did not fail and the next one; `wake` ends the rest.
    sole
        The right to this work, when one process at a time has it; without it a turn does nothing.
    """

    def __init__(self, name: str, turn: Turn, *, rest_seconds: float = 0.0, sole: Sole | None = None) -> None:
        self.name = name
        self.failures = 0
        self.on_failure: Callable[[], object] = _nothing
        self._turn = turn
        self._sole = sole
        self._rest_seconds = rest_seconds
        self._woken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._in_a_row = 0
        self._failing_since = 0.0
        self._began = 0.0
        self._succeeded = 0.0
        self._error = ""

    def start(self) -> None:
        """Begin; returns at once."""
        self._task = asyncio.create_task(self._run(), name=self.name)

    async def stop(self) -> None:
        """End it where it is; what a turn has handed to a database is finished there."""
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._task = None

    def wake(self) -> None:
        """Begin the next turn without a rest."""
        self._woken.set()

    @property
    def failing_seconds(self) -> float:
        """For how long no turn has succeeded since one failed; 0 when the last one did not fail."""
        return time.time() - self._failing_since if self._is_failing() else 0.0

    @property
    def last_success(self) -> float:
        """When a turn succeeded last, seconds since 1970; now, when one lasts that works; 0 before any."""
        lasts = bool(self._began) and time.monotonic() - self._began >= STEADY_SECONDS
        return time.time() if lasts and not self._is_failing() else self._succeeded

    def trouble(self) -> str:
        """What is wrong and since when, for operators; empty when nothing is."""
        if self._task is None or self._task.done():
            return "it does not run; restart the service"
        if not self._is_failing():
            return ""
        since = datetime.fromtimestamp(self._failing_since, UTC)
        return f"it has failed since {since:%Y-%m-%dT%H:%M:%SZ}: {self._error}. It is tried again by itself"

    def _is_failing(self) -> bool:
        if not self._in_a_row:
            return False
        return not self._began or time.monotonic() - self._began < STEADY_SECONDS

    async def _run(self) -> None:
        while True:
            self._woken.clear()
            self._began = time.monotonic()
            failure = await self._turned()
            if failure is None:
                self._in_a_row, self._succeeded, self._began = 0, time.time(), 0.0
                await self._rest()
            else:
                # Whatever it is: what waits for this work must not wait for a restart of the service.
                await self._failed(failure)

    async def _turned(self) -> BaseException | None:
        """Why a turn failed, if it did."""
        try:
            outcome = await awaited(self._turn_of_ours())
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            # Something that the turn waited for was cancelled, which is no order to end.
            return error
        return outcome if isinstance(outcome, Exception) else None

    async def _turn_of_ours(self) -> None:
        if self._sole is None or await self._sole.held():
            await self._turn()

    async def _failed(self, error: BaseException) -> None:
        if not self._is_failing():
            self._in_a_row, self._failing_since = 0, time.time()
        self._in_a_row += 1
        self.failures += 1
        self.on_failure()
        self._error, self._began = sentence(error), 0.0
        _log.error("background work failed", work=self.name, times=self._in_a_row, exc_info=error)
        pause = min(SHORTEST_PAUSE * 2 ** min(self._in_a_row - 1, 30), LONGEST_PAUSE)
        await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311  # spreads those who failed together

    async def _rest(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._rest_seconds):
                await self._woken.wait()


def _nothing() -> None:
    """For work whose failures nobody counts."""


def sentence(error: BaseException) -> str:
    """What is the matter, without a word of the error: it may name paths, hosts and people."""
    match error:
        case DatabaseFull():
            return "the database has no space left; free some"
        case DatabaseBusy():
            return "the database is held by other work"
        case SchemaError():
            return "the schema of the database is of another release; start that, or a newer one"
        case DatabaseError():
            return "the database cannot be reached, read or written; see that it runs (XDSI_DATABASE_URL)"
        case TimeoutError():
            return "no answer came in time"
        case OSError() if error.errno:
            return f"what is needed cannot be used ({os.strerror(error.errno)})"
    cause = error.__cause__ or error.__context__
    return sentence(cause) if cause is not None else "it did not work; the log tells why"
