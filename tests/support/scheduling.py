"""Which worker runs which file of tests, by pytest-xdist: the side that gives them out.

The schedulers of pytest-xdist have every worker read every file, and make all tests of all files, before one
begins; that took a tenth of what a run takes. They give out the next file while one is run, so that at the
end files wait behind long ones; and after the death of a worker they wait for ever. Here a worker is given
one file, which it reads then (`tests.support.reading`), and the next when it is done.

Tests of processes wait, most of their time, and those of units compute: one half of the workers begins with
the former, of which the heavy ones take longest, the other half with the latter.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from xdist.workermanage import WorkerController

from tests.support.reading import BY_FILE

#: Files that take longest, which a run prints: they come first, so that none is alone at the end.
LONGEST = (
    "tests/peers/test_walks.py",
    "tests/deploy/test_patroni.py",
    "tests/peers/test_conformance.py",
    "tests/peers/test_workers.py",
    "tests/faults/test_audit_delivery.py",
    "tests/faults/test_unanswered_commits.py",
    "tests/peers/http/test_http_server.py",
    "tests/faults/test_hostile_input.py",
    "tests/faults/test_on_demand_kills.py",
    "tests/peers/test_viewer.py",
    "tests/peers/test_timeline.py",
)
_PRINTED = 10


@dataclass(slots=True)
class _File:
    """A file of tests by its name in the collection of every worker, and its tests that have begun.

    `earlier` of them began in workers that have died. It was given at the moment `given`, in seconds of the
    clock, and took `seconds`.
    """

    name: str
    begun: list[str] = field(default_factory=list)
    earlier: int = 0
    given: float = 0.0
    seconds: float = 0.0

    @property
    def path(self) -> str:
        return self.name.partition("::")[0]


class FileScheduling:
    """Each file by one worker; what a dead one leaves is run by another, but for the test that it died of."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self._collections: dict[WorkerController, list[str]] = {}
        self._from_the_end: dict[WorkerController, bool] = {}
        self._under_way: dict[WorkerController, _File | None] = {}
        self._files: dict[str, _File] = {}
        self._waiting: deque[_File] = deque()

    @property
    def nodes(self) -> list[WorkerController]:
        """The workers that live."""
        return list(self._under_way)

    @property
    def collection_is_completed(self) -> bool:
        """Whether somebody said which files there are; nobody waits for others to say the same."""
        return bool(self._collections)

    @property
    def has_pending(self) -> bool:
        """Whether a file waits, or is under way."""
        return bool(self._waiting) or any(self._under_way.values())

    @property
    def tests_finished(self) -> bool:
        """Whether nothing is left to be done."""
        return self.collection_is_completed and not self.has_pending

    def add_node(self, node: WorkerController) -> None:
        """A worker lives."""
        self._from_the_end[node] = len(self._from_the_end) % 2 == 1
        self._under_way[node] = None

    def add_node_collection(self, node: WorkerController, collection: Sequence[str]) -> None:
        """A worker says which files there are."""
        self._collections[node] = list(collection)
        if not self._files:
            self._files = {file.path: file for file in map(_File, collection)}
            self._waiting.extend(sorted(self._files.values(), key=self._turn))

    def _turn(self, file: _File) -> tuple[int, bool]:
        if file.path in LONGEST:
            return LONGEST.index(file.path), False
        return len(LONGEST), b"mark.heavy" not in (self.config.rootpath / file.path).read_bytes()

    def schedule(self) -> None:
        """Give those work who have none."""
        self._give(self._under_way)

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """A test begins, in the only worker that has its file."""
        if file := self._files.get(nodeid.partition("::")[0]):
            file.begun.append(nodeid)

    def mark_test_complete(self, node: WorkerController, item_index: int, duration: float = 0) -> None:
        """A worker is done with its file."""
        if file := self._under_way[node]:
            file.seconds += time.monotonic() - file.given
        self._under_way[node] = None
        self._give([node])

    def remove_node(self, node: WorkerController) -> str | None:
        """Forget a worker; the test in which it died, or None when it had nothing to do."""
        self._collections.pop(node, None)
        if (file := self._under_way.pop(node)) is None:
            return None
        if len(file.begun) == file.earlier:
            # It died while it read the file, as the next one would.
            return file.name
        file.earlier = len(file.begun)
        self._waiting.appendleft(file)
        self._give(self._under_way)
        return file.begun[-1]

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Say which files took longest."""
        terminalreporter.section("slowest files")
        for file in sorted(self._files.values(), key=lambda file: -file.seconds)[:_PRINTED]:
            terminalreporter.write_line(f"{file.seconds:.0f}s {file.path}")

    def mark_test_pending(self, item: str) -> None:
        """Of pytest-rerunfailures, about the test that ended a worker: none is run again."""
        raise NotImplementedError

    def _give(self, nodes: Iterable[WorkerController]) -> None:
        for node in nodes:
            if node not in self._collections or node.shutting_down or self._under_way[node] is not None:
                continue
            if not self._waiting:
                node.shutdown()
                continue
            file = self._waiting.pop() if self._from_the_end[node] else self._waiting.popleft()
            index = self._collections[node].index(file.name)
            try:
                node.sendcommand("runtests", indices=[index], but=file.begun)
                self._under_way[node], file.given = file, time.monotonic()
            except OSError:  # It has died, as will be told.
                self._waiting.appendleft(file)


def pytest_configure_node(node: Any) -> None:
    """Workers read files when they are given them, but where single tests are chosen."""
    node.workerinput[BY_FILE] = _by_file(node.config)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> FileScheduling | None:
    """Ours, where whole files are given out."""
    if not _by_file(config):
        return None
    scheduler = FileScheduling(config)
    config.pluginmanager.register(scheduler)
    return scheduler


def _by_file(config: pytest.Config) -> bool:
    chosen = config.getvalue("keyword") or config.getvalue("markexpr") or config.getvalue("lf")
    return (
        config.getvalue("dist") == "loadfile" and not chosen and not any("::" in each for each in config.args)
    )
