"""Work beside the requests goes on, whatever happens to it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import httpx2
import pytest

from shared import background
from shared.background import BackgroundWork
from shared.http.application import application
from shared.http.health import health_routes
from shared.store.failures import DatabaseUnavailable
from shared.telemetry.metrics import Metrics
from tests.support.waiting import until


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(background, "SHORTEST_PAUSE", 0.001)
    monkeypatch.setattr(background, "LONGEST_PAUSE", 0.004)


@asynccontextmanager
async def running(work: BackgroundWork) -> AsyncIterator[BackgroundWork]:
    work.start()
    try:
        yield work
    finally:
        await work.stop()


def failing(*errors: BaseException) -> tuple[list[int], Callable]:
    """A turn that raises each of `errors` once, and what it has done since."""
    left, done = list(errors), []

    async def turn() -> None:
        if left:
            raise left.pop(0)
        done.append(1)

    return done, turn


@pytest.mark.parametrize(
    "errors",
    [
        [DatabaseUnavailable("away")],
        [OSError("gone")] * 3,
        [ValueError("a mistake of ours"), TimeoutError(), KeyError("x")],
        [asyncio.CancelledError()],
        [ExceptionGroup("several", [ValueError()])],
    ],
    ids=lambda errors: type(errors[0]).__name__,
)
async def test_work_that_failed_begins_again_and_says_so_no_more(errors):
    done, turn = failing(*errors)
    async with running(BackgroundWork("janitor", turn, rest_seconds=60)) as work:
        await until(lambda: done == [1])
        assert work.trouble() == ""
        assert work.failing_seconds == 0.0
        assert work.failures == len(errors)


async def test_work_that_fails_says_what_and_since_when_until_it_works():
    away = True

    async def turn() -> None:
        if away:
            raise DatabaseUnavailable("patient 12345 cannot be read")

    async with running(BackgroundWork("janitor", turn, rest_seconds=60)) as work:
        await until(lambda: work.failures > 3)
        since = work.trouble()
        assert re.search(
            r"failed since \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ: the database cannot be reached", since
        )
        assert "12345" not in since
        assert work.failing_seconds > 0
        await until(lambda: work.failures > 6)
        assert work.trouble() == since
        away = False
        await until(lambda: not work.trouble())


async def test_a_turn_that_lasts_counts_as_one_that_works(monkeypatch):
    monkeypatch.setattr(background, "STEADY_SECONDS", 0.01)
    begun = []

    async def turn() -> None:
        begun.append(1)
        if len(begun) == 1:
            raise OSError
        await asyncio.Event().wait()

    async with running(BackgroundWork("forwarder", turn)) as work:
        await until(lambda: len(begun) == 2 and not work.trouble())


async def test_work_that_is_woken_does_not_rest():
    done, turn = failing()
    async with running(BackgroundWork("publisher", turn, rest_seconds=3600)) as work:
        await until(lambda: done == [1])
        work.wake()
        await until(lambda: done == [1, 1])


async def test_work_that_was_stopped_does_nothing_more():
    done, turn = failing(OSError())
    work = BackgroundWork("publisher", turn)
    await work.stop()
    async with running(work):
        await until(lambda: bool(done))
    number = len(done)
    await asyncio.sleep(0.01)
    assert len(done) == number
    assert work.trouble() == "it does not run; restart the service"


async def test_readiness_and_metrics_name_the_work_that_fails():
    _, sound = failing()
    _, broken = failing(*[DatabaseUnavailable("away")] * 10_000)
    metrics = Metrics("registry")
    works = (BackgroundWork("janitor", broken), BackgroundWork("audit delivery", sound, rest_seconds=60))
    app = application(health_routes({}, metrics, background=works))
    async with (
        running(works[0]),
        running(works[1]),
        httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://test") as client,
    ):
        await until(lambda: works[0].failures > 1)
        ready = await client.get("/health/ready")
        shown = (await client.get("/metrics")).text

    assert ready.status_code == 503
    assert list(ready.json()["reasons"]) == ["janitor"]
    assert "the database cannot be reached" in ready.json()["reasons"]["janitor"]
    assert re.search(r'xdsi_background_failures_total\{work="janitor"\} [2-9]', shown)
    assert 'xdsi_background_failures_total{work="audit delivery"} 0.0' in shown
    assert not re.search(r'xdsi_background_failing_seconds\{work="janitor"\} 0\.0\n', shown)
