"""The last examination of this installation, and the one that is under way."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

from imaging_source.domain.examination import Examine, Finding
from shared.attempts import awaited
from shared.perform import log_mistake


class Examinations:
    """Examines when told to, one at a time; without `examine` nobody can, as this process was started by
    another program than `xdsi serve`."""

    def __init__(self, examine: Examine | None) -> None:
        self._examine = examine
        self._task: asyncio.Task[None] | None = None
        self.findings: Sequence[Finding] = ()
        self.ended: datetime | None = None

    @property
    def is_possible(self) -> bool:
        """Whether this process can be examined from within."""
        return self._examine is not None

    @property
    def is_under_way(self) -> bool:
        """Whether one is under way."""
        return self._task is not None and not self._task.done()

    def begin(self) -> None:
        """Begin one, unless one is under way or nobody can."""
        if self._examine is not None and not self.is_under_way:
            self._task = asyncio.create_task(self._run(self._examine), name="examination")

    async def stop(self) -> None:
        """End the one that is under way."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self, examine: Examine) -> None:
        match await awaited(examine()):
            case Exception() as error:
                log_mistake(error)
                self.findings = (
                    Finding(
                        severity="error",
                        subject="examination",
                        state="it could not be done: a mistake of xdsi itself",
                        remedy="run xdsi doctor on the machine, and please report it",
                    ),
                )
            case findings:
                self.findings = tuple(findings)
        self.ended = datetime.now(UTC)
