"""A registry of several workers on PostgreSQL, as processes on sockets: it cannot be told from one of one."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import pytest
from lxml import etree

from registry.domain.stored_queries import FIND_DOCUMENTS, GET_DOCUMENTS
from shared.audit import segments
from shared.faults import SoapFault
from shared.http.client import http_client
from shared.security.peer_certificate import fingerprint_of
from shared.settings import TlsSettings
from shared.soap.client import PeerUnclear, PeerUnreachable, SoapClient
from shared.telemetry.trace import one_trace, trace_id
from tests.support.certificates import assertion_for, communities
from tests.support.forked import run
from tests.support.metadata import PATIENT, a_document_entry, a_submission
from tests.support.postgres import fresh_database, postgres_url
from tests.support.registry_process import RegistryClient, RegistryProcess, fed, running_registry
from tests.support.trail import Told, told
from tests.support.waiting import until
from xdsi.patient import message
from xdsi.stage import free_ports

__all__ = ["postgres_url"]

pytestmark = pytest.mark.peer

CONNECTIONS = 12
OPEN: dict[str, Any] = {"patients": "any", "consent": {"default": "permit"}}
LOST = (PeerUnclear, PeerUnreachable)


# --- the registry and its clients -----------------------------------------------------------------------


def worker_pids(registry: RegistryProcess) -> dict[int, int]:
    """The processes of the workers, by number."""
    parent = registry.process.pid
    found = {}
    for child in Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
        words = _command(int(child))
        if "--worker" in words:
            found[int(words[words.index("--worker") + 1])] = int(child)
    return found


def _command(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
    except OSError:
        return []


def alive(pid: int) -> bool:
    """Whether the process runs; one that ended and was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@contextmanager
def workers(folder: Path, url: str, number: int = 2, **changes: Any) -> Iterator[RegistryProcess]:
    """A registry of so many workers, without TLS."""
    with running_registry(folder, url, workers=number, **(OPEN | changes)) as registry:
        assert sorted(worker_pids(registry)) == (list(range(number)) if number > 1 else [])
        yield registry


@contextmanager
def guarded(folder: Path, url: str, number: int) -> Iterator[RegistryProcess]:
    """The same with mutual TLS and user assertions, asked by the other community's node."""
    north, south = communities()
    theirs = fingerprint_of(south.node.certificate)
    tls = {"certificate": north.node.certificate, "key": north.node.key, "trust": north.trust}
    issuers = {north.issuer: str(north.provider.certificate)}
    registry = RegistryProcess(
        folder,
        url,
        workers=number,
        tls={name: str(path) for name, path in tls.items()},
        assertion={"issuers": issuers},
        rights={"ask": [theirs], "submit": [theirs]},
        **OPEN,
    )
    registry.base = registry.base.replace("http:", "https:")
    registry.url = registry.url.replace("http:", "https:")
    try:
        registry.start()
        yield registry
    finally:
        registry.process.terminate()
        assert registry.process.wait_stopped() == 0, registry.process.last_words()


def south_tls() -> TlsSettings:
    """The node that asks."""
    _, south = communities()
    return TlsSettings(certificate=south.node.certificate, key=south.node.key, trust=south.trust)


@asynccontextmanager
async def clients(
    registry: RegistryProcess,
    number: int = CONNECTIONS,
    *,
    tls: TlsSettings | None = None,
    assertion: bytes | None = None,
) -> AsyncIterator[list[RegistryClient]]:
    """Clients on as many connections, so many that each worker has some."""
    async with AsyncExitStack() as stack:
        found = []
        for _ in range(number):
            http = await stack.enter_async_context(
                http_client(tls or TlsSettings(), peers=(registry.base,), timeout_seconds=20)
            )
            # The connection is made at once, and kept.
            await http.get(f"{registry.base}/health/live")
            found.append(RegistryClient(SoapClient(http, assertion=lambda: assertion), registry.url))
        yield found


async def finds(client: RegistryClient, entry_uuid: str) -> bool:
    found = await client.query(GET_DOCUMENTS, {"$XDSDocumentEntryEntryUUID": [entry_uuid]})
    return [entry.entry_uuid for entry in found.document_entries] == [entry_uuid]


def spooled(registry: RegistryProcess, worker: int) -> list[Told]:
    """The events in a worker's spool."""
    folder = registry_folder(registry) / ("audit" if worker == 0 else f"audit-{worker}")
    found = []
    for path in sorted(folder.glob("*.*")):
        if path.stem.isdecimal():
            frames = segments.read(path, 0, path.stat().st_size, most=100_000, most_bytes=1 << 30)
            found += [_told(frame.octets) for frame in frames]
    return found


async def outbox(url: str) -> list[Told]:
    """The events that were committed with changes."""
    connection = await asyncpg.connect(url)
    try:
        return [_told(row[0]) for row in await connection.fetch("SELECT octets FROM registry.audit_outbox")]
    finally:
        await connection.close()


def registry_folder(registry: RegistryProcess) -> Path:
    return registry.process.log.parent / "data" / "registry"


def _told(octets: bytes) -> Told:
    return told(etree.fromstring(octets[octets.index(b"<AuditMessage") :]))


def anonymous(events: Sequence[Told], registry: RegistryProcess) -> Counter[str]:
    """Events without what differs between any two runs: process, port and the names of objects."""
    port = registry.base.rsplit(":", 1)[1]
    return Counter(
        repr(
            replace(
                event,
                parties=tuple(replace(party, process="") for party in event.parties),
                objects=frozenset(),
            )
        ).replace(f":{port}/", ":PORT/")
        for event in events
        if "110100" not in event.event
    )


@pytest.fixture
async def database_url(postgres_url: str) -> str:
    return await fresh_database(postgres_url)


@pytest.fixture(scope="module")
def probes() -> int:
    """The port for probes of `two`."""
    (port,) = free_ports(1)
    return port


@pytest.fixture(scope="module")
def two(
    tmp_path_factory: pytest.TempPathFactory, postgres_url: str, probes: int
) -> Iterator[RegistryProcess]:
    """One registry of two workers, for tests that look at what they add to it."""
    url = asyncio.run(fresh_database(postgres_url))
    with workers(tmp_path_factory.mktemp("two"), url, health_port=probes) as registry:
        yield registry


# --- the same answers ------------------------------------------------------------------------------------


async def test_what_one_connection_registered_every_connection_finds_at_once(two: RegistryProcess):
    def queries() -> list[int]:
        return [sum("ITI-18" in event.types for event in spooled(two, worker)) for worker in (0, 1)]

    earlier = queries()
    async with clients(two) as asking:
        for client in asking:
            entry = a_document_entry()
            assert await client.register(a_submission(entry)) == frozenset()
            assert all([await finds(each, entry.entry_uuid) for each in asking])
        by_worker = [now - before for now, before in zip(queries(), earlier, strict=True)]

    assert sum(by_worker) == CONNECTIONS**2
    assert min(by_worker) > 0, "one worker has answered nothing, so that this test has shown nothing"


async def test_a_request_is_one_line_whichever_worker_has_the_connection(tmp_path: Path, database_url: str):
    with workers(tmp_path, database_url) as registry, one_trace():
        trace = trace_id()
        async with clients(registry) as asking:
            for client in asking:
                await client.register(a_submission(a_document_entry()))
    lines = [json.loads(line) for line in registry.log.splitlines() if line.startswith("{")]
    registered = [line for line in lines if line.get("transaction") == "ITI-42"]
    assert len(registered) == CONNECTIONS
    told = [line for line in lines if line["event"] == "answered" and line["trace_id"] == trace]
    assert told == registered
    assert {line["outcome"] for line in told} == {"success"}


async def test_the_feed_is_taken_by_every_worker_and_known_to_all_at_once(tmp_path: Path, database_url: str):
    with workers(tmp_path, database_url, patients="known") as registry:
        async with clients(registry) as asking:
            for number, client in enumerate(asking):
                patient = PATIENT.replace(PATIENT.partition("^")[0], f"fed{number}")
                acknowledged = await fed(registry, message("A04", patient=patient))
                assert b"MSA|AA" in acknowledged
                entry = a_document_entry(patient_id=patient)
                assert await client.register(a_submission(entry)) == frozenset()


async def test_a_policy_that_was_set_holds_at_every_connection_at_once(two: RegistryProcess):
    patient = PATIENT.replace(PATIENT.partition("^")[0], "denied")
    entry = a_document_entry(patient_id=patient)
    async with clients(two) as asking, http_client(TlsSettings(), peers=(two.base,)) as http:
        await asking[0].register(a_submission(entry))
        before = [await finds(client, entry.entry_uuid) for client in asking]
        answer = await http.post(f"{two.base}/consent/set", json={"patient_id": patient, "effect": "deny"})
        after = [await finds(client, entry.entry_uuid) for client in asking]

    assert answer.status_code == 200
    assert before == [True] * CONNECTIONS
    assert after == [False] * CONNECTIONS


async def test_the_counts_shown_by_any_worker_are_those_of_all(two: RegistryProcess):
    queries, registrations = await counted(two, "ITI-18"), await counted(two, "ITI-42")
    async with clients(two) as asking:
        for client in asking:
            await client.register(a_submission())
            await client.query(GET_DOCUMENTS, {"$XDSDocumentEntryEntryUUID": ["urn:uuid:none"]})
    before = [await counted(two, "ITI-18") for _ in range(CONNECTIONS)]
    registered = await counted(two, "ITI-42")
    os.kill(worker_pids(two)[1], signal.SIGKILL)
    await all_again(two)
    after = [await counted(two, "ITI-18") for _ in range(CONNECTIONS)]

    assert set(before) == set(after) == {queries + CONNECTIONS}
    assert registered == registrations + CONNECTIONS


async def test_every_worker_answers_at_the_port_for_probes(two: RegistryProcess, probes: int):
    for number in worker_pids(two):
        # The other one is still there.
        pid = worker_pids(two)[number]
        os.kill(pid, signal.SIGKILL)
        await until(lambda pid=pid: not alive(pid))
        assert (await probed(f"http://127.0.0.1:{probes}/health/live"))["status"] == "live"
        await all_again(two)


async def probed(url: str) -> Any:
    """The answer to a probe. The first may break: the kernel closes what a killed process listened on when
    it is dead already."""
    for attempt in range(2):
        async with http_client(TlsSettings(), peers=(url,)) as http:
            try:
                return (await http.get(url)).json()
            except httpx2.ReadError:
                assert attempt == 0
                await asyncio.sleep(0.5)
    return None


async def counted(registry: RegistryProcess, transaction: str) -> float:
    async with http_client(TlsSettings(), peers=(registry.base,)) as http:
        text = (await http.get(f"{registry.base}/metrics")).text
    pattern = rf'xdsi_transactions_total{{outcome="success",transaction="{transaction}"}} (\S+)'
    values = re.findall(pattern, text)
    assert len(values) <= 1
    return sum(map(float, values))


async def all_again(registry: RegistryProcess, without: Sequence[int] = ()) -> None:
    """Wait until all workers run and accept: every one of many new connections is answered as ready."""
    deadline = time.monotonic() + 30
    while True:
        assert time.monotonic() < deadline, registry.log[-2000:]
        await asyncio.sleep(0.1)
        if len(worker_pids(registry)) == 2:
            try:
                if all([await _ready(registry) for _ in range(CONNECTIONS)]) and listeners(registry) == 2:
                    return
            except OSError:
                continue


def listeners(registry: RegistryProcess) -> int:
    """Sockets that accept at the registry's port."""
    port = int(registry.base.rsplit(":", 1)[1])
    rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(row[1].endswith(f":{port:04X}") and row[3] == "0A" for row in rows)


async def _ready(registry: RegistryProcess) -> bool:
    async with http_client(TlsSettings(), peers=(registry.base,), timeout_seconds=5) as http:
        try:
            return (await http.get(f"{registry.base}/health/ready")).status_code == 200
        except Exception as error:
            raise OSError from error


# --- the same trail --------------------------------------------------------------------------------------


async def trail_of(folder: Path, url: str, number: int) -> Counter[str]:
    """What a registry of so many workers records of the same exchanges over mutual TLS."""
    assertion = assertion_for("Dr. Roe")
    with guarded(folder, url, number) as registry:
        async with clients(registry, tls=south_tls(), assertion=assertion) as asking:
            for client in asking:
                assert await client.register(a_submission()) == frozenset()
                await client.query(
                    FIND_DOCUMENTS,
                    {"$XDSDocumentEntryPatientId": PATIENT, "$XDSDocumentEntryStatus": [_APPROVED]},
                )
        # Once: of further refusals in a minute each worker keeps the number alone.
        async with clients(registry, 1, tls=south_tls()) as [stranger]:
            with pytest.raises(SoapFault):
                await stranger.query(GET_DOCUMENTS, {"$XDSDocumentEntryEntryUUID": ["urn:uuid:none"]})
        events = await outbox(url) + [event for each in range(number) for event in spooled(registry, each)]
        return anonymous(events, registry)


_APPROVED = "urn:oasis:names:tc:ebxml-regrep:StatusType:Approved"


async def test_the_trail_is_that_of_one_worker(tmp_path: Path, postgres_url: str):
    alone = await trail_of(tmp_path / "1", await fresh_database(postgres_url), 1)
    together = await trail_of(tmp_path / "2", await fresh_database(postgres_url), 2)

    assert alone.total() == 2 * CONNECTIONS + 1
    assert together == alone


async def test_an_assertion_for_one_use_is_used_once_whichever_worker_sees_it(
    tmp_path: Path, database_url: str
):
    assertion = assertion_for("Dr. Roe", one_time_use=True)
    north, _ = communities()
    issuers = {"issuers": {north.issuer: str(north.provider.certificate)}}
    with workers(tmp_path, database_url, assertion=issuers) as registry:
        async with clients(registry, assertion=assertion) as asking:
            answers = await asyncio.gather(
                *(finds(client, "urn:uuid:00000000-0000-4000-8000-000000000000") for client in asking),
                return_exceptions=True,
            )

    assert answers.count(False) == 1
    assert sum(isinstance(answer, SoapFault) for answer in answers) == CONNECTIONS - 1


# --- ends ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("killed", [0, 1])
async def test_a_killed_worker_loses_nothing_acknowledged_and_is_started_again(
    tmp_path: Path, database_url: str, killed: int
):
    acknowledged: list[str] = []
    with workers(tmp_path, database_url) as registry:
        before = worker_pids(registry)
        ended = asyncio.Event()
        load = [asyncio.ensure_future(keep_registering(registry, acknowledged, ended)) for _ in range(6)]
        await reached(acknowledged, 30)
        os.kill(before[killed], signal.SIGKILL)
        await all_again(registry)
        await reached(acknowledged, len(acknowledged) + 30)
        ended.set()
        await asyncio.gather(*load)
        after = worker_pids(registry)
        async with clients(registry, 4) as asking:
            missing = [one for one in acknowledged if not await finds(asking[len(one) % 4], one)]

    assert missing == []
    assert after[killed] != before[killed]
    assert after[1 - killed] == before[1 - killed]


async def reached(acknowledged: list[str], number: int) -> None:
    deadline = time.monotonic() + 30
    while len(acknowledged) < number:
        assert time.monotonic() < deadline, "the registry acknowledges nothing"
        await asyncio.sleep(0.02)


async def keep_registering(registry: RegistryProcess, acknowledged: list[str], ended: asyncio.Event) -> None:
    """Register one entry after the other, each on a new connection; what is refused or lost is left alone."""
    while not ended.is_set():
        entry = a_document_entry()
        async with http_client(TlsSettings(), peers=(registry.base,), timeout_seconds=20) as http:
            try:
                errors = await RegistryClient(SoapClient(http), registry.url).register(a_submission(entry))
            except (*LOST, SoapFault):
                await asyncio.sleep(0.05)
                continue
        if not errors:
            acknowledged.append(entry.entry_uuid)


async def test_workers_end_with_the_process_that_started_them(tmp_path: Path, database_url: str):
    registry = RegistryProcess(tmp_path, database_url, workers=3, **OPEN)
    registry.start()
    try:
        found = worker_pids(registry)
        registry.process.kill()
        deadline = time.monotonic() + 30
        while any(map(alive, found.values())):
            assert time.monotonic() < deadline, "a worker outlived the process that started it"
            await asyncio.sleep(0.05)
        assert len(found) == 3
        registry.start()
        assert await _ready(registry)
    finally:
        registry.process.terminate()
        assert registry.process.wait_stopped() == 0, registry.process.last_words()


async def test_the_events_of_a_worker_that_there_is_no_more_are_still_sent(tmp_path: Path, database_url: str):
    arrived = bytearray()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while octets := await reader.read(65536):
            arrived.extend(octets)
        writer.close()

    with workers(tmp_path, database_url) as registry:
        async with clients(registry) as asking:
            for client in asking:
                await client.query(GET_DOCUMENTS, {"$XDSDocumentEntryEntryUUID": ["urn:uuid:none"]})
        assert spooled(registry, 1)
    server = await asyncio.start_server(take, "127.0.0.1", 0)
    url = f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        alone = RegistryProcess(tmp_path, database_url, **OPEN, audit={"url": url})
        await asyncio.to_thread(alone.start)
        deadline = time.monotonic() + 20
        while arrived.count(b'csd-code="110112"') < CONNECTIONS:
            assert time.monotonic() < deadline, "events stayed behind"
            await asyncio.sleep(0.05)
        alone.process.terminate()
        assert await asyncio.to_thread(alone.process.wait_stopped) == 0


# --- refusals --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [("repository", "--workers", "2"), ("registry", "--workers", "0"), ("registry", "--workers", "x")],
)
def test_what_has_no_workers_is_refused_as_wrong_usage(words: tuple[str, ...]):
    done = run("serve", *words)

    assert done.returncode == 2
    assert "--workers" in done.stderr


def test_workers_on_an_embedded_database_are_refused_with_what_they_need(tmp_path: Path):
    done = run("serve", "registry", "--workers", "2", env={"XDSI_DATA": str(tmp_path / "data")})

    assert done.returncode == 1
    assert "XDSI_WORKERS: 2 workers need PostgreSQL, named in XDSI_DATABASE_URL" in done.stderr
