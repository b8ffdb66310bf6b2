"""A registry whose PostgreSQL makes trouble: deadlocks, locks that others keep, commits without an answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg
import pytest
from sqlalchemy import Column, MetaData, Table, Text, insert, select

from registry.domain import stored_queries as queries
from shared.ebrim.model import AssociationType, Submission
from shared.store import postgresql
from shared.store.engine import Database, Row, Transaction
from shared.store.failures import DatabaseUnavailable, OutcomeUnknown
from shared.store.opening import open_database
from tests.support.databases import THINGS
from tests.support.metadata import a_document_entry, a_submission, an_association
from tests.support.postgres import fresh_database, postgres_url
from tests.support.postgres_relay import Fault, PostgresRelay, postgres_relay
from tests.support.registry_process import RegistryClient, RegistryProcess, client_of, running_registry

__all__ = ["postgres_url"]

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(600)]

thing = Table("thing", MetaData(), Column("name", Text, primary_key=True))
NAMES = select(thing.c.name)

BUSY = frozenset({"XDSRegistryBusy"})
SUCCESS: frozenset[str] = frozenset()


async def found(client: RegistryClient, submission: Submission) -> int:
    """How many entries the registry shows of the documents of a submission."""
    wanted = [entry.unique_id for entry in submission.document_entries]
    answer = await client.query(queries.GET_DOCUMENTS, {"$XDSDocumentEntryUniqueId": wanted})
    return len(answer.document_entries)


async def insertion(transaction: Transaction) -> None:
    await transaction.execute(insert(thing), name="a")


async def names(transaction: Transaction) -> list[Row]:
    return await transaction.fetch(NAMES)


# --- others that hold what a submission needs -------------------------------------------------------------


@asynccontextmanager
async def connections(url: str, number: int) -> AsyncIterator[list[Any]]:
    """Connections of somebody else to the database of the registry."""
    made = [await asyncpg.connect(url, server_settings={"search_path": "registry"}) for _ in range(number)]
    try:
        yield made
    finally:
        for each in made:
            await each.close()


async def set_for_database(url: str, name: str, value: str) -> None:
    async with connections(url, 1) as [connection]:
        await connection.execute(f'ALTER DATABASE "{urlsplit(url).path[1:]}" SET {name} = {value!r}')


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(30):
        while not await condition():  # noqa: ASYNC110  # locks of a server have no event to wait for
            await asyncio.sleep(0.005)


OBJECT = "SELECT 1 FROM registry_object WHERE entry_uuid = $1 FOR UPDATE"
PATIENT = "SELECT 1 FROM patient WHERE patient_id = $1 FOR UPDATE"
WAITING_FOR = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE $1 = ANY (pg_blocking_pids(pid)))"
IS_WAITING = "SELECT cardinality(pg_blocking_pids($1)) > 0"


class Rival:
    """Makes the registry the victim of one deadlock after the other, by waiting before it does.

    A submission takes its patient, then the objects that it names by their ids. One connection keeps the
    second of two objects and wants the patient; another keeps the first object until both have what they
    want.
    """

    def __init__(self, keeper: Any, gate: Any, watch: Any, submission: Submission) -> None:
        self._keeper, self._gate, self._watch = keeper, gate, watch
        self._patient = submission.submission_set.patient_id
        self._first, self._second = sorted(
            item.target_object
            for item in submission.associations
            if item.association_type == AssociationType.RPLC
        )

    async def begin(self) -> None:
        await self._keeper.execute("BEGIN; SET LOCAL deadlock_timeout = '1h'")
        await self._keeper.fetch(OBJECT, self._second)
        await self._keeper.execute("SAVEPOINT without_the_patient")
        await self._hold_gate()

    async def deadlock(self) -> None:
        """Wait until the registry has its patient, want that too, and let the registry run into it."""
        await eventually(lambda: self._waited_for(self._gate))
        wanted = asyncio.create_task(self._keeper.fetch(PATIENT, self._patient))
        pid = self._keeper.get_server_pid()
        await eventually(lambda: self._watch.fetchval(IS_WAITING, pid))
        await self._gate.execute("ROLLBACK")
        # It waits for ever, unless the registry, which is not done, is made to give the patient back.
        await wanted
        # The registry tries again, and waits for the patient; the gate is closed before it has that.
        await self._hold_gate()
        await self._keeper.execute("ROLLBACK TO without_the_patient")

    async def end(self) -> None:
        await self._gate.execute("ROLLBACK")
        await self._keeper.execute("ROLLBACK")

    async def _hold_gate(self) -> None:
        await self._gate.execute("BEGIN")
        await self._gate.fetch(OBJECT, self._first)

    async def _waited_for(self, connection: Any) -> bool:
        waiting: bool = await self._watch.fetchval(WAITING_FOR, connection.get_server_pid())
        return waiting


def a_replacement_of_both(old: Submission) -> Submission:
    new = [a_document_entry() for _ in old.document_entries]
    return a_submission(
        *new,
        associations=[
            an_association(one.entry_uuid, other.entry_uuid, AssociationType.RPLC)
            for one, other in zip(new, old.document_entries, strict=True)
        ],
    )


@pytest.mark.parametrize(("deadlocks", "answer"), [(1, SUCCESS), (3, SUCCESS), (6, BUSY)])
async def test_a_deadlock_is_tried_again_and_then_busy(
    tmp_path: Path, postgres_url: str, deadlocks: int, answer: frozenset[str]
) -> None:
    url = await fresh_database(postgres_url)
    await set_for_database(url, "deadlock_timeout", "100ms")
    with running_registry(tmp_path, url, patients="any") as registry:
        async with client_of(registry) as client, connections(url, 3) as [keeper, gate, watch]:
            old = a_submission(a_document_entry(), a_document_entry())
            assert await client.register(old) == SUCCESS
            new, message_id = a_replacement_of_both(old), f"urn:uuid:{uuid4()}"
            rival = Rival(keeper, gate, watch, new)
            await rival.begin()
            asked = asyncio.create_task(client.register(new, message_id))
            for _ in range(deadlocks):
                await rival.deadlock()
            await rival.end()

            assert await asked == answer
            assert await found(client, new) == (0 if answer else 2)
            # The same message again: it was carried out once, or is now.
            assert await client.register(new, message_id) == SUCCESS
            assert await found(client, new) == 2


async def test_a_lock_that_is_not_given_in_time_is_busy_and_nothing_was_stored(
    tmp_path: Path, postgres_url: str
) -> None:
    url = await fresh_database(postgres_url)
    await set_for_database(url, "lock_timeout", "100ms")
    with running_registry(tmp_path, url, patients="any") as registry:
        async with client_of(registry) as client, connections(url, 1) as [keeper]:
            old = a_submission(a_document_entry(), a_document_entry())
            assert await client.register(old) == SUCCESS
            new, message_id = a_replacement_of_both(old), f"urn:uuid:{uuid4()}"
            await keeper.execute("BEGIN")
            await keeper.fetch(OBJECT, old.document_entries[0].entry_uuid)
            assert await client.register(new, message_id) == BUSY
            assert await found(client, new) == 0
            # Whoever needs nothing of it is not kept waiting.
            assert await client.register(a_submission()) == SUCCESS
            await keeper.execute("ROLLBACK")
            assert await client.register(new, message_id) == SUCCESS
            assert await found(client, new) == 2


# --- commits and statements without an answer -------------------------------------------------------------


@asynccontextmanager
async def away_from_the_loop(
    registry: AbstractContextManager[RegistryProcess],
) -> AsyncIterator[RegistryProcess]:
    """A registry that starts and stops while the loop, and the relay on it, goes on."""
    started = await asyncio.to_thread(registry.__enter__)
    try:
        yield started
    finally:
        await asyncio.to_thread(registry.__exit__, None, None, None)


@pytest.mark.parametrize("fault", [Fault.LOST, Fault.UNANSWERED])
async def test_a_commit_that_breaks_is_found_out(
    tmp_path: Path, postgres_url: str, fault: Fault, long: bool
) -> None:
    url = await fresh_database(postgres_url)
    async with (
        postgres_relay(url) as relay,
        away_from_the_loop(running_registry(tmp_path, relay.url, patients="any")) as registry,
        client_of(registry) as client,
    ):
        for _ in range(200 if long else 20):
            new = a_submission()
            await _broken_commit(client, relay, fault, new)
            await _broken_commit(client, relay, fault, a_replacement_of_both(new))


async def _broken_commit(
    client: RegistryClient, relay: PostgresRelay, fault: Fault, submission: Submission
) -> None:
    """Of a statement that is a transaction of its own, or of a transaction of several."""
    message_id = f"urn:uuid:{uuid4()}"
    relay.happened.clear()
    relay.fault = fault

    assert await client.register(submission, message_id) == SUCCESS
    assert relay.happened.is_set()
    assert await found(client, submission) == 1
    assert await client.register(submission, message_id) == SUCCESS
    assert await found(client, submission) == 1
    # It was not done twice: as another message it is refused.
    assert "XDSDuplicateUniqueIdInRegistry" in await client.register(submission)


THERE = select(thing.c.name).where(thing.c.name == "there")


async def by_a_transaction(database: Database) -> None:
    await database.write(insertion)


async def by_a_statement(database: Database) -> None:
    assert await database.insert([(thing, [{"name": "a"}])], when=THERE)


@pytest.fixture(params=[by_a_transaction, by_a_statement])
def change(request: pytest.FixtureRequest) -> Callable[[Database], Awaitable[None]]:
    """Either way in which a database is changed."""
    way: Callable[[Database], Awaitable[None]] = request.param
    return way


@asynccontextmanager
async def database_behind(relay: PostgresRelay, folder: Path) -> AsyncIterator[Database]:
    """A database that is reached by a relay, with a thing in it."""
    database = await open_database(relay.url, folder=folder, migrations=THINGS, name="behind")
    await database.write(lambda transaction: transaction.execute(insert(thing), name="there"))
    yield database
    await database.close()


@pytest.mark.parametrize("fault", [Fault.LOST, Fault.UNANSWERED])
async def test_a_change_whose_connection_breaks_is_unknown(
    tmp_path: Path, postgres_url: str, fault: Fault, change: Callable[[Database], Awaitable[None]]
) -> None:
    url = await fresh_database(postgres_url)
    async with (
        postgres_relay(url) as relay,
        asyncio.timeout(60),
        database_behind(relay, tmp_path) as database,
    ):
        relay.fault = fault
        with pytest.raises(OutcomeUnknown):
            await change(database)
        assert relay.happened.is_set()
        assert (("a",) in await database.fetch(NAMES)) == (fault is Fault.UNANSWERED)


async def test_a_commit_whose_answer_never_comes_is_unknown_after_its_time(
    tmp_path: Path,
    postgres_url: str,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Database], Awaitable[None]],
) -> None:
    """The host of the server is gone, and no packet says so; the connection is given up with the outcome."""
    monkeypatch.setattr(postgresql, "COMMIT_SECONDS", 0.2)
    monkeypatch.setattr(postgresql, "STATEMENT_SECONDS", 1)
    monkeypatch.setattr(postgresql, "LATE_SECONDS", 0.1)
    url = await fresh_database(postgres_url)
    async with (
        postgres_relay(url) as relay,
        asyncio.timeout(60),
        database_behind(relay, tmp_path) as database,
    ):
        relay.fault = Fault.SILENT
        with pytest.raises(OutcomeUnknown):
            await change(database)
        assert relay.happened.is_set()
        assert ("a",) in await database.fetch(NAMES)


async def test_a_server_that_falls_silent_keeps_nobody_for_ever_and_is_used_again_when_it_speaks(
    tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgresql, "STATEMENT_SECONDS", 1)
    monkeypatch.setattr(postgresql, "LATE_SECONDS", 0.1)
    monkeypatch.setattr(postgresql, "CONNECT_SECONDS", 1)
    async with postgres_relay(await fresh_database(postgres_url)) as relay, asyncio.timeout(60):
        database = await open_database(relay.url, folder=tmp_path, migrations=THINGS, name="silent")
        # Connections that are open when it happens, one for each call.
        await asyncio.gather(*(database.read(names) for _ in range(3)))
        relay.silent = True
        results = await asyncio.gather(
            database.write(insertion), database.read(names), database.fetch(NAMES), return_exceptions=True
        )
        assert [type(each) for each in results] == [DatabaseUnavailable] * 3
        relay.silent = False
        assert await database.fetch(NAMES) == []
        await database.write(insertion)
        assert await database.read(names) == [("a",)]
        await database.close()
