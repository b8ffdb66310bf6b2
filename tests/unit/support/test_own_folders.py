"""Folders of test processes do not stay, however their processes end."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.support.own_folders import own_folder

PROGRAM = """
import sys, time
from tests.support.own_folders import own_folder
print(own_folder("left-"), flush=True)
sys.stdin.readline()
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def a_process(tmp_path: Path) -> tuple[subprocess.Popen[str], Path]:
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"TMPDIR": str(tmp_path), "PYTHONPATH": str(Path.cwd())},
    )
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def test_one_whose_process_was_killed_is_removed_by_the_next_and_no_other(tmp_path: Path):
    killed, left = a_process(tmp_path)
    living, kept = a_process(tmp_path)
    (tmp_path / "left-by-somebody-else").mkdir()
    killed.kill()
    killed.communicate()
    assert left.exists()

    ended: list[Path] = []
    own = own_folder("left-", ended.append)

    assert ended == [left]
    assert not left.exists()
    assert kept.exists()
    assert own.exists()
    assert (tmp_path / "left-by-somebody-else").exists()
    living.communicate("\n")
    assert not kept.exists()
