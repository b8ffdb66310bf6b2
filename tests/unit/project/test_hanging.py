"""A test that never ends fails, by its name, and the others still run."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]

#: A loop of uvloop that waits for what never comes: a signal is not heard there.
HANGS = """
import asyncio
import uvloop

def test_a():
    pass

def test_hangs():
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(asyncio.Event().wait())

def test_z():
    pass
"""


def test_a_test_that_waits_in_uvloop_for_ever_is_named_and_the_others_run(tmp_path: Path):
    (tmp_path / "test_it.py").write_text(HANGS)
    shutil.copy(ROOT / "tests" / "conftest.py", tmp_path)
    own = ("-c", ROOT / "pyproject.toml", "--rootdir", tmp_path, "-o", "timeout=2", "-p", "no:cacheprovider")

    run = subprocess.run(
        [sys.executable, "-m", "pytest", *own, tmp_path],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )

    assert run.returncode == 1, run.stdout
    assert re.search(r"FAILED \S*test_it\.py::test_hangs", run.stdout), run.stdout
    assert re.search(r"1 failed, 2 passed", run.stdout), run.stdout
    assert "runner.run(asyncio.Event().wait())" in run.stdout + run.stderr, "where it waited is not told"
