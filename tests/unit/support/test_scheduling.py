"""A run ends, and tells of every test, whichever of its workers die."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter, deque
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from xdist.remote import Producer

from tests.support.scheduling import FileScheduling

FILES = st.lists(st.integers(1, 4), min_size=1, max_size=7)


@dataclass(eq=False)
class Worker:
    """As a worker of pytest-xdist: it begins a test once it knows what comes after."""

    name: str
    given: deque[int | None] = field(default_factory=deque)
    shutting_down: bool = False
    collected: bool = False

    @property
    def gateway(self) -> Any:
        return SimpleNamespace(id=self.name)

    def send_runtest_some(self, indices: list[int]) -> None:
        assert not self.shutting_down
        self.given += indices

    def shutdown(self) -> None:
        self.shutting_down = True
        self.given.append(None)

    @property
    def goes_on(self) -> bool:
        return not self.collected or len(self.given) > 1 or self.given == deque([None])


class Run:
    """What the session of pytest-xdist does at each event of its workers."""

    def __init__(self, tests: list[str], workers: int) -> None:
        self.tests, self.told = tests, Counter[str | None]()
        options = SimpleNamespace(loadscopereorder=False, tx=[f"{workers}*popen"])
        config = SimpleNamespace(option=options, getvalue=lambda name: options.tx)
        self.scheduler = FileScheduling(config, Producer("", enabled=False))  # type: ignore[arg-type]
        self.ending, self.started = False, 0
        self.workers: list[Worker] = []
        for _ in range(workers):
            self.start()
        for worker in self.workers:
            self.step(worker, dies=False)

    def start(self) -> None:
        self.started += 1
        self.workers.append(Worker(f"w{self.started}"))
        self.scheduler.add_node(self.workers[-1])  # type: ignore[arg-type]

    def step(self, worker: Worker, *, dies: bool) -> None:
        one: Any = worker
        if dies:
            self.workers.remove(worker)
            # One more than there were files has left the scheduler already.
            died_of = self.scheduler.remove_node(one) if one in self.scheduler.nodes else None
            self.told[died_of] += died_of is not None
            self.ending = False
            self.start()
        elif not worker.collected:
            worker.collected = True
            self.scheduler.add_node_collection(one, self.tests)
            if self.scheduler.collection_is_completed:
                self.scheduler.schedule()
        elif (index := worker.given.popleft()) is None:
            self.workers.remove(worker)
            if one in self.scheduler.nodes:
                assert self.scheduler.remove_node(one) is None
        else:
            self.told[self.tests[index]] += 1
            self.scheduler.mark_test_complete(one, index)
        if self.scheduler.tests_finished and not self.ending:
            self.ending = True
            for each in self.scheduler.nodes:
                each.shutdown()


@given(FILES, st.integers(1, 3), st.data())
def test_every_test_is_told_of_once_and_the_run_ends_whichever_workers_die(sizes, workers, data):
    tests = [f"test_{file}.py::test_{number}" for file, size in enumerate(sizes) for number in range(size)]
    run = Run(tests, workers)
    deaths = data.draw(st.integers(0, 4))
    while going := [worker for worker in run.workers if worker.goes_on]:
        worker = data.draw(st.sampled_from(going))
        dies = deaths > 0 and data.draw(st.integers(0, 3)) == 0
        deaths -= dies
        run.step(worker, dies=dies)

    assert run.workers == []
    assert +run.told == Counter(tests)


def test_a_test_that_ends_its_worker_is_told_and_the_rest_is_run(tmp_path: Path):
    for name in ("a", "b", "c", "d"):
        (tmp_path / f"test_{name}.py").write_text(
            "import os, pytest\n\n"
            "@pytest.mark.parametrize('number', range(3))\n"
            "def test_it(number):\n"
            f"    if ({name!r}, number) == ('c', 2):\n"
            "        os._exit(1)\n"
        )
    command = (sys.executable, "-m", "pytest", "-q", "-p", "tests.support.scheduling", "-c", "/dev/null")
    command += ("--rootdir", str(tmp_path), "-n", "2", "--dist", "loadfile", str(tmp_path))
    run = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)

    assert "1 failed, 11 passed" in run.stdout
    assert "crashed while running 'test_c.py::test_it[2]'" in run.stdout
