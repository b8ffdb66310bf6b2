"""A test that takes too long fails, wherever it waits.

pytest-timeout ends a test by a signal, which a loop of uvloop that waits does not pass on. So a thread looks
a little later whether that helped, and then cancels what the loops are waiting for; and when that does not
help either, ends the worker.
"""

from __future__ import annotations

import asyncio
import gc
import threading
from typing import Any

import pytest
import pytest_timeout

CANCELLED_AFTER, ENDED_AFTER = 2.0, 60.0
_TIMER: pytest.StashKey[tuple[threading.Timer, threading.Event]] = pytest.StashKey()


def pytest_timeout_set_timer(item: pytest.Item, settings: Any) -> None:
    """Look after the test, beside the signal."""
    ended = threading.Event()
    timer = threading.Timer(settings.timeout + CANCELLED_AFTER, _overdue, (item, settings, ended))
    item.stash[_TIMER] = timer, ended
    timer.daemon = True
    timer.start()


def pytest_timeout_cancel_timer(item: pytest.Item) -> None:
    """It has ended."""
    if item.stash.get(_TIMER, None) is not None:
        timer, ended = item.stash[_TIMER]
        timer.cancel()
        ended.set()


def _overdue(item: pytest.Item, settings: Any, ended: threading.Event) -> None:
    _cancel_everything()
    if not ended.wait(ENDED_AFTER - CANCELLED_AFTER):
        pytest_timeout.timeout_timer(item, settings)


def _cancel_everything() -> None:
    for one in gc.get_objects():
        if issubclass(type(one), asyncio.AbstractEventLoop) and one.is_running():
            one.call_soon_threadsafe(_cancel_tasks, one)


def _cancel_tasks(loop: asyncio.AbstractEventLoop) -> None:
    for task in asyncio.all_tasks(loop):
        task.cancel("the test took too long")
