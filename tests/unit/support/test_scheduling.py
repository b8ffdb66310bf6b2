"""A run ends, and tells of every test, whichever of its workers die."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter, deque
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.support.scheduling import LONGEST, FileScheduling

FILES = st.lists(st.integers(1, 4), min_size=1, max_size=7)


@dataclass(eq=False)
class Worker:
    """As a worker of pytest-xdist that is given files; `tests` are those left of the one that it has read."""

    name: str
    given: deque[tuple[int, list[str]] | None] = field(default_factory=deque)
    shutting_down: bool = False
    collected: bool = False
    index: int | None = None
    tests: deque[str] = field(default_factory=deque)
    running: str | None = None

    @property
    def gateway(self) -> Any:
        return SimpleNamespace(id=self.name)

    def sendcommand(self, name: str, *, indices: list[int], but: list[str]) -> None:
        assert name == "runtests"
        assert not self.shutting_down
        self.given.append((indices[0], list(but)))

    def shutdown(self) -> None:
        self.shutting_down = True
        self.given.append(None)

    @property
    def goes_on(self) -> bool:
        return not self.collected or self.index is not None or bool(self.given)

    @property
    def reads(self) -> bool:
        return self.index is None and bool(self.given) and self.given[0] is not None


class NoText:
    """A folder of files of which none is heavy."""

    def __truediv__(self, name: str) -> NoText:
        return self

    def read_bytes(self) -> bytes:
        return b""


class Run:
    """What the session of pytest-xdist does at each event of its workers."""

    def __init__(self, files: dict[str, list[str]], workers: int) -> None:
        self.files, self.told = files, Counter[str | None]()
        self.scheduler = FileScheduling(SimpleNamespace(rootpath=NoText()))  # type: ignore[arg-type]
        self.ending, self.started = False, 0
        self.workers: list[Worker] = []
        for _ in range(workers):
            self.start()

    def start(self) -> None:
        self.started += 1
        self.workers.append(Worker(f"w{self.started}"))
        self.scheduler.add_node(self.workers[-1])  # type: ignore[arg-type]

    def step(self, worker: Worker, *, dies: bool) -> None:
        one: Any = worker
        if dies:
            self.workers.remove(worker)
            died_of = self.scheduler.remove_node(one)
            self.told[died_of] += died_of is not None
            self.ending = False
            self.start()
        elif not worker.collected:
            worker.collected = True
            self.scheduler.add_node_collection(one, [f"{file}::*" for file in self.files])
            self.scheduler.schedule()
        elif worker.running is not None:
            self.told[worker.running] += 1
            worker.running = None
        elif worker.tests:
            worker.running = worker.tests.popleft()
            self.scheduler.pytest_runtest_logstart(worker.running)
        elif worker.index is not None:
            index, worker.index = worker.index, None
            self.scheduler.mark_test_complete(one, index)
        elif (given := worker.given.popleft()) is None:
            self.workers.remove(worker)
            assert self.scheduler.remove_node(one) is None
        else:
            worker.index, but = given
            tests = list(self.files.values())[worker.index]
            worker.tests.extend(test for test in tests if test not in but)
        if self.scheduler.tests_finished and not self.ending:
            self.ending = True
            for each in self.scheduler.nodes:
                each.shutdown()


def files_of(sizes: list[int]) -> dict[str, list[str]]:
    names = [f"test_{file}.py" for file in range(len(sizes))]
    return {
        name: [f"{name}::test_{number}" for number in range(size)]
        for name, size in zip(names, sizes, strict=True)
    }


@given(FILES, st.integers(1, 3), st.data())
def test_every_test_is_told_of_once_and_the_run_ends_whichever_workers_die(sizes, workers, data):
    files = files_of(sizes)
    run = Run(files, workers)
    deaths = data.draw(st.integers(0, 4))
    while going := [worker for worker in run.workers if worker.goes_on]:
        worker = data.draw(st.sampled_from(going))
        may_die = deaths > 0 and (worker.running is not None or (not worker.given and worker.index is None))
        dies = may_die and data.draw(st.integers(0, 3)) == 0
        deaths -= dies
        run.step(worker, dies=dies)

    assert run.workers == []
    assert +run.told == Counter(test for tests in files.values() for test in tests)


@given(FILES, st.integers(1, 3), st.data())
def test_a_file_that_ends_every_worker_that_reads_it_is_told_and_the_others_are_run(sizes, workers, data):
    files = files_of(sizes)
    run = Run(files, workers)
    deadly = data.draw(st.sampled_from(range(len(files))))
    while going := [worker for worker in run.workers if worker.goes_on]:
        worker = data.draw(st.sampled_from(going))
        run.step(worker, dies=worker.reads and worker.given[0][0] == deadly)

    assert run.workers == []
    name = list(files)[deadly]
    others = [test for file, tests in files.items() if file != name for test in tests]
    assert +run.told == Counter([*others, f"{name}::*"])


def run_by_files(folder: Path) -> subprocess.CompletedProcess[str]:
    command = (sys.executable, "-m", "pytest", "-q", "-c", "/dev/null", "--rootdir", str(folder), "-n", "2")
    command += ("-p", "tests.support.scheduling", "-p", "tests.support.reading", "--dist", "loadfile")
    command += (str(folder),)
    return subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)


def test_a_test_that_ends_its_worker_is_told_and_the_rest_is_run(tmp_path: Path):
    for name in ("a", "b", "c", "d"):
        (tmp_path / f"test_{name}.py").write_text(
            "import os, pytest\n\n"
            "@pytest.mark.parametrize('number', range(3))\n"
            "def test_it(number):\n"
            f"    if ({name!r}, number) == ('c', 2):\n"
            "        os._exit(1)\n"
        )
    run = run_by_files(tmp_path)

    assert "1 failed, 11 passed" in run.stdout
    assert "crashed while running 'test_c.py::test_it[2]'" in run.stdout


def test_a_file_is_read_by_the_one_worker_that_runs_it(tmp_path: Path):
    for name in ("a", "b", "c", "d"):
        (tmp_path / f"test_{name}.py").write_text(
            "import os, pathlib\n\n"
            f"with pathlib.Path({str(tmp_path)!r}, 'read').open('a') as file:\n"
            f"    file.write({name!r})\n\n"
            "def test_it(): pass\n"
        )
    (tmp_path / "test_e.py").write_text("no python\n")
    run = run_by_files(tmp_path)

    assert re.search(r"^4 passed, .*1 error", run.stdout, re.M)
    assert "SyntaxError" in run.stdout
    assert run.returncode == 1
    assert sorted((tmp_path / "read").read_text()) == ["a", "b", "c", "d"]
    assert re.search(r"^\d+s test_a.py$", run.stdout, re.M)


def test_what_a_session_has_is_made_once_by_each_worker_and_modules_of_all_folders_are_ended(tmp_path: Path):
    (tmp_path / "conftest.py").write_text(
        "import os, pathlib, pytest\n\n"
        "@pytest.fixture(scope='session')\n"
        "def shared():\n"
        f"    pathlib.Path({str(tmp_path)!r}, f'made-{{os.getpid()}}').touch(exist_ok=False)\n"
    )
    for name in ("a", "b", "c", "d"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"test_{name}.py").write_text(
            "import pathlib, pytest\n\n"
            "@pytest.fixture(scope='module', autouse=True)\n"
            "def of_module():\n"
            "    yield\n"
            "    pathlib.Path(__file__).with_name('ended').touch()\n\n"
            "def test_it(shared): pass\n\n"
            "def test_again(shared): pass\n"
        )
    run = run_by_files(tmp_path)

    assert re.search(r"^8 passed", run.stdout, re.M)
    assert len(list(tmp_path.glob("made-*"))) <= 2
    assert len(list(tmp_path.glob("*/ended"))) == 4


def test_the_files_that_come_first_are_there():
    assert [path for path in LONGEST if not Path(__file__).parents[3].joinpath(path).is_file()] == []
