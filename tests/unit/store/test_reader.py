"""Reading a SQLite file that another connection owns and writes."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, insert, select

from shared.store.engine import Transaction, open_database, open_reader
from shared.store.failures import DatabaseUnavailable

METADATA = MetaData()
NUMBER = Table("number", METADATA, Column("value", Integer, primary_key=True))


async def _insert_one(transaction: Transaction) -> None:
    await transaction.execute(insert(NUMBER).values(value=1))


async def test_a_reader_sees_each_committed_row_at_once_and_goes_on_when_the_owner_comes_again(
    tmp_path: Path,
):
    owner = await open_database(None, folder=tmp_path, metadata=METADATA)
    reader = open_reader(None, folder=tmp_path)
    try:
        before = await reader.fetch(select(NUMBER.c.value))
        await owner.write(_insert_one)
        after = await reader.fetch(select(NUMBER.c.value))
        await owner.close()
        alone = await reader.fetch(select(NUMBER.c.value))
        owner = await open_database(None, folder=tmp_path, metadata=METADATA)
        await reader.check()
    finally:
        await reader.close()
        await owner.close()

    assert (before, after, alone) == ([], [(1,)], [(1,)])


async def test_a_reader_writes_nothing(tmp_path: Path):
    owner = await open_database(None, folder=tmp_path, metadata=METADATA)
    reader = open_reader(None, folder=tmp_path)
    try:
        with pytest.raises(DatabaseUnavailable):
            await reader.write(_insert_one)
        with pytest.raises(DatabaseUnavailable):
            await reader.read(_insert_one)
        assert await owner.fetch(select(NUMBER.c.value)) == []
    finally:
        await reader.close()
        await owner.close()


async def test_a_reader_makes_no_file(tmp_path: Path):
    with pytest.raises(DatabaseUnavailable):
        open_reader(None, folder=tmp_path)

    assert list(tmp_path.iterdir()) == []
