"""The pages for each role, walked from a fresh folder by what they show and nothing else."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.walks import GIVEN, ROOT, STOP, given, matches, steps

PAGES = ("hospital", "clinician", "auditor", "integrator", "operator")


def walk(page: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.support.walks", page, folder],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.heavy
@pytest.mark.parametrize("role", PAGES)
def test_who_types_what_a_page_shows_sees_what_it_tells(role: str, tmp_path: Path):
    page = ROOT / "docs" / f"{role}.md"
    missing = [program for name in given(page) if not shutil.which(program := GIVEN[name][1])]
    if missing:
        pytest.skip(f"{', '.join(missing)} is not installed")
    if os.geteuid() != 0:
        pytest.skip("a network of its own needs root")
    walked = walk(page, tmp_path)
    assert walked.returncode == 0, f"{walked.stdout}\n{walked.stderr}"


@pytest.mark.heavy
def test_who_types_the_way_with_certificates_from_the_readme_is_signed_in(tmp_path: Path):
    if os.geteuid() != 0:
        pytest.skip("a network of its own needs root")
    section = (ROOT / "README.md").read_text("utf-8").partition("\n## With certificates\n")[2]
    page, folder = tmp_path / "page.md", tmp_path / "folder"
    folder.mkdir()
    page.write_text("<!-- given: studies -->\n" + section.partition("\n## ")[0], "utf-8")
    walked = walk(page, folder)
    assert walked.returncode == 0, f"{walked.stdout}\n{walked.stderr}"
    assert '"complete": true' in walked.stdout
    assert re.search(r"^[0-9-]{10} .+ [1-9]\d* images$", walked.stdout, re.M), walked.stdout
    assert {path.name for path in folder.iterdir() if not path.name.startswith(".")} == {
        *("certificates", "dr.roe.saml", "images", "images.py", "my-studies", "var")
    }


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
