"""What one process knows of sign-ins the others know: attempts by password, and challenges of passkeys."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from identity.store import challenges, lockout
from identity.store.challenges import Challenges
from identity.store.lockout import OF_ONE_NAME, OF_ONE_NODE, SECONDS, Lockout, open_name
from identity.store.tables import MIGRATIONS
from shared.pages.browser import Browser
from shared.store.engine import Database
from tests.support.databases import DatabasePlace

BROWSER = Browser(number="b-1", is_new=False, over_tls=True, site="identity")


@asynccontextmanager
async def two_processes(place: DatabasePlace) -> AsyncIterator[tuple[Database, Database]]:
    """The database as each of two processes has it; an embedded file is of one, in which two services are."""
    async with AsyncExitStack() as stack:
        first = await place.open(MIGRATIONS)
        stack.push_async_callback(first.close)
        second = first
        if place.url is not None:
            second = await place.open(MIGRATIONS)
            stack.push_async_callback(second.close)
        yield first, second


async def test_a_name_is_locked_at_every_process_for_a_quarter_of_an_hour(database_place: DatabasePlace):
    now = [1_000_000.0]
    async with two_processes(database_place) as databases:
        one, other = (Lockout(each, lambda: now[0]) for each in databases)
        admitted = [await each.admits("dr.roe", "a") for each in (one, other) * (OF_ONE_NAME // 2)]
        locked = [await each.admits("dr.roe", "b") for each in (one, other)]
        somebody_else = await other.admits("dr.doe", "a")
        now[0] += SECONDS + 1
        later = await one.admits("dr.roe", "b")

    assert admitted == [True] * OF_ONE_NAME
    assert locked == [False, False]
    assert somebody_else
    assert later


async def test_many_attempts_at_once_are_no_more_than_one_after_the_other(database_place: DatabasePlace):
    async with two_processes(database_place) as databases:
        one, other = map(Lockout, databases)
        turns = (each.admits("dr.roe", "a") for each in (one, other) * OF_ONE_NAME)
        admitted = await asyncio.gather(*turns)

    assert sum(admitted) == OF_ONE_NAME


async def test_a_node_that_tries_many_names_is_locked_at_every_process(database_place: DatabasePlace):
    async with two_processes(database_place) as databases:
        one, other = map(Lockout, databases)
        for number in range(OF_ONE_NODE):
            assert await one.admits(f"name{number}", "a")
        answers = [await other.admits("dr.roe", node) for node in ("a", "b")]

    assert answers == [False, True]


async def test_who_signs_in_begins_anew_and_costs_the_node_nothing(database_place: DatabasePlace):
    async with two_processes(database_place) as databases:
        one, other = map(Lockout, databases)
        for _ in range(OF_ONE_NODE + 1):
            assert await one.admits("dr.roe", "a")
            await other.succeeded("dr.roe", "a")
        for _ in range(OF_ONE_NAME):
            await one.admits("dr.doe", "b")
        await databases[1].write(lambda transaction: open_name(transaction, "dr.doe"))
        opened = await one.admits("dr.doe", "c")

    assert opened


async def test_names_and_numbers_of_browsers_are_kept_as_digests(database_place: DatabasePlace):
    async with two_processes(database_place) as (database, _):
        lock = Lockout(database)
        await lock.admits("dr.roe", "node-a")
        await Challenges(database).give(BROWSER)
        attempts = await database.fetch(lockout.attempt.select())
        given = await database.fetch(challenges.challenges.select())

    kept = str([[*row] for row in (*attempts, *given)])
    assert len(attempts) == 2
    assert not any(secret in kept for secret in ("dr.roe", "node-a", BROWSER.number + "'"))


async def test_a_challenge_is_taken_once_at_whichever_process(database_place: DatabasePlace):
    async with two_processes(database_place) as databases:
        one, other = map(Challenges, databases)
        first = await one.give(BROWSER)
        given = await one.give(BROWSER)
        taken = await asyncio.gather(*(each.take(BROWSER) for each in (one, other) * 3))

    assert taken.count(given) == 1
    assert first not in taken


async def test_a_challenge_is_over_after_minutes_and_a_restart_keeps_it(database_place: DatabasePlace):
    now = [1_000_000.0]
    async with two_processes(database_place) as (one, _):
        given = await Challenges(one, lambda: now[0]).give(BROWSER)
    async with two_processes(database_place) as (one, _):
        kept = Challenges(one, lambda: now[0])
        assert await kept.take(BROWSER) == given
        late = await kept.give(BROWSER)
        now[0] += challenges.SECONDS
        assert await kept.take(BROWSER) != late
