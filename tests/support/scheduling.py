"""Which worker runs which file of tests, by pytest-xdist.

Its own scheduler waits for ever once a worker has died: it hands out the files that this worker had done
already as files without a test, whose end nobody reports; a worker that is given a single test waits for a
second one before it begins; and the test that ended the worker is run again, by one worker after the other.
"""

from __future__ import annotations

from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling
from xdist.workermanage import WorkerController


class FileScheduling(LoadFileScheduling):
    """Each file by one worker; what a dead one leaves is run by others, but for the test that it died of."""

    def remove_node(self, node: WorkerController) -> str | None:
        """Forget a worker; the test in which it died, or None when it had nothing left to do."""
        left = {
            file: [test for test, done in tests.items() if not done]
            for file, tests in self.assigned_work.pop(node).items()
        }
        died_of = next((tests.pop(0) for tests in left.values() if tests), None)
        self.workqueue.update({file: dict.fromkeys(tests, False) for file, tests in left.items() if tests})
        for other in self.nodes:
            self._reschedule(other)
        return died_of

    def _reschedule(self, node: WorkerController) -> None:
        """Give a worker enough to go on with, and its end with the last of it."""
        if node not in self.registered_collections:
            return
        while self.workqueue and not node.shutting_down and self._pending_of(self.assigned_work[node]) <= 2:
            self._assign_work_unit(node)
        super()._reschedule(node)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> FileScheduling | None:
    """Ours, where files are asked for."""
    return FileScheduling(config, log) if config.getvalue("dist") == "loadfile" else None
