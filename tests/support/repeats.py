"""Tests among processes and sockets are tried again once by `make test`, and said to have been.

Which of a thousand races a busy machine decides otherwise than ever before is no reason to refuse what was
changed; it is a fault to be found. So the run shows what the first try failed of. What a test does by itself,
in `tests/unit`, is never tried again.
"""

from __future__ import annotations

from pathlib import Path

import pytest

_ALONE = str(Path(__file__).parents[1] / "unit")


def pytest_configure(config: pytest.Config) -> None:
    """Whatever is asked for by `--reruns`, units are tried once; and nobody is asked how often they were."""
    excluded = config.option.rerun_exclude_path or []
    config.option.rerun_exclude_path = [*(path for path in excluded if path != _ALONE), _ALONE]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What went wrong at the first try of what was tried again."""
    repeated = terminalreporter.getreports("rerun")
    if repeated:
        terminalreporter.section("tried again: each a fault to be found")
    for report in repeated:
        terminalreporter.write_sep("_", f"{report.nodeid} ({report.when})")
        terminalreporter.write_line(report.longreprtext)
