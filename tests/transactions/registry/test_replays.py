"""Retries are answered as before for some days; what was kept for them goes then, little by little."""

import asyncio
from dataclasses import replace

import pytest
from sqlalchemy import func, insert, select

from registry.background.janitor import Janitor
from registry.store import replays
from registry.store.submissions import find_or_keep_answer
from registry.store.tables import feed_message, submission
from registry.transactions.iti8 import FeedReceiver
from shared.errors import Rejected
from shared.security.caller import Node
from shared.security.rights import Rights
from shared.store.failures import DatabaseUnavailable
from tests.support.metadata import OTHER_PATIENT, PATIENT, a_submission
from tests.support.registry import Registry, codes, is_success
from tests.support.waiting import until
from xdsi.patient import message as adt

DAY = 86_400.0
OLD, YOUNG = "2024-03-01T10:00:00+00:00", "2100-01-01T00:00:00+00:00"


async def forget(registry):
    return await Janitor(registry.parts).forget()


async def count(registry, table):
    ((number,),) = await registry.parts.database.fetch(select(func.count()).select_from(table))
    return number


async def keep(registry, rows):
    async def work(transaction):
        await transaction.execute_many(
            insert(submission),
            [
                {"message_id": name, "digest": digest, "response": b"<answer/>", "created": created}
                for name, digest, created in rows
            ],
        )

    await registry.parts.database.write(work)


async def test_a_retry_within_the_days_is_answered_as_before_and_a_later_one_is_new(registry):
    sent = a_submission()
    assert is_success(await registry.register(sent, message_id="urn:uuid:1"))

    assert await forget(registry.at_later(6.9 * DAY)) == 0
    assert is_success(await registry.register(sent, message_id="urn:uuid:1"))

    assert await forget(registry.at_later(7.1 * DAY)) == 1
    with pytest.raises(Rejected) as refusal:
        await registry.register(sent, message_id="urn:uuid:1")
    assert "XDSDuplicateUniqueIdInRegistry" in codes(refusal.value)


async def test_the_same_holds_for_the_feed(registry):
    feed = FeedReceiver(registry.parts, "registry.hub.example", Rights(registry.parts.settings))
    merge = adt("A40", patient=PATIENT, prior=OTHER_PATIENT)
    first = await feed.acknowledge(merge, Node(address="127.0.0.1"))
    assert b"\rMSA|AA|" in first

    assert await forget(registry.at_later(6.9 * DAY)) == 0
    assert await feed.acknowledge(merge, Node(address="127.0.0.1")) == first

    assert await forget(registry.at_later(7.1 * DAY)) == 1
    assert b"\rMSA|AE|" in await feed.acknowledge(merge, Node(address="127.0.0.1"))
    assert await count(registry, feed_message) == 0


async def test_how_many_days_is_a_setting(registry):
    shorter = registry.parts.settings.model_copy(update={"replay_days": 0.5})
    await registry.register(a_submission(), message_id="urn:uuid:1")
    later = Registry(replace(registry.at_later(0.6 * DAY).parts, settings=shorter))

    assert await forget(later) == 1


async def test_only_what_is_old_goes_wherever_it_stands_in_small_portions(registry, monkeypatch):
    monkeypatch.setattr(replays, "PORTION", 10)
    monkeypatch.setattr("registry.background.janitor.PAUSE_SECONDS", 0)
    # One MessageID with many contents, over the borders of portions; then young ones alone; then both.
    rows = [("urn:uuid:a", f"{number:03}", OLD if number % 3 else YOUNG) for number in range(45)]
    rows += [(f"urn:uuid:b{number:03}", "1", YOUNG) for number in range(25)]
    rows += [(f"urn:uuid:c{number:03}", "1", YOUNG if number % 3 else OLD) for number in range(45)]
    await keep(registry, rows)
    deleted = []

    class Watched:
        def sole(self, job):
            return registry.parts.database.sole(job)

        async def fetch(self, *arguments, **parameters):
            return await registry.parts.database.fetch(*arguments, **parameters)

        async def write(self, work):
            deleted.append(await registry.parts.database.write(work))
            return deleted[-1]

    old = sum(created == OLD for _, _, created in rows)
    assert await forget(Registry(replace(registry.parts, database=Watched()))) == old
    left = await registry.parts.database.fetch(select(submission.c.message_id, submission.c.digest))
    assert sorted(left) == sorted((name, digest) for name, digest, created in rows if created == YOUNG)
    assert sum(deleted) == old
    assert max(deleted) <= 10
    assert 0 not in deleted  # the writer is not asked for nothing


async def test_the_janitor_begins_with_the_service_and_goes_on_after_a_failure(registry, monkeypatch):
    monkeypatch.setattr("registry.background.janitor.ROUND_SECONDS", 0.01)
    await keep(registry, [("urn:uuid:1", "1", OLD), ("urn:uuid:2", "1", YOUNG)])
    failures, rounds = [DatabaseUnavailable("gone")], []

    class Once:
        def sole(self, job):
            return registry.parts.database.sole(job)

        async def fetch(self, *arguments, **parameters):
            if failures:
                raise failures.pop()
            return await registry.parts.database.fetch(*arguments, **parameters)

        async def write(self, work):
            rounds.append(await registry.parts.database.write(work))
            return rounds[-1]

    janitor = Janitor(replace(registry.parts, database=Once()))
    await janitor.start()
    await until(lambda: rounds == [1])
    await janitor.stop()
    assert await count(registry, submission) == 1


async def test_an_answer_that_is_forgotten_while_its_retry_is_looked_at_makes_the_retry_new(registry):
    """Between the two statements of a retry the janitor may come; with one writer it cannot."""
    if registry.parts.database.dialect == "sqlite":
        pytest.skip("one writer")
    await keep(registry, [("urn:uuid:1", "1", OLD)])
    forgotten = asyncio.Event()

    class Interrupted:
        def __init__(self, transaction):
            self.transaction = transaction

        async def execute(self, *arguments, **parameters):
            return await self.transaction.execute(*arguments, **parameters)

        async def fetch(self, *arguments, **parameters):
            if not forgotten.is_set():
                assert await forget(registry) == 1
                forgotten.set()
            return await self.transaction.fetch(*arguments, **parameters)

    async def work(transaction):
        return await find_or_keep_answer(
            Interrupted(transaction), message_id="urn:uuid:1", digest="1", response=b"<new/>", created=YOUNG
        )

    assert await registry.parts.database.write(work) is None
    assert forgotten.is_set()
    kept = await registry.parts.database.fetch(select(submission.c.response))
    assert [bytes(response) for (response,) in kept] == [b"<new/>"]
