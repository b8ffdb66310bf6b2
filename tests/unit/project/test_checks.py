"""The same checks stand before a commit, in `make check` and in front of the tests of a whole run."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[3]
PARALLEL = "-n auto --dist loadfile --durations 10 --override-ini console_output_style=classic"
TESTS_OF_CHECK = f".venv/bin/pytest {PARALLEL} tests/unit/project"


def commands_of(target: str) -> list[str]:
    """What `make` would run for a target, beside the set-up."""
    lines = subprocess.run(
        ["make", "--dry-run", "--always-make", target], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    return [line for line in lines if re.match(r"\.venv/bin/(ruff|mypy|lint-imports|pytest)\b", line)]


def test_check_is_format_lint_types_imports_and_then_the_rules_of_the_house():
    assert commands_of("lint") == [
        ".venv/bin/ruff format --check .",
        ".venv/bin/ruff check .",
        ".venv/bin/mypy",
        ".venv/bin/lint-imports",
    ]
    assert commands_of("check") == [*commands_of("lint"), TESTS_OF_CHECK]


def test_hooks_before_a_commit_are_the_checks_of_make_lint():
    hooks = (ROOT / ".pre-commit-config.yaml").read_text("utf-8")
    assert re.findall(r"entry: (.+)", hooks) == commands_of("lint")
    assert set(re.findall(r"language: (.+)", hooks)) == {"system"}, "nothing is fetched"
    assert re.findall(r"repo: (.+)", hooks) == ["local"]


def test_a_whole_run_fails_on_the_checks_before_it_begins_the_tests():
    run = (ROOT / ".ci" / "run").read_text("utf-8")
    assert re.findall(r"^make (\w+)", run, re.MULTILINE) == ["check", "conform", "audit", "test"]
    assert "set -euo pipefail" in run
