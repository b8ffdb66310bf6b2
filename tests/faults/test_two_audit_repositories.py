"""Two audit repositories: each has every record, however the other and the service itself do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlalchemy import MetaData, func, select

from audit_repository.app import AuditRepository, build
from audit_repository.settings import AuditRepositorySettings
from audit_repository.store.tables import audit_record
from shared.audit import delivery, forwarder, resending
from shared.audit.forwarder import Forwarder
from shared.audit.outbox import COPIES, DatabaseOutbox, audit_outbox, insert_events
from shared.audit.recorder import AuditRecorder, message
from shared.audit.set_aside import SetAside
from shared.http.application import application
from shared.http.health import health_routes
from shared.settings import AuditSettings, SettingsError
from shared.store.engine import Database
from shared.telemetry.metrics import Metrics
from tests.support.audit import SOURCE, TestingSettings, an_event
from tests.support.databases import THINGS, DatabasePlace, database_place, postgres_url
from tests.support.metadata import a_submission
from tests.support.registry_process import RegistryProcess, client_of
from xdsi.set_aside import sent_again
from xdsi.stage import free_ports

__all__ = ["database_place", "postgres_url"]

pytestmark = pytest.mark.peer


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "LONGEST_PAUSE", 0.2)
    monkeypatch.setattr(delivery, "STEADY_SECONDS", 0.5)
    monkeypatch.setattr(forwarder, "MEASURE_SECONDS", 0.05)


@asynccontextmanager
async def running(folder: Path, port: int) -> AsyncIterator[AuditRepository]:
    service = await build(AuditRepositorySettings(data=folder, port=0, syslog_port=port))
    await service.start()
    try:
        yield service
    finally:
        await service.stop()


async def numbers(repository: AuditRepository) -> list[int]:
    """Those of our records in a trail, in their order."""
    rows = await repository.trail.database.fetch(select_raw())
    texts = [
        bytes(raw).partition(b"<EventOutcomeDescription>number ")[2].partition(b"<")[0] for (raw,) in rows
    ]
    return [int(text) for text in texts if text]


def select_raw() -> Any:
    return select(audit_record.c.raw).order_by(audit_record.c.sequence)


async def until(holds: Any, seconds: float = 30) -> None:
    async with asyncio.timeout(seconds):
        while not await holds():  # noqa: ASYNC110  # another service's doing
            await asyncio.sleep(0.02)


async def has(repository: AuditRepository, count: int) -> None:
    async def holds() -> bool:
        return sorted(set(await numbers(repository))) == list(range(count))

    await until(holds)


def settings_of(folder: Path, *ports: int, **audit: Any) -> TestingSettings:
    url = ",".join(f"tcp://127.0.0.1:{port}" for port in ports)
    return TestingSettings(data=folder, audit=AuditSettings(url=url, **audit))


def event(number: int) -> Any:
    return an_event(outcome_description=f"number {number}")


async def put(database: Database, recorder: AuditRecorder, numbered: range) -> None:
    """Events with changes, in the outbox of a service with a database."""

    async def work(transaction: Any) -> None:
        await insert_events(transaction, list(map(event, numbered)), recorder)

    await database.write(work)


async def waiting(database: Database) -> dict[str, int]:
    """How many rows wait, by their table."""
    counts = {}
    metadata = MetaData()
    audit_outbox(metadata)
    for name, table in metadata.tables.items():
        counts[name] = (await database.fetch(select(func.count()).select_from(table)))[0][0]
    return counts


async def test_each_repository_has_what_waits_on_disk_and_in_the_database_whatever_the_other_does(
    database_place: DatabasePlace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(delivery, "KEPT_SECONDS", 0.0)
    one, other = free_ports(2)
    settings = settings_of(tmp_path, one, other, unsent_seconds=0.5)
    database = await database_place.open(THINGS)
    recorder = AuditRecorder(settings, "testing")
    sender = Forwarder(settings, recorder, DatabaseOutbox(database, audit_outbox(MetaData())))
    app = application(health_routes({}, Metrics("testing"), trail=sender))
    http = httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://service")
    await sender.start()
    try:
        async with running(tmp_path / "one", one) as first:
            await recorder.record(list(map(event, range(30))))
            await put(database, recorder, range(30, 60))
            # The other one is away, and keeps this one waiting for nothing.
            await has(first, 60)
            await until(lambda: is_told(http, f"127.0.0.1:{other}", besides=f"127.0.0.1:{one}"))

            async with running(tmp_path / "other", other) as second:
                await has(second, 60)
                await recorder.record([event(60)])
                await put(database, recorder, range(61, 62))
                await has(first, 62)
                await has(second, 62)

                async def is_empty() -> bool:
                    return set((await waiting(database)).values()) == {0} and recorder.spool.waiting == 0

                await until(is_empty)

                async def is_ready() -> bool:
                    return (await http.get("/health/ready")).status_code == 200

                await until(is_ready)
    finally:
        await sender.stop(0)
        await recorder.close()
        await database.close()


async def is_told(http: httpx2.AsyncClient, away: str, *, besides: str) -> bool:
    """Whether readiness and metrics tell of the one that is away, and of that one alone."""
    page = (await http.get("/health/ready")).json()
    reason = page.get("reasons", {}).get("audit trail", "")
    ages = {
        line.partition('destination="')[2].partition('"')[0]: float(line.rpartition(" ")[2])
        for line in (await http.get("/metrics")).text.splitlines()
        if line.startswith("xdsi_audit_destination_unsent_seconds{")
    }
    told = page["details"]["audit trail"]["destinations"]
    return (
        away in reason
        and besides not in reason
        and ages[away] > 0.5
        and ages[besides] == 0.0
        and told[besides]["oldest_unsent_seconds"] == 0.0
    )


async def test_what_waits_for_a_repository_survives_the_service(
    database_place: DatabasePlace, tmp_path: Path
):
    """Each service ends without a word; the next one finds on disk and in the database what it left."""
    one, other, third = free_ports(3)

    @asynccontextmanager
    async def service(*ports: int) -> AsyncIterator[tuple[AuditRecorder, Database]]:
        settings = settings_of(tmp_path, *ports)
        database = await database_place.open(THINGS)
        recorder = AuditRecorder(settings, "testing")
        sender = Forwarder(settings, recorder, DatabaseOutbox(database, audit_outbox(MetaData())))
        await sender.start()
        try:
            yield recorder, database
        finally:
            await sender.stop(0)
            await recorder.close()
            await database.close()

    async with running(tmp_path / "one", one) as first:
        async with service(one, other) as (recorder, database):
            await recorder.record([event(0)])
            await put(database, recorder, range(1, 10))
            await has(first, 10)
            assert (await waiting(database))[COPIES] >= 9
        # In the place of the other comes a third; then it is alone.
        async with service(one, third) as (recorder, database), running(tmp_path / "third", third) as last:
            await put(database, recorder, range(10, 12))
            await has(last, 12)
            await has(first, 12)
    async with service(one, other) as (recorder, database):
        await put(database, recorder, range(12, 14))

        async def is_copied() -> bool:
            return not (await waiting(database))["audit_outbox"]

        await until(is_copied)
    async with service(third) as (recorder, database), running(tmp_path / "third", third) as last:
        await put(database, recorder, range(14, 15))
        await has(last, 15)


async def test_a_registry_that_is_killed_owes_each_repository_what_it_owed_before(
    tmp_path: Path, request: pytest.FixtureRequest
):
    one, other = free_ports(2)
    audit = {"url": [f"tcp://127.0.0.1:{one}", f"tcp://127.0.0.1:{other}"]}
    registry = RegistryProcess(tmp_path, audit=audit, patients="any")
    rounds = 10 if request.config.getoption("--long") else 2
    registered: set[str] = set()

    async def told_of(repository: AuditRepository) -> set[str]:
        rows = await repository.trail.database.fetch(select_raw())
        raw = b"".join(bytes(octets) for (octets,) in rows)
        return {uid for uid in registered if uid.encode() in raw}

    registry.start()
    try:
        for number in range(rounds):
            async with running(tmp_path / "one", one) as first, client_of(registry) as client:
                for _ in range(5):
                    submission = a_submission()
                    assert await client.register(submission) == frozenset()
                    registered.add(submission.submission_set.unique_id)
                if number % 2:

                    async def all_there() -> bool:
                        return await told_of(first) == registered

                    await until(all_there)
            await asyncio.to_thread(registry.kill_and_start)
        async with running(tmp_path / "one", one) as first, running(tmp_path / "other", other) as second:

            async def both() -> bool:
                return await told_of(first) == await told_of(second) == registered

            await until(both)
    finally:
        registry.process.kill()


async def test_what_one_did_not_take_is_sent_again_to_that_one_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(resending, "REST_SECONDS", 0.3)
    one, other = free_ports(2)
    for number, port in enumerate((one, other)):
        SetAside(tmp_path / "registry" / "audit-set-aside" / f"127.0.0.1:{port}").keep(
            message(event(number), SOURCE)
        )
    async with running(tmp_path / "one", one) as first, running(tmp_path / "other", other) as second:
        resent = await sent_again(settings_of(tmp_path, one, other))
        assert (await numbers(first), await numbers(second)) == ([0], [1])

    assert (len(resent.taken), resent.refused) == (2, [])


@pytest.mark.parametrize(
    ("given", "urls"),
    [
        ("tls://a:6514,tls://b", ("tls://a:6514", "tls://b")),
        (" tls://a , tls://b:1 ", ("tls://a", "tls://b:1")),
        ('["tls://a:6514", "tls://b:6514"]', ("tls://a:6514", "tls://b:6514")),
        ("tls://a", ("tls://a",)),
        ("tls://a,", ("tls://a",)),
    ],
)
def test_several_are_named_by_commas_or_as_a_list(given: str, urls: tuple[str, ...]):
    assert TestingSettings.load(environ={"XDSI_AUDIT__URL": given}).audit_urls == urls


@pytest.mark.parametrize("given", ["tls://a,tls://a:6514", "tls://a,http://b", ","])
def test_what_is_no_list_of_repositories_is_told(given: str):
    with pytest.raises(SettingsError, match=r"XDSI_AUDIT__URL: .*write tls://"):
        TestingSettings.load(environ={"XDSI_AUDIT__URL": given})
