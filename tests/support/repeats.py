"""Tests among processes and sockets are tried again once by `make test`, and said to have been.

Which of a thousand races a busy machine decides otherwise than ever before is no reason to refuse what was
changed; it is a fault to be found. So the run shows what the first try failed of. What a test does by itself,
in `tests/unit`, is never tried again.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

_ALONE = Path(__file__).parents[1] / "unit"


def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    """Whatever is asked for by `--reruns`, units are tried once."""
    for item in items:
        if item.path.is_relative_to(_ALONE):
            item.add_marker(pytest.mark.flaky(reruns=0))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What went wrong at the first try of what was tried again."""
    repeated = terminalreporter.getreports("rerun")
    if repeated:
        terminalreporter.section("tried again: each a fault to be found")
    for report in repeated:
        terminalreporter.write_sep("_", f"{report.nodeid} ({report.when})")
        terminalreporter.write_line(report.longreprtext)
