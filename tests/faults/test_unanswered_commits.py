"""What a registry whose PostgreSQL fails over tells: an outcome, or that nothing was done; and when neither
is known, that."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import httpx2
import pytest
from sqlalchemy import func, select

from registry.domain import stored_queries as queries
from registry.store.patients import find_patient
from registry.store.tables import audit_outbox
from registry.transactions import SERVED_REST, iti61, iti62
from registry.transactions.iti8 import FeedReceiver
from registry.unit import Unit
from shared.ebrim.model import AssociationType, DocumentEntry
from shared.errors import Busy, OutcomeNotKnown
from shared.messages.iti42 import RegisterRequest
from shared.messages.iti44 import Interaction
from shared.messages.iti62 import RemoveMetadataRequest
from shared.security.caller import Node
from shared.security.rights import Rights
from shared.store import settling
from tests.support.databases import DatabasePlace
from tests.support.metadata import DOMAIN, PATIENT, a_document_entry, a_submission, an_association
from tests.support.postgres import fresh_database, postgres_url
from tests.support.postgres_relay import Cut, Fault, PostgresRelay, Side, error_response, postgres_relay
from tests.support.registry import REPOSITORY, Registry, is_success, open_parts
from tests.support.repository_rig import Rig, Sent, a_rig
from tests.support.rest import rest_app
from tests.support.updates import a_version, an_update, new_version, update, versions_of
from tests.transactions.registry.test_iti44 import a_message, ours, send
from tests.transactions.registry.test_iti61 import on_demand
from xdsi.patient import message as adt

__all__ = ["postgres_url"]

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(300)]


@dataclass
class Change:
    """One change that a message asks for: `ask` raises unless it succeeded; `times` says how often it is
    done."""

    ask: Callable[[], Awaitable[None]]
    times: Callable[[], Awaitable[int]]


Make = Callable[[Registry], Awaitable[Change]]


async def entries(registry: Registry, *wanted: DocumentEntry) -> int:
    found = await registry.query(
        queries.GET_DOCUMENTS, {"$XDSDocumentEntryUniqueId": [entry.unique_id for entry in wanted]}
    )
    return len(found.document_entries)


def an_id() -> str:
    return f"urn:uuid:{uuid4()}"


async def a_registration(registry: Registry) -> Change:
    """ITI-42 as one statement."""
    entry, message_id = a_document_entry(), an_id()
    submission = a_submission(entry)

    async def ask() -> None:
        assert is_success(await registry.register(submission, message_id=message_id))

    return Change(ask, lambda: entries(registry, entry))


async def a_replacement(registry: Registry) -> Change:
    """ITI-42 as a transaction of several statements."""
    old, new, message_id = a_document_entry(), a_document_entry(), an_id()
    await registry.register(a_submission(old))
    joined = an_association(new.entry_uuid, old.entry_uuid, AssociationType.RPLC)
    submission = a_submission(new, associations=[joined])

    async def ask() -> None:
        assert is_success(await registry.register(submission, message_id=message_id))

    return Change(ask, lambda: entries(registry, new))


async def an_on_demand_entry(registry: Registry) -> Change:
    """ITI-61."""
    entry, message_id = on_demand(), an_id()
    request = RegisterRequest.of(a_submission(entry))

    async def ask() -> None:
        assert is_success(await registry.perform(iti61.SERVED, request, message_id=message_id))

    return Change(ask, lambda: entries(registry, entry))


async def a_new_version(registry: Registry) -> Change:
    """ITI-57."""
    entry, message_id = a_document_entry(), an_id()
    await registry.register(a_submission(entry))
    submission = an_update(a_version(new_version(entry, title="second")))

    async def ask() -> None:
        assert is_success(await update(registry, submission, message_id=message_id))

    async def times() -> int:
        return len(await versions_of(registry, entry)) - 1

    return Change(ask, times)


async def a_removal(registry: Registry) -> Change:
    """ITI-62."""
    entry, message_id = a_document_entry(), an_id()
    submission = a_submission(entry)
    await registry.register(submission)
    things = (submission.submission_set, entry, *submission.associations)
    request = RemoveMetadataRequest(ids=tuple(thing.entry_uuid for thing in things))

    async def ask() -> None:
        assert is_success(
            await registry.perform(iti62.SERVED, request, caller=REPOSITORY, message_id=message_id)
        )

    async def times() -> int:
        return 1 - await entries(registry, entry)

    return Change(ask, times)


async def is_merged(registry: Registry, patient_id: str) -> int:
    patient = await find_patient(registry.parts.database, patient_id)
    return int(patient is not None and not patient.active)


async def a_merge(registry: Registry) -> Change:
    """ITI-8, A40."""
    prior = f"{uuid4().hex}^^^&{DOMAIN}&ISO"
    await registry.add_patient(prior)
    octets = adt("A40", patient=PATIENT, prior=prior)
    feed = FeedReceiver(registry.parts, "registry.example", Rights(registry.parts.settings))

    async def ask() -> None:
        answer = await feed.acknowledge(octets, Node(address="127.0.0.1"))
        if b"MSA|AA" in answer:
            return
        assert b"internal" not in answer
        raise OutcomeNotKnown("told") if b"outcome is not known" in answer else Busy("told")

    return Change(ask, lambda: is_merged(registry, prior))


async def a_merge_in_v3(registry: Registry) -> Change:
    """ITI-44."""
    prior = f"{uuid4().hex}^^^&{DOMAIN}&ISO"
    await registry.add_patient(prior)
    request = a_message(Interaction.MERGE, ours(PATIENT), prior=[ours(prior)], number=uuid4().hex)

    async def ask() -> None:
        answer = await send(registry, request)
        for error in answer.errors:
            raise OutcomeNotKnown("told") if "outcome is not known" in error.context else Busy("told")

    return Change(ask, lambda: is_merged(registry, prior))


async def a_policy(registry: Registry) -> Change:
    """A consent policy that is set."""
    policy_id = an_id()
    parts = registry.parts
    app = rest_app(SERVED_REST, unit=partial(Unit, parts), recorder=parts.recorder, settings=parts.settings)

    async def post(action: str, **content: Any) -> httpx2.Response:
        transport = httpx2.ASGITransport(app, client=("127.0.0.1", 1))
        async with httpx2.AsyncClient(
            transport=transport, base_url="http://127.0.0.1:8010", trust_env=False
        ) as http:
            return await http.post(f"/consent/{action}", json=content)

    async def ask() -> None:
        answer = await post("set", patient_id=PATIENT, effect="deny", policy_id=policy_id)
        if answer.status_code == 503:
            known = "outcome is not known" not in answer.text
            raise Busy("told") if known else OutcomeNotKnown("told")
        assert answer.status_code == 200, answer.text

    async def times() -> int:
        found = (await post("policies", patient_id=PATIENT)).json()
        return sum(each["policy_id"] == policy_id for each in found["policies"])

    return Change(ask, times)


MAKERS: list[Make] = [
    a_registration,
    a_replacement,
    an_on_demand_entry,
    a_new_version,
    a_removal,
    a_merge,
    a_merge_in_v3,
    a_policy,
]


@pytest.fixture(params=MAKERS, ids=lambda make: make.__name__)
def make(request: pytest.FixtureRequest) -> Make:
    made: Make = request.param
    return made


@asynccontextmanager
async def behind_relay(
    folder: Path, cluster: str, options: str = ""
) -> AsyncIterator[tuple[Registry, PostgresRelay]]:
    """A registry whose database is reached by a relay."""
    async with postgres_relay(await fresh_database(cluster)) as relay, asyncio.timeout(240):
        place = DatabasePlace(url=relay.url + options, folder=folder / "database", name="registry")
        registry = Registry(await open_parts(place))
        await registry.add_patient(PATIENT)
        yield registry, relay
        relay.refusal, relay.silent, relay.fault = None, False, None
        await registry.parts.recorder.close()
        await registry.parts.database.close()


async def events(registry: Registry) -> int:
    [(number,)] = await registry.parts.database.fetch(select(func.count()).select_from(audit_outbox))
    return int(number)


@pytest.mark.parametrize("fault", [Fault.LOST, Fault.UNANSWERED])
async def test_a_commit_that_was_not_answered_is_found_out_and_done_once(
    tmp_path: Path, postgres_url: str, make: Make, fault: Fault
) -> None:
    async with behind_relay(tmp_path, postgres_url) as (registry, relay):
        change = await make(registry)
        recorded = await events(registry)
        relay.fault = fault

        await change.ask()

        assert relay.happened.is_set()
        assert await change.times() == 1
        recorded_once = await events(registry) - recorded
        await change.ask()
        assert await change.times() == 1
        # It is recorded as often as it was asked for, not as often as it was tried.
        assert await events(registry) - recorded == 2 * recorded_once or make in (a_removal, a_policy)


@pytest.mark.parametrize("side", Side)
async def test_a_connection_may_break_at_any_place_and_the_change_is_done_once(
    tmp_path: Path, postgres_url: str, make: Make, side: Side, long: bool
) -> None:
    async with behind_relay(tmp_path, postgres_url) as (registry, relay):
        for number in range(1, 100, 1 if long else 4):
            change = await make(registry)
            relay.cut = cut = Cut(side, number)
            await change.ask()
            relay.cut = None
            assert await change.times() == 1, number
            if not cut.happened:
                break
            await change.ask()
            assert await change.times() == 1, number
        assert 1 < number < 96


async def test_while_nobody_can_say_whether_it_was_done_it_is_not_told_as_not_done(
    tmp_path: Path, postgres_url: str, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settling, "SETTLE_SECONDS", 0.2)
    async with behind_relay(tmp_path, postgres_url) as (registry, relay):
        change = await make(registry)
        relay.fault = Fault.UNANSWERED
        relay.refusal = b""
        with pytest.raises(OutcomeNotKnown):
            await change.ask()
        with pytest.raises(Busy):
            await change.ask()

        relay.refusal = None
        await change.ask()
        assert await change.times() == 1


STATES = {
    "57P01": "terminated by an administrator",
    "57P02": "another process crashed",
    "57P03": "starting up, or shutting down",
    "53300": "too many connections",
    "08006": "a proxy lost its server",
    "28000": "no entry for this host yet",
    "3D000": "the database is not there yet",
    "XX000": "internal error",
}


@pytest.mark.parametrize("sqlstate", STATES)
async def test_a_server_that_is_not_ready_is_not_now_and_used_again_when_it_is(
    tmp_path: Path, postgres_url: str, sqlstate: str
) -> None:
    async with behind_relay(tmp_path, postgres_url) as (registry, relay):
        change = await a_replacement(registry)
        relay.refusal = error_response(sqlstate)
        relay.break_all()
        with pytest.raises(Busy, match="nothing was done"):
            await change.ask()
        with pytest.raises(Busy, match="nothing was done"):
            await registry.query(queries.GET_DOCUMENTS, {"$XDSDocumentEntryUniqueId": ["1.2"]})

        relay.refusal = None
        await change.ask()
        assert await change.times() == 1


@pytest.mark.parametrize("last_words", [error_response("57P01"), error_response("25P03"), b"?garbage\0\0\0"])
@pytest.mark.parametrize("number", [1, 2, 3])
async def test_a_pooled_connection_that_ends_is_replaced_by_another(
    tmp_path: Path, postgres_url: str, make: Make, last_words: bytes, number: int
) -> None:
    async with behind_relay(tmp_path, postgres_url) as (registry, relay):
        change = await make(registry)
        relay.cut = Cut(Side.ANSWERS, number, last_words)
        await change.ask()
        assert await change.times() == 1


async def test_connections_that_broke_in_the_pool_cost_nobody_an_answer(
    tmp_path: Path, postgres_url: str
) -> None:
    async with behind_relay(tmp_path, postgres_url) as (registry, relay):
        wanted = {"$XDSDocumentEntryUniqueId": ["1.2"]}
        for _ in range(3):
            await asyncio.gather(*(registry.query(queries.GET_DOCUMENTS, wanted) for _ in range(16)))
            relay.break_all()
        await asyncio.gather(*(registry.register(a_submission()) for _ in range(16)))


@asynccontextmanager
async def read_only(cluster: str, relay: PostgresRelay) -> AsyncIterator[None]:
    """While it lasts, new connections find a server that takes no changes, as one before its promotion."""
    name = relay.url.rpartition("/")[2].partition("?")[0]
    connection = await asyncpg.connect(cluster)
    try:
        await connection.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
        relay.break_all()
        await asyncio.sleep(0.05)  # for the driver to see the ends of its connections
        yield
        await connection.execute(f'ALTER DATABASE "{name}" RESET default_transaction_read_only')
    finally:
        await connection.close()


@pytest.mark.parametrize("options", ["", "?target_session_attrs=any"])
async def test_a_server_that_takes_no_changes_yet_is_not_now(
    tmp_path: Path, postgres_url: str, make: Make, options: str
) -> None:
    async with behind_relay(tmp_path, postgres_url, options) as (registry, relay):
        change = await make(registry)
        async with read_only(postgres_url, relay):
            with pytest.raises(Busy):
                await change.ask()
        # Nobody waits for a restart: the connections to it are given up.
        await change.ask()
        assert await change.times() == 1


async def test_a_server_that_may_be_behind_is_not_asked(tmp_path: Path, postgres_url: str) -> None:
    async with behind_relay(tmp_path, postgres_url) as (registry, relay), read_only(postgres_url, relay):
        with pytest.raises(Busy):
            await registry.query(queries.GET_DOCUMENTS, {"$XDSDocumentEntryUniqueId": ["1.2"]})


# --- through the repository --------------------------------------------------------------------------------


async def provided_once(rig: Rig, sent: Sent) -> None:
    """A message has Success in the end, each time it comes, and its document is there, once."""
    for _ in range(2):
        async with asyncio.timeout(60):
            while sent.codes or not sent.acknowledged:
                await asyncio.sleep(0.1)
                await rig.provide(again=sent)
        await rig.provide(again=sent)
        assert sent.codes == ()
    assert await rig.entries([sent.unique_id]) == [sent.unique_id]
    assert await rig.retrieve(sent.unique_id) == sent.octets


@pytest.mark.parametrize("fault", Fault)
@pytest.mark.parametrize("whose", ["REGISTRY", "REPOSITORY"])
async def test_a_document_is_provided_once_whichever_commit_was_not_answered(
    tmp_path: Path, postgres_url: str, whose: str, fault: Fault, long: bool
) -> None:
    if fault is Fault.SILENT and whose == "REPOSITORY" and not long:
        pytest.skip("it takes as long as a COMMIT may")
    async with (
        postgres_relay(await fresh_database(postgres_url)) as relay,
        a_rig(tmp_path, **{f"XDSI_{whose}__DATABASE_URL": relay.url}) as rig,
    ):
        assert await rig.start()
        relay.fault = fault
        sent = await rig.provide(seconds=60)
        # Told as it is: done, or not known.
        assert sent.codes in ((), ("XDSRegistryNotAvailable",))
        assert relay.happened.is_set()
        if not sent.codes:
            assert await rig.retrieve(sent.unique_id) == sent.octets
        await provided_once(rig, sent)


@pytest.mark.parametrize("side", Side)
@pytest.mark.parametrize("whose", ["REGISTRY", "REPOSITORY"])
async def test_a_document_is_provided_once_wherever_a_connection_broke(
    tmp_path: Path, postgres_url: str, whose: str, side: Side, long: bool
) -> None:
    async with (
        postgres_relay(await fresh_database(postgres_url)) as relay,
        a_rig(tmp_path, **{f"XDSI_{whose}__DATABASE_URL": relay.url}) as rig,
    ):
        assert await rig.start()
        for number in range(1, 40, 1 if long else 4):
            relay.cut = Cut(side, number)
            sent = await rig.provide()
            relay.cut = None
            # Done, not known, or not done.
            told = ((), ("XDSRegistryNotAvailable",), ("XDSRepositoryBusy",))
            assert sent.codes in told, (number, sent.codes)
            await provided_once(rig, sent)


async def test_a_registry_that_cannot_say_whether_it_registered_leaves_no_entry_without_document(
    tmp_path: Path, postgres_url: str
) -> None:
    """The server goes away with the answer, and stays away for longer than anybody waits."""
    async with (
        postgres_relay(await fresh_database(postgres_url)) as relay,
        a_rig(tmp_path, XDSI_REGISTRY__DATABASE_URL=relay.url) as rig,
    ):
        assert await rig.start()
        relay.fault, relay.refusal = Fault.UNANSWERED, error_response("57P03")
        sent = await rig.provide(seconds=60)
        assert sent.codes == ("XDSRegistryNotAvailable",)
        relay.refusal = None
        await rig.settled()
        await provided_once(rig, sent)
