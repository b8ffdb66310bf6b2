"""What talks to other processes is tried again once, and told; what a test does by itself is not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

A_TEST = """
from pathlib import Path

def test_it(request):
    flag = Path(__file__).with_suffix(".tried")
    if not flag.exists():
        flag.touch()
        raise AssertionError("the first try")
"""


def run_once(folder: Path, *more: str) -> str:
    (folder / "test_it.py").write_text(A_TEST)
    command = (sys.executable, "-m", "pytest", "-p", "tests.support.repeats", "-c", "/dev/null")
    command += ("--rootdir", str(folder), "--reruns", "1", *more, str(folder))
    return subprocess.run(command, capture_output=True, text=True, timeout=240, check=False).stdout


def test_what_passes_at_the_second_try_is_told_with_what_the_first_failed_of(tmp_path: Path):
    told = run_once(tmp_path)

    assert "1 passed, 1 rerun" in told
    assert "tried again" in told
    assert "AssertionError: the first try" in told


def test_what_is_excluded_is_tried_once(tmp_path: Path):
    told = run_once(tmp_path, "--rerun-exclude-path", str(tmp_path))

    assert "1 failed" in told
    assert "1 rerun" not in told


def test_a_unit_like_this_one_is_excluded(request: pytest.FixtureRequest):
    excluded = request.config.getoption("rerun_exclude_path")
    assert any(request.path.is_relative_to(path) for path in excluded)
