import asyncio
import sqlite3
import subprocess
import sys
import textwrap
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    bindparam,
    delete,
    func,
    insert,
    literal,
    select,
    update,
)

from shared.store import postgresql, sqlite
from shared.store.failures import (
    DatabaseBusy,
    DatabaseFull,
    DatabaseUnavailable,
    OutcomeUnknown,
    SchemaError,
    UniqueViolation,
)
from shared.store.opening import open_database
from shared.store.schema import store_probe
from shared.store.statements import in_list, insert_or_ignore, like_any
from tests.support.databases import THINGS

METADATA = MetaData()
thing = Table(
    "thing",
    METADATA,
    Column("name", Text, primary_key=True),
    Column("number", BigInteger),
    Column("octets", LargeBinary),
)
part = Table(
    "part",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("thing", Text, ForeignKey("thing.name")),
)

INSERT = insert(thing)
IGNORE = insert_or_ignore(thing)
PARTS = select(part.c.thing)
ALL = select(thing.c.name).order_by(thing.c.name)
VALUES = select(thing.c.name, thing.c.number, thing.c.octets).order_by(thing.c.name)
NUMBER = select(thing.c.number).where(thing.c.name == bindparam("name")).with_for_update()
SET_NUMBER = update(thing).where(thing.c.name == bindparam("which")).values(number=bindparam("number"))
AMONG = select(thing.c.name).where(in_list(thing.c.name, "names")).order_by(thing.c.name)
NUMBERED = select(thing.c.name).where(in_list(thing.c.number, "numbers"))
LIKE = select(thing.c.name).where(like_any(thing.c.name, "patterns")).order_by(thing.c.name)
FIRST = select(thing.c.name).order_by(thing.c.name).limit(bindparam("most", type_=Integer))
REMOVE = delete(thing).where(thing.c.name == bindparam("name"))


@pytest.fixture
async def database(database_place):
    database = await database_place.open(THINGS)
    yield database
    await database.close()


def insertion(*names, number=0):
    async def work(transaction):
        for name in names:
            await transaction.execute(INSERT, name=name, number=number, octets=b"\x00\xff")

    return work


async def names(database):
    return [name for (name,) in await database.fetch(ALL)]


async def test_what_was_written_is_read_back_and_survives_reopening(database_place):
    database = await database_place.open(THINGS)
    await database.write(insertion("a", number=2**40))
    await database.close()

    database = await database_place.open(THINGS)
    assert await database.fetch(select(thing)) == [("a", 2**40, b"\x00\xff")]
    await database.close()


async def test_the_version_tells_of_every_commit_and_of_nothing_else(database, database_place):
    before = database.version()
    await names(database)
    assert database.version() == before
    await database.write(insertion("a"))
    after = database.version()
    if database.dialect == "postgresql":
        assert before is after is None
        return
    assert after != before == before

    await database_place.execute(["INSERT INTO thing (name, number) VALUES ('b', 1)"])
    assert database.version() != after
    assert await names(database) == ["a", "b"]


async def test_write_returns_the_result_of_the_work(database):
    async def work(transaction):
        await transaction.execute(INSERT, name="a", number=1, octets=None)
        return await transaction.fetch(NUMBER, name="a")

    assert await database.write(work) == [(1,)]


async def test_work_that_raises_leaves_nothing_and_its_neighbours_are_kept(database):
    async def failing(transaction):
        await transaction.execute(INSERT, name="lost", number=1, octets=None)
        raise ValueError("refused")

    outcomes = await asyncio.gather(
        database.write(insertion("a")),
        database.write(failing),
        database.write(insertion("b")),
        return_exceptions=True,
    )

    assert isinstance(outcomes[1], ValueError)
    assert await names(database) == ["a", "b"]


async def test_execute_counts_the_rows_it_touched(database):
    await database.write(insertion("a", "b"))

    async def work(transaction):
        return [
            await transaction.execute(SET_NUMBER, which="a", number=5),
            await transaction.execute(SET_NUMBER, which="absent", number=5),
            await transaction.execute(IGNORE, name="a", number=1, octets=None),
            await transaction.execute(IGNORE, name="c", number=1, octets=None),
            await transaction.execute(REMOVE, name="b"),
        ]

    assert await database.write(work) == [1, 0, 0, 1, 1]


@pytest.mark.parametrize("number", [1, 8, 63, 65, 521, 2_700])
async def test_however_many_rows_are_inserted_each_has_its_own_values(database, number):
    rows = [{"name": f"{at:05}", "number": at, "octets": b"%d" % at} for at in range(number)]

    async def work(transaction):
        await transaction.execute_many(INSERT, rows)

    await database.write(work)

    assert await database.fetch(VALUES) == [tuple(row.values()) for row in rows]


async def test_execute_many_carries_out_every_row_and_takes_none(database):
    async def work(transaction):
        await transaction.execute_many(INSERT, [{"name": name, "number": 1, "octets": b""} for name in "abc"])
        await transaction.execute_many(INSERT, [])

    await database.write(work)
    assert await names(database) == ["a", "b", "c"]


async def test_what_is_inserted_into_several_tables_is_there_when_the_work_is_done(database):
    async def work(transaction):
        await transaction.insert(thing, [{"name": "a", "number": None, "octets": b"\x00"}])
        await transaction.insert(thing, [{"name": "b", "number": 2**40, "octets": None}])
        await transaction.insert(store_probe, [{"id": 7, "writes": 0}])
        await transaction.insert(thing, [])

    async def failing(transaction):
        await transaction.insert(thing, [{"name": "lost", "number": 1, "octets": None}])
        raise ValueError("refused")

    await database.write(work)
    with pytest.raises(ValueError, match="refused"):
        await database.write(failing)
    assert await names(database) == ["a", "b"]
    assert await database.fetch(NUMBERED, numbers=[2**40]) == [("b",)]
    assert await database.fetch(select(store_probe.c.id).where(store_probe.c.id == literal(7))) == [(7,)]


async def test_an_insert_of_what_is_there_says_so(database):
    await database.write(insertion("a"))

    async def work(transaction):
        await transaction.insert(thing, [{"name": "a", "number": 1, "octets": None}])

    with pytest.raises(UniqueViolation):
        await database.write(work)


def rows_of(*names):
    return thing, [{"name": name, "number": 1, "octets": None} for name in names]


def parts_of(*names):
    return part, [{"thing": name} for name in names]


async def test_rows_are_inserted_table_after_table_when_something_is_found(database):
    await database.write(insertion("there"))
    batches = (rows_of("a", "b"), rows_of(), parts_of("b", "a"))
    assert await database.insert(batches, when=NUMBER, name="there")
    assert await names(database) == ["a", "b", "there"]
    assert sorted(await database.fetch(PARTS)) == [("a",), ("b",)]


async def test_no_row_is_inserted_when_nothing_is_found(database):
    assert not await database.insert((rows_of("a"), parts_of("a")), when=NUMBER, name="absent")
    assert await names(database) == []


@pytest.mark.parametrize("batches", [(rows_of("new", "there"),), (rows_of("new"), rows_of("there"))])
async def test_no_row_is_inserted_when_one_is_there(database, batches):
    await database.write(insertion("there", number=0))
    assert not await database.insert(batches, when=NUMBER, name="there")
    assert await names(database) == ["there"]
    assert await database.fetch(NUMBER, name="there") == [(0,)]


async def test_of_racing_inserts_one_is_carried_out(database):
    await database.write(insertion("there"))
    racing = [database.insert((rows_of("a"), parts_of("a")), when=NUMBER, name="there") for _ in range(16)]
    assert sorted(await asyncio.gather(*racing)) == [False] * 15 + [True]
    assert await database.fetch(PARTS) == [("a",)]


async def test_an_insert_waits_for_who_holds_what_it_asks_for_and_sees_what_came_of_it(database):
    """While the holder works, on PostgreSQL; on SQLite one follows the other."""
    await database.write(insertion("there"))
    waiting = []

    async def remove(transaction):
        await transaction.fetch(NUMBER, name="there")
        if database.dialect == "postgresql":
            waiting.append(asyncio.ensure_future(database.insert((rows_of("a"),), when=NUMBER, name="there")))
            await asyncio.sleep(0.1)
            assert not waiting[0].done()
        await transaction.execute(REMOVE, name="there")

    await database.write(remove)
    late = database.insert((rows_of("b"),), when=NUMBER, name="there")
    assert await asyncio.gather(*waiting, late) == [False] * (len(waiting) + 1)
    assert await names(database) == []


async def test_a_cancelled_caller_does_not_stop_an_insert(database):
    await database.write(insertion("there"))
    task = asyncio.ensure_future(database.insert((rows_of("a"),), when=NUMBER, name="there"))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    for _ in range(100):
        if "a" in await names(database):
            break
        await asyncio.sleep(0.01)
    assert await names(database) == ["a", "there"]


async def test_a_list_parameter_takes_any_number_of_values(database):
    await database.write(insertion("a", "ü", "c'\"\\"))
    assert await database.fetch(AMONG, names=["ü", "c'\"\\", "x"]) == [("c'\"\\",), ("ü",)]
    assert await database.fetch(AMONG, names=[]) == []
    assert len(await database.fetch(NUMBERED, numbers=[0, 7])) == 3


@pytest.mark.parametrize(
    ("patterns", "found"),
    [
        (["Doe%"], ["Doe^Jane"]),
        (["doe%"], []),
        (["D_e^Jane"], ["Doe^Jane"]),
        (["Doe"], []),
        (["100\\%"], ["100\\x"]),
        (["%ÄRZTE"], ["DIE ÄRZTE"]),
        (["%ärzte"], []),
        (["Doe%", "%ÄRZTE"], ["DIE ÄRZTE", "Doe^Jane"]),
    ],
)
async def test_like_distinguishes_cases_and_knows_no_escape(database, patterns, found):
    await database.write(insertion("Doe^Jane", "100\\x", "DIE ÄRZTE"))
    assert [name for (name,) in await database.fetch(LIKE, patterns=patterns)] == found


async def test_a_missing_parameter_is_named(database):
    with pytest.raises(KeyError, match="names"):
        await database.fetch(AMONG)


async def test_limits_are_parameters(database):
    await database.write(insertion("a", "b", "c"))
    assert await database.fetch(FIRST, most=2) == [("a",), ("b",)]


async def test_a_unique_violation_fails_its_work_alone_and_says_so(database):
    await database.write(insertion("a"))
    outcomes = await asyncio.gather(
        database.write(insertion("b")), database.write(insertion("a")), return_exceptions=True
    )
    assert isinstance(outcomes[1], UniqueViolation)
    assert await names(database) == ["a", "b"]


async def test_racing_work_that_reads_first_decides_on_what_the_winner_wrote(database):
    async def work(transaction):
        found = await transaction.fetch(NUMBER, name="a")
        if found:
            return "taken"
        await transaction.execute(INSERT, name="a", number=1, octets=None)
        return "mine"

    results = await asyncio.gather(*(database.write(work) for _ in range(16)))
    assert sorted(results) == ["mine"] + ["taken"] * 15


async def test_increments_are_not_lost(database):
    await database.write(insertion("a"))

    async def increment(transaction):
        ((number,),) = await transaction.fetch(NUMBER, name="a")
        await transaction.execute(SET_NUMBER, which="a", number=number + 1)

    await asyncio.gather(*(database.write(increment) for _ in range(40)))
    assert await database.fetch(NUMBER, name="a") == [(40,)]


async def test_read_shows_one_snapshot(database):
    await database.write(insertion("a"))

    async def work(transaction):
        before = await transaction.fetch(ALL)
        if database.dialect == "postgresql":
            await database.write(insertion("b"))
        return before, await transaction.fetch(ALL)

    assert await database.read(work) == ([("a",)], [("a",)])


async def test_a_reader_that_fails_leaves_the_database_usable(database):
    async def work(transaction):
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await database.read(work)
    assert await names(database) == []


async def test_a_cancelled_caller_does_not_stop_what_was_taken(database):
    task = asyncio.ensure_future(database.write(insertion("a")))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await database.write(insertion("b"))
    for _ in range(100):
        if await names(database) == ["a", "b"]:
            break
        await asyncio.sleep(0.01)
    assert await names(database) == ["a", "b"]


async def test_readiness_writes_and_reads(database):
    await database.check()
    await database.check()


async def test_closing_finishes_what_was_taken_and_then_refuses(database_place):
    database = await database_place.open(THINGS)
    taken = [asyncio.ensure_future(database.write(insertion(name))) for name in "abc"]
    await asyncio.sleep(0)
    await database.close()
    await asyncio.gather(*taken)
    with pytest.raises(DatabaseUnavailable):
        await database.write(insertion("d"))

    database = await database_place.open(THINGS)
    assert await names(database) == ["a", "b", "c"]
    await database.close()


async def test_foreign_keys_are_enforced(database):
    async def work(transaction):
        await transaction.execute(insert(part).values(thing=bindparam("thing")).inline(), thing="absent")

    with pytest.raises(Exception, match=r"(?i)foreign key"):
        await database.write(work)


# --- SQLite --------------------------------------------------------------------------------------------


@pytest.fixture
async def file(tmp_path):
    database = await open_database(None, folder=tmp_path / "service", migrations=THINGS)
    yield database
    await database.close()


async def test_work_that_awaits_something_else_is_refused(file):
    async def work(transaction):
        await asyncio.sleep(0)

    with pytest.raises(RuntimeError, match="own methods"):
        await file.write(work)
    with pytest.raises(RuntimeError, match="own methods"):
        await file.read(work)
    await file.write(insertion("a"))


async def test_the_file_has_one_owner(file, tmp_path):
    with pytest.raises(DatabaseUnavailable, match="open in another process"):
        await open_database(None, folder=tmp_path / "service", migrations=THINGS)


async def test_the_profile_is_the_durable_one(file):
    assert sqlite.MAX_WAL_PAGES == 7_000
    connection = file._writing()
    value = {
        name: connection.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("journal_mode", "synchronous", "foreign_keys", "mmap_size", "wal_autocheckpoint")
    }
    assert value == {
        "journal_mode": "wal",
        "synchronous": 2,
        "foreign_keys": 1,
        "mmap_size": 0,
        "wal_autocheckpoint": 7_000,
    }
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        file._short._connection.execute("DELETE FROM thing")


async def test_a_full_disk_fails_the_batch_acknowledges_nothing_and_heals(file):
    await file.write(insertion("a"))
    connection = file._writing()
    ((pages,),) = connection.execute("PRAGMA page_count").fetchall()
    connection.execute(f"PRAGMA max_page_count = {pages}").fetchall()

    async def large(transaction):
        await transaction.execute(INSERT, name="large", number=0, octets=b"x" * 1_000_000)

    outcomes = await asyncio.gather(
        file.write(insertion("b")), file.write(large), file.write(insertion("c")), return_exceptions=True
    )
    assert [type(outcome) for outcome in outcomes] == [DatabaseFull] * 3
    assert await names(file) == ["a"]

    # The limit belonged to the connection that was given up; the next batch opens a new one.
    await file.write(insertion("d"))
    assert await names(file) == ["a", "d"]


async def test_idle_checkpoints_move_the_log_into_the_file(tmp_path):
    database = await open_database(None, folder=tmp_path / "service", migrations=THINGS)
    await database.write(insertion("a"))
    before = (tmp_path / "service" / "service.sqlite3").read_bytes()
    for _ in range(100):
        await asyncio.sleep(0.05)
        if (tmp_path / "service" / "service.sqlite3").read_bytes() != before:
            break
    assert b"\x00\xff" in (tmp_path / "service" / "service.sqlite3").read_bytes()
    await database.close()


async def test_a_damaged_file_is_refused_after_an_unclean_stop(tmp_path):
    folder = tmp_path / "service"
    database = await open_database(None, folder=folder, migrations=THINGS)
    await database.write(insertion(*(f"name-{number}" for number in range(2_000))))
    await database.close()
    path = folder / "service.sqlite3"
    octets = bytearray(path.read_bytes())
    octets[8192:12288] = b"\x5a" * 4096
    path.write_bytes(octets)
    (folder / "service.sqlite3.lock").write_bytes(b"open")

    with pytest.raises(SchemaError, match=r"damaged.*restore"):
        await open_database(None, folder=folder, migrations=THINGS)


async def test_what_was_acknowledged_survives_a_kill(tmp_path):
    program = tmp_path / "program.py"
    root = Path(__file__).parents[3]
    program.write_text(
        textwrap.dedent(f"""
        import asyncio, os, sys
        sys.path.insert(0, {str(root)!r})
        from pathlib import Path
        from sqlalchemy import Column, MetaData, Table, Text, insert
        from shared.store.opening import open_database
        put = insert(Table("thing", MetaData(), Column("name", Text, primary_key=True)))

        async def main():
            folder = Path({str(tmp_path / "service")!r})
            database = await open_database(None, folder=folder, migrations={THINGS!r})
            async def one(name):
                async def work(transaction):
                    await transaction.execute(put, name=name)
                await database.write(work)
                print(name, flush=True)
                if name == "60":
                    os.kill(os.getpid(), 9)
            await asyncio.gather(*(one(str(number)) for number in range(200)))

        asyncio.run(main())
        """)
    )
    done = await asyncio.to_thread(
        subprocess.run, [sys.executable, program], capture_output=True, text=True, check=False
    )
    acknowledged = set(done.stdout.split())
    assert done.returncode == -9
    assert "60" in acknowledged

    database = await open_database(None, folder=tmp_path / "service", migrations=THINGS)
    kept = {name for (name,) in await database.fetch(ALL)}
    await database.close()
    assert acknowledged <= kept


# --- PostgreSQL ----------------------------------------------------------------------------------------


async def test_two_services_keep_apart_in_one_postgresql_database(postgres_url, tmp_path):
    first = await open_database(postgres_url, folder=tmp_path, migrations=THINGS, name="apart_one")
    second = await open_database(postgres_url, folder=tmp_path, migrations=THINGS, name="apart_two")
    await first.write(insertion("a"))
    assert await names(second) == []
    await first.close()
    await second.close()


async def test_workers_that_start_together_create_the_schema_once(postgres_url, tmp_path):
    databases = await asyncio.gather(
        *(open_database(postgres_url, folder=tmp_path, migrations=THINGS, name="together") for _ in range(4))
    )
    await databases[0].write(insertion("a"))
    assert await names(databases[3]) == ["a"]
    for database in databases:
        await database.close()


async def test_a_connection_returns_to_the_pool_without_an_open_transaction(postgres_url, tmp_path):
    database = await open_database(postgres_url, folder=tmp_path, migrations=THINGS, name="returns")
    async with database._pool.acquire() as connection:
        await connection.execute("BEGIN")
    await database.write(insertion("a"))
    assert await names(database) == ["a"]
    await database.close()


async def test_a_commit_without_an_answer_is_an_outcome_of_its_own():
    class Connection:
        async def execute(self, text, *, timeout):
            raise asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation")

    with pytest.raises(OutcomeUnknown):
        await postgresql._committed(Connection())


async def test_an_insert_without_an_answer_is_an_outcome_of_its_own(postgres_url, tmp_path):
    database = await open_database(postgres_url, folder=tmp_path, migrations=THINGS, name="unanswered")
    await database.write(insertion("there"))
    async with database._pool.acquire() as holder, holder.transaction():
        await holder.fetch("SELECT FROM thing FOR UPDATE")
        task = asyncio.ensure_future(database.insert((rows_of("a"),), when=NUMBER, name="there"))
        await asyncio.sleep(0.1)
        await holder.fetch(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE pg_backend_pid() = ANY (pg_blocking_pids(pid))"
        )
        with pytest.raises(OutcomeUnknown):
            await task
    assert await names(database) == ["there"]
    await database.close()


async def test_plans_are_kept_outside_transactions_alone(postgres_url, tmp_path):
    mode = select(func.current_setting("plan_cache_mode"))
    for kept, outside in ((True, "force_generic_plan"), (False, "auto")):
        database = await open_database(
            postgres_url, folder=tmp_path, migrations=THINGS, name="plans", plans_kept=kept
        )
        for _ in range(2):
            assert await database.fetch(mode) == [(outside,)]
            for carry_out in (database.read, database.write):
                assert await carry_out(lambda transaction: transaction.fetch(mode)) == [("auto",)]
        await database.close()


async def test_an_unreachable_server_is_named_without_its_password(tmp_path):
    with pytest.raises(DatabaseUnavailable) as refused:
        await open_database(
            "postgresql://user:secret@127.0.0.1:1/things", folder=tmp_path, migrations=THINGS, name="x"
        )
    assert "127.0.0.1" in str(refused.value)
    assert "secret" not in str(refused.value)


async def test_a_pool_without_a_free_connection_is_busy(postgres_url, tmp_path, monkeypatch):
    monkeypatch.setattr(postgresql, "CONNECT_SECONDS", 0.1)
    monkeypatch.setattr(postgresql, "POOL_SIZE", 1)
    database = await open_database(postgres_url, folder=tmp_path, migrations=THINGS, name="crowded")
    async with database._pool.acquire():
        with pytest.raises(DatabaseBusy):
            await names(database)
    assert await names(database) == []
    await database.close()


async def test_a_connection_that_breaks_in_work_commits_nothing(postgres_url, tmp_path):
    database = await open_database(postgres_url, folder=tmp_path, migrations=THINGS, name="breaks")

    async def work(transaction):
        await transaction.execute(INSERT, name="a", number=1, octets=None)
        transaction._connection.terminate()
        await transaction.execute(INSERT, name="b", number=1, octets=None)

    with pytest.raises(DatabaseUnavailable):
        await database.write(work)
    assert await names(database) == []
    await database.close()
