"""The option `--long`: full figures where a test has short ones; and the end of tests that never end."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys
from collections.abc import Generator, Iterator

import pytest
from hypothesis import settings

from shared.http.server import collect_seldom
from tests.support import repeats
from tests.support.databases import make_once
from tests.support.loops import EndingLoopPolicy
from tests.support.memory import work_in_memory
from tests.support.reading import pytest_pycollect_makemodule, pytest_runtestloop
from tests.support.repeats import pytest_terminal_summary
from tests.support.scheduling import pytest_configure_node, pytest_xdist_make_scheduler
from tests.support.timeouts import pytest_timeout_cancel_timer, pytest_timeout_set_timer
from xdsi.stage import offer_ports

__all__ = [
    "pytest_configure_node",
    "pytest_pycollect_makemodule",
    "pytest_runtestloop",
    "pytest_terminal_summary",
    "pytest_timeout_cancel_timer",
    "pytest_timeout_set_timer",
    "pytest_xdist_make_scheduler",
]

# What is compiled once need not be again by each of the hundreds of processes that tests start.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# Ports of tests: of none that is a service's by default, and apart from those that a command started by a
# test takes for itself. Each worker has its own.
_PORTS, _PORTS_OF_A_WORKER = range(12_000, 15_000), 500

work_in_memory()

# A slow machine is no failure: nothing here is asserted about time.
settings.register_profile("short", deadline=None, max_examples=50)
settings.register_profile("long", deadline=None, max_examples=500)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--long",
        action="store_true",
        default=False,
        help="full figures: more kills and examples, larger data",
    )


def pytest_configure(config: pytest.Config) -> None:
    settings.load_profile("long" if config.getoption("--long") else "short")
    repeats.pytest_configure(config)
    make_once()
    asyncio.set_event_loop_policy(EndingLoopPolicy())
    offer_ports(_ports_of(os.environ.get("PYTEST_XDIST_WORKER", "gw0")))
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # As a shell leaves it to what runs in the background; tests interrupt what they started.
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _ports_of(worker: str) -> range:
    slices = range(0, len(_PORTS), _PORTS_OF_A_WORKER)
    first = slices[int(worker.removeprefix("gw")) % len(slices)]
    return _PORTS[first : first + _PORTS_OF_A_WORKER]


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is collected is kept: the collector of garbage would look at it again and again."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


def pytest_collection_finish() -> None:
    """What was collected stays until the end."""
    collect_seldom()


def pytest_sessionfinish() -> None:
    """Those who work for all tests of this process end: a worker that is done has no time for it later."""
    if codecs := sys.modules.get("tests.support.codecs"):
        codecs.CODECS.end()


def pytest_xdist_auto_num_workers() -> int:
    """Twice as many as there are processors: much of the time tests wait, for services and databases
    that are processes of their own, for leases, for what is not to come."""
    return len(os.sched_getaffinity(0)) * 2


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
