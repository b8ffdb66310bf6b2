"""Reading a SQLite file: on the loop while it is short, in a thread when it is long."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, bindparam, func, insert, literal, select

from shared.store import sqlite
from shared.store.engine import Database, Row, Transaction
from shared.store.failures import DatabaseBusy
from shared.store.opening import open_database
from tests.support.databases import THINGS

NUMBER = Table("number", MetaData(), Column("value", Integer, primary_key=True))


_COUNTING = select(literal(1).label("n")).cte("counting", recursive=True)
_COUNTING = _COUNTING.union_all(
    select(_COUNTING.c.n + 1).where(_COUNTING.c.n < bindparam("most", type_=Integer))
)
COUNT = select(func.count()).select_from(_COUNTING)
LONG = 2_000_000


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = await open_database(None, folder=tmp_path, migrations=THINGS)
    yield database
    await database.close()


@pytest.fixture
def in_threads(database: Database, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the threads in which reads were done, beside the loop's."""
    names: list[str] = []
    read = sqlite._LongReads._read

    def noted(self: sqlite._LongReads, *arguments: Any) -> Any:
        names.append(threading.current_thread().name)
        return read(self, *arguments)

    monkeypatch.setattr(sqlite._LongReads, "_read", noted)
    return names


async def test_a_long_read_keeps_nobody_waiting(database: Database, in_threads: list[str]):
    turns = 0
    reading = asyncio.ensure_future(database.fetch(COUNT, most=LONG))
    while not reading.done():
        await asyncio.sleep(0)
        turns += 1
    assert await reading == [(LONG,)]
    assert turns > 100
    assert len(in_threads) == 1


async def test_short_reads_stay_on_the_loop_however_many_they_are(database: Database, in_threads: list[str]):
    for _ in range(3_000):
        assert await database.fetch(COUNT, most=20) == [(20,)]
    # A stolen turn of the machine may make one of them long.
    assert len(in_threads) < 30


async def test_long_work_sees_one_moment_in_a_thread_as_well(database: Database, in_threads: list[str]):
    async def work(transaction: Transaction) -> tuple[list[Row], list[Row]]:
        before = await transaction.fetch(select(NUMBER.c.value))
        await transaction.fetch(COUNT, most=LONG)
        return before, await transaction.fetch(select(NUMBER.c.value))

    reading = asyncio.ensure_future(database.read(work))
    while not in_threads:  # noqa: ASYNC110  # a thread has begun
        await asyncio.sleep(0)
    for value in range(1, 20):
        await database.write(
            lambda transaction, value=value: transaction.execute(insert(NUMBER), value=value)
        )
    before, after = await reading
    assert before == after
    assert len(await database.fetch(select(NUMBER.c.value))) == 19


async def test_a_read_without_an_end_is_given_up(database: Database, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sqlite, "READ_SECONDS", 0.05)
    with pytest.raises(DatabaseBusy, match="took longer"):
        await database.fetch(COUNT, most=10**12)
    assert await database.fetch(COUNT, most=3) == [(3,)]


async def test_failures_of_long_reads_are_those_of_short_ones(
    database: Database, in_threads: list[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sqlite, "LOOP_SECONDS", -1)

    async def mistaken(transaction: Transaction) -> None:
        await transaction.fetch(COUNT, most=LONG)
        raise LookupError

    with pytest.raises(LookupError):
        await database.read(mistaken)
    assert in_threads
