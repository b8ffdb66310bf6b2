"""The pages for each role, walked from a fresh folder by what they show and nothing else."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.walks import GIVEN, ROOT, STOP, given, matches, steps

PAGES = ("hospital", "clinician", "auditor", "integrator", "operator")


@pytest.mark.heavy
@pytest.mark.parametrize("role", PAGES)
def test_who_types_what_a_page_shows_sees_what_it_tells(role: str, tmp_path: Path):
    page = ROOT / "docs" / f"{role}.md"
    missing = [program for name in given(page) if not shutil.which(program := GIVEN[name][1])]
    if missing:
        pytest.skip(f"{', '.join(missing)} is not installed")
    if os.geteuid() != 0:
        pytest.skip("a network of its own needs root")
    walked = subprocess.run(
        [sys.executable, "-m", "tests.support.walks", page, tmp_path],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert walked.returncode == 0, f"{walked.stdout}\n{walked.stderr}"


@pytest.mark.parametrize("role", PAGES)
def test_every_block_of_a_page_is_typed_or_says_why_not(role: str):
    languages = {
        step.language for step in steps(ROOT / "docs" / f"{role}.md") if not (step.path or step.mark)
    }
    assert languages <= {"sh", "text", STOP}


def test_what_was_said_is_held_against_what_is_shown():
    shown = "a  b…\n…\nlast\n"
    assert matches(shown, "a b12\nx\ny\nlast\n")
    assert matches(shown, "a b\nlast\n")
    assert not matches(shown, "a c\nlast\n")
    assert not matches(shown, "a b\nlast\nmore\n")
