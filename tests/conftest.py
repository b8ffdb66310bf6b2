"""The option `--long`: full figures where a test has short ones; and the end of tests that never end."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.support.timeouts import pytest_timeout_cancel_timer, pytest_timeout_set_timer

__all__ = ["pytest_timeout_cancel_timer", "pytest_timeout_set_timer"]

# What is compiled once need not be again by each of the hundreds of processes that tests start.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# A slow machine is no failure: nothing here is asserted about time.
settings.register_profile("xdsi", deadline=None)
settings.load_profile("xdsi")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--long", action="store_true", default=False, help="full figures: more kills, larger documents"
    )


@pytest.fixture(autouse=True)
def logs_end_with_their_test() -> Iterator[None]:
    """What a command configured in this process would write to a stream that was closed with its test."""
    yield
    root = logging.getLogger()
    root.handlers = [each for each in root.handlers if type(each) is not logging.StreamHandler]


@pytest.fixture(scope="session")
def long(request: pytest.FixtureRequest) -> bool:
    """Whether full figures are asked for."""
    return bool(request.config.getoption("--long"))
