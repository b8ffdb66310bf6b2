"""The option `--long`: full figures where a test has short ones."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--long", action="store_true", default=False, help="full figures: more kills, larger documents"
    )


@pytest.fixture(scope="session")
def long(request: pytest.FixtureRequest) -> bool:
    """Whether full figures are asked for."""
    return bool(request.config.getoption("--long"))
