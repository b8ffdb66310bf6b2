"""Which worker runs which file of tests, by pytest-xdist: the side that reads and runs them.

A worker tells which files there are without reading one. Each stands in its collection as one item; when the
worker is given it, the file is read, and its tests are run.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from queue import SimpleQueue
from typing import Any

import pytest

#: Of what a worker is told at its start: whether it is given files.
BY_FILE = "tests_by_file"


class UnreadFile(pytest.File):
    """A file in place of its module."""

    def collect(self) -> Iterator[pytest.Item]:
        """What stands for its tests."""
        yield TestsOfFile.from_parent(self, name="*")


class TestsOfFile(pytest.Item):
    """All tests of a file that was not read."""

    def read(self) -> list[pytest.Item]:
        """They."""
        folder = self.parent and self.parent.parent
        assert folder is not None
        gc.disable()  # What is read stays: the collector would look at it again and again.
        try:
            tests = list(self.session.genitems(pytest.Module.from_parent(folder, path=self.path)))
            self.config.hook.pytest_collection_modifyitems(
                session=self.session, config=self.config, items=tests
            )
        finally:
            gc.enable()
        return tests

    def runtest(self) -> None:
        """Nobody does: its tests are run."""
        raise NotImplementedError


def pytest_pycollect_makemodule(module_path: Any, parent: pytest.Collector) -> UnreadFile | None:
    """Leave the file as it is, in a worker that is given files."""
    if not _worker_input(parent.config).get(BY_FILE):
        return None
    return UnreadFile.from_parent(parent, path=module_path)


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    """Run the files that come, one at a time, in such a worker."""
    if not _worker_input(session.config).get(BY_FILE):
        return None
    plugins = session.config.pluginmanager.get_plugins()
    worker: Any = next(each for each in plugins if hasattr(each, "handle_command"))
    commands: SimpleQueue[tuple[str, dict[str, Any]] | None] = SimpleQueue()
    worker.channel.setcallback(commands.put, endmarker=None)
    while (command := commands.get()) and command[0] == "runtests":
        (worker.item_index,) = command[1]["indices"]
        _run(session, worker.item_index, command[1]["but"])
        worker.sendevent("runtest_protocol_complete", item_index=worker.item_index, duration=0.0)
        if session.shouldfail or session.shouldstop:
            break
    return True


def _run(session: pytest.Session, index: int, begun: Sequence[str]) -> None:
    """The tests of a file but for those that have `begun` elsewhere; what the session has stays."""
    file = session.items[index]
    assert isinstance(file, TestsOfFile)
    tests = [test for test in file.read() if test.nodeid not in begun]
    for test, after in zip_longest(tests, tests[1:], fillvalue=session):
        session.items[index] = test  # what reports are about
        session.config.hook.pytest_runtest_protocol(item=test, nextitem=after)
        if session.shouldfail or session.shouldstop:
            break
    session.items[index] = file


def _worker_input(config: pytest.Config) -> dict[str, Any]:
    return getattr(config, "workerinput", {})
