"""The right to a job: one process at a database has it at a time, and another when that one is gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import asyncpg
import pytest

from shared.background import BackgroundWork
from shared.store import advisory_lock
from shared.store.engine import Database
from tests.support.databases import THINGS, DatabasePlace, database_place, postgres_url

__all__ = ["database_place", "postgres_url"]

Opened = Callable[[], Awaitable[Database]]


@pytest.fixture(autouse=True)
def _asked_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(advisory_lock, "AGAIN_SECONDS", 0.01)


@pytest.fixture
async def opened(postgres_url: str, tmp_path) -> AsyncIterator[Opened]:
    """Opens the same PostgreSQL database as one more process does."""
    place = DatabasePlace(url=postgres_url, folder=tmp_path, name="test_sole")
    async with AsyncExitStack() as stack:

        async def one() -> Database:
            database = await place.open(THINGS)
            stack.push_async_callback(database.close)
            return database

        yield one


async def until_held(sole) -> None:
    async with asyncio.timeout(10):
        while not await sole.held():  # noqa: ASYNC110  # there is no event for it
            await asyncio.sleep(0.01)


async def test_who_is_alone_at_a_database_has_every_right(database_place: DatabasePlace):
    database = await database_place.open(THINGS)
    try:
        one, other = database.sole("one"), database.sole("other")
        assert [await sole.held() for sole in (one, other, one)] == [True, True, True]
    finally:
        await database.close()


async def test_one_of_many_has_it_and_keeps_it(opened: Opened):
    soles = [(await opened()).sole("job") for _ in range(4)]

    turns = [await asyncio.gather(*(sole.held() for sole in soles)) for _ in range(5)]

    assert [turn.count(True) for turn in turns] == [1] * 5
    assert len({turn.index(True) for turn in turns}) == 1


async def test_jobs_and_services_do_not_take_each_others_rights(opened: Opened, postgres_url: str, tmp_path):
    one, other = await opened(), await opened()
    elsewhere = await DatabasePlace(url=postgres_url, folder=tmp_path, name="test_other").open(THINGS)
    try:
        assert await one.sole("job").held()
        assert await other.sole("another job").held()
        assert await elsewhere.sole("job").held()
    finally:
        await elsewhere.close()


async def test_it_goes_to_another_when_its_holder_closes(opened: Opened):
    first, second = await opened(), await opened()
    waiting = second.sole("job")
    assert await first.sole("job").held()
    assert not await waiting.held()

    await first.close()

    await until_held(waiting)


async def test_who_has_lost_the_way_to_the_server_has_lost_it(opened: Opened, postgres_url: str):
    first, second = await opened(), await opened()
    ours, theirs = first.sole("job"), second.sole("job")
    assert await ours.held()
    server = await asyncpg.connect(postgres_url)
    try:
        await server.execute("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'")
    finally:
        await server.close()

    await until_held(theirs)
    assert not await ours.held()


async def test_a_question_that_was_cut_off_leaves_no_right_behind(opened: Opened):
    first, second = await opened(), await opened()
    for _ in range(20):
        asked = asyncio.create_task(first.sole("job").held())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)

    await until_held(second.sole("job"))


async def test_a_turn_is_taken_by_the_one_that_has_the_right(opened: Opened):
    turns = []
    works = []
    for number in range(3):
        database = await opened()

        async def turn(number: int = number) -> None:
            turns.append(number)

        works.append(BackgroundWork("job", turn, rest_seconds=0.01, sole=database.sole("job")))
    for work in works:
        work.start()
    async with asyncio.timeout(10):
        while len(turns) < 20:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    for work in works:
        await work.stop()

    assert len(set(turns)) == 1
