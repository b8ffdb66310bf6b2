"""The way of audit records when peers vanish, stall or are killed: all arrive, in order, once."""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager
from hashlib import sha256

import httpx2
import pytest

from audit_repository.app import build
from audit_repository.settings import AuditRepositorySettings
from audit_repository.store.events import Search
from audit_repository.store.verification import verify
from shared.audit import connection as connection_module
from shared.audit import delivery as delivery_module
from shared.audit import forwarder as forwarder_module
from shared.audit import trial as trial_module
from shared.audit.forwarder import Forwarder
from shared.audit.recorder import AuditRecorder
from shared.audit.syslog import FrameReader
from shared.http.application import application
from shared.http.health import health_routes
from shared.settings import AuditSettings
from shared.telemetry.metrics import Metrics
from tests.support.audit import TestingSettings, an_event
from tests.support.forked import program
from xdsi.stage import free_ports


def numbered(start, count):
    return [an_event(outcome_description=f"number {n}") for n in range(start, start + count)]


def number(raw: bytes) -> int:
    return int(raw.partition(b"<EventOutcomeDescription>number ")[2].partition(b"<")[0])


async def until(condition, seconds=60.0):
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110  # another task's doing
            await asyncio.sleep(0.02)


@asynccontextmanager
async def forwarding(folder, port):
    settings = TestingSettings(data=folder, audit=AuditSettings(url=f"tcp://127.0.0.1:{port}"))
    recorder = AuditRecorder(settings, "testing")
    forwarder = Forwarder(settings, recorder)
    await forwarder.start()
    try:
        yield recorder
    finally:
        await forwarder.stop(0)
        await recorder.close()


@asynccontextmanager
async def listening(serve):
    """A receiver whose connections are served by `serve(number of the connection, reader, writer)`."""
    connections = 0

    async def connected(reader, writer):
        nonlocal connections
        connections += 1
        try:
            await serve(connections, reader, writer)
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(connected, "127.0.0.1", 0, limit=4096)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await asyncio.sleep(0.05)


async def test_what_went_into_a_connection_that_broke_is_sent_again_byte_for_byte(tmp_path):
    first, second = FrameReader(max_bytes=100_000), FrameReader(max_bytes=100_000)
    before, after = [], []

    async def serve(connection, reader, writer):
        while octets := await reader.read(4096):
            if connection == 1:
                before.extend(first.feed(octets))
                if len(before) >= 30:
                    return
            else:
                after.extend(second.feed(octets))

    async with listening(serve) as port, forwarding(tmp_path, port) as recorder:
        await recorder.record(numbered(0, 500))
        await until(lambda: len(after) >= 500)

    assert after[: len(before)] == before
    assert [number(raw) for raw in after] == list(range(500))


async def test_a_receiver_that_takes_nothing_is_left_and_tried_again(tmp_path, monkeypatch):
    monkeypatch.setattr(connection_module, "SEND_SECONDS", 0.3)
    frames, taken = FrameReader(max_bytes=10_000_000), []

    async def serve(connection, reader, writer):
        if connection == 1:
            await asyncio.sleep(5)
            return
        while octets := await reader.read(65536):
            taken.extend(frames.feed(octets))

    async with listening(serve) as port, forwarding(tmp_path, port) as recorder:
        for n in range(20):
            await recorder.record([an_event(outcome_description=f"number {n}</" + "x" * 1_000_000)])
        await until(lambda: len(taken) >= 20)


# --- what a receiver does not take ---------------------------------------------------------------------


@pytest.fixture
def impatient(monkeypatch):
    """The same waits, a fifth as long or less."""
    monkeypatch.setattr(trial_module, "RESTS", tuple(rest / 5 for rest in trial_module.RESTS))
    monkeypatch.setattr(delivery_module, "PATIENCE", trial_module.PATIENCE / 5)
    monkeypatch.setattr(delivery_module, "SHORTEST_PAUSE", 0.05)
    monkeypatch.setattr(delivery_module, "STEADY_SECONDS", 0.5)
    monkeypatch.setattr(forwarder_module, "MEASURE_SECONDS", 0.2)


class Choosy:
    """A receiver that closes its connection upon frames that `refuses` says, as many do upon a long one."""

    def __init__(self, refuses):
        self.refuses, self.taken, self.connections = refuses, [], 0

    async def serve(self, _, reader, writer):
        self.connections += 1
        frames = FrameReader(max_bytes=9_999_999)
        while octets := await reader.read(65536):
            for raw in frames.feed(octets):
                if self.refuses(raw):
                    return
                self.taken.append(raw)

    def numbers(self):
        """Which records arrived, in the order in which each did so first."""
        found = [number(raw) for raw in self.taken if b"<EventOutcomeDescription>number " in raw]
        return list(dict.fromkeys(found))

    def told(self, words):
        return len({raw for raw in self.taken if words in raw})


@asynccontextmanager
async def listening_at(port, serve):
    async def connected(reader, writer):
        try:
            await serve(0, reader, writer)
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(connected, "127.0.0.1", port)
    try:
        yield
    finally:
        server.close()


def aside(folder):
    return sorted((folder / "testing" / "audit-set-aside").rglob("*.record"))


@pytest.mark.parametrize("poisoned", [[0], [29], [3, 4, 20]])
async def test_a_record_that_the_receiver_does_not_take_is_set_aside_and_the_others_go_on_in_order(
    tmp_path, impatient, poisoned
):
    receiver = Choosy(lambda raw: any(b">number %d<" % each in raw for each in poisoned))
    async with listening(receiver.serve) as port, forwarding(tmp_path, port) as recorder:
        await recorder.record(numbered(0, 30))
        await until(lambda: len(aside(tmp_path)) == len(poisoned))
        await recorder.record(numbered(30, 5))
        await until(lambda: receiver.told(b"was set aside") == len(poisoned))
        await until(lambda: len(receiver.numbers()) == 35 - len(poisoned))

    assert receiver.numbers() == [each for each in range(35) if each not in poisoned]
    kept = [path.read_bytes() for path in aside(tmp_path)]
    assert sorted(map(number, kept)) == poisoned
    assert all(sha256(raw).hexdigest() in path.name for raw, path in zip(kept, aside(tmp_path), strict=True))
    for raw in kept:
        told = f"an audit record of {len(raw)} octets, SHA-256 {sha256(raw).hexdigest()}, was set aside"
        assert receiver.told(told.encode()) == 1


async def test_records_of_an_older_version_that_are_too_long_do_not_stop_the_others(tmp_path, impatient):
    receiver = Choosy(lambda raw: len(raw) > 262_144)
    async with listening(receiver.serve) as port, forwarding(tmp_path, port) as recorder:
        for at in range(40):
            (octets,) = recorder.messages(numbered(at, 1)[0])
            await recorder.spool.put(octets + b" " * 300_000 * (at % 10 == 5))
        await until(lambda: len(receiver.numbers()) == 36)
        await until(lambda: len(aside(tmp_path)) == 4)

    assert receiver.numbers() == [at for at in range(40) if at % 10 != 5]
    assert {number(path.read_bytes()) for path in aside(tmp_path)} == {5, 15, 25, 35}


async def test_what_was_set_aside_is_not_sent_again_after_a_restart_and_is_when_it_is_moved_away(
    tmp_path, impatient
):
    receiver = Choosy(lambda raw: b">number 3<" in raw)
    async with listening(receiver.serve) as port:
        async with forwarding(tmp_path, port) as recorder:
            await recorder.record(numbered(0, 6))
            await until(lambda: aside(tmp_path) and len(receiver.numbers()) == 5)
        before = receiver.connections
        async with forwarding(tmp_path, port) as recorder:
            await recorder.record(numbered(6, 1))
            await until(lambda: 6 in receiver.numbers())
            await asyncio.sleep(0.5)
            assert receiver.connections == before + 1
        receiver.refuses = lambda raw: False
        aside(tmp_path)[0].unlink()
        async with forwarding(tmp_path, port):
            await until(lambda: 3 in receiver.numbers())


@pytest.mark.parametrize("after", [0.0, 0.15, 0.35])
async def test_a_receiver_that_ends_every_connection_some_time_after_a_record_takes_nothing_from_the_trail(
    tmp_path, impatient, after
):
    """As a repository does whose database is away: nothing is set aside, and all arrives when it is back."""
    well, receiver, connections = asyncio.Event(), Choosy(lambda raw: False), []

    async def serve(connection, reader, writer):
        connections.append(connection)
        if well.is_set():
            await receiver.serve(connection, reader, writer)
        else:
            await reader.read(1)
            await asyncio.sleep(after)

    async with listening(serve) as port, forwarding(tmp_path, port) as recorder:
        await recorder.record(numbered(0, 3))
        await until(lambda: len(connections) >= 9)
        well.set()
        await until(lambda: receiver.numbers() == [0, 1, 2])

    assert aside(tmp_path) == []


@pytest.mark.parametrize("lives", [0.0, 0.15])
async def test_a_receiver_that_is_restarted_again_and_again_takes_nothing_from_the_trail(
    tmp_path, impatient, lives
):
    async def dying(_, reader, writer):
        await asyncio.sleep(lives)

    [port] = free_ports(1)
    receiver = Choosy(lambda raw: False)
    async with forwarding(tmp_path, port) as recorder:
        await recorder.record(numbered(0, 20))
        for _ in range(6):
            async with listening_at(port, dying):
                await asyncio.sleep(lives + 0.2)
            await asyncio.sleep(0.1)
        async with listening_at(port, receiver.serve):
            await until(lambda: len(receiver.numbers()) == 20)

    assert receiver.numbers() == list(range(20))
    assert aside(tmp_path) == []


async def test_the_age_of_the_oldest_unsent_record_and_what_was_set_aside_are_known_to_readiness(
    tmp_path, impatient
):
    [port] = free_ports(1)
    limits = {"unsent_seconds": 0.3, "set_aside_max": 0}
    settings = TestingSettings(data=tmp_path, audit=AuditSettings(url=f"tcp://127.0.0.1:{port}", **limits))
    recorder = AuditRecorder(settings, "testing")
    forwarder = Forwarder(settings, recorder)
    app = application(health_routes({}, Metrics("testing"), trail=forwarder))
    transport = httpx2.ASGITransport(app=app)
    http = httpx2.AsyncClient(transport=transport, base_url="http://service")

    async def ready():
        answer = await http.get("/health/ready")
        return answer.status_code, answer.json()

    await recorder.record(numbered(0, 3))
    await forwarder.start()
    receiver = Choosy(lambda raw: b">number 1<" in raw)
    try:
        await until(lambda: forwarder.oldest_seconds > 0.4)
        status, page = await ready()
        assert status == 503
        assert "the oldest audit record has waited for" in page["reasons"]["audit trail"]
        assert page["details"]["audit trail"]["oldest_unsent_seconds"] >= 0.3
        async with listening_at(port, receiver.serve):
            await until(lambda: receiver.numbers() == [0, 2] and forwarder.oldest_seconds == 0.0)
            status, page = await ready()
            assert status == 503
            assert page["details"]["audit trail"] == {"oldest_unsent_seconds": 0.0, "set_aside": 1}
            assert "1 audit records were set aside" in page["reasons"]["audit trail"]
            aside(tmp_path)[0].unlink()
            receiver.refuses = lambda raw: False
            await until(lambda: forwarder.set_aside == 0)
            status, page = await ready()
            assert (status, page["status"]) == (200, "ready")
            shown = (await http.get("/metrics")).text
            assert "xdsi_audit_oldest_unsent_seconds" in shown
            assert "xdsi_audit_set_aside" in shown
    finally:
        await forwarder.stop(0)
        await recorder.close()


async def numbers_in(service) -> list[int]:
    """The numbers of the records of a repository, in its order."""
    found, before = [], 2**62
    while page := await service.trail.search(Search(type="ITI-18", limit=500, before=before)):
        found += [number(item.record.raw) for item in page]
        before = page[-1].sequence
    return found[::-1]


class Killed:
    """An audit repository as a process of its own that can be killed and started again."""

    def __init__(self, folder, port):
        self.environment = {
            "XDSI_DATA": str(folder),
            "XDSI_AUDIT_REPOSITORY__PORT": "0",
            "XDSI_AUDIT_REPOSITORY__SYSLOG_PORT": str(port),
        }
        self.process, self.log = None, folder / "audit-repository.log"

    async def start(self):
        self.process = program(
            "xdsi", "serve", "audit-repository", env=os.environ | self.environment, log=self.log
        )
        assert "ready" in await asyncio.to_thread(self.process.stdout.readline)

    async def kill(self):
        self.process.kill()
        await asyncio.to_thread(self.process.wait)
        self.process.stdout.close()


@pytest.mark.heavy
async def test_an_audit_repository_that_is_killed_at_any_moment_loses_nothing(tmp_path):
    [port], count = free_ports(1), 0
    repository = Killed(tmp_path, port)
    async with forwarding(tmp_path, port) as recorder:
        for round_number in range(3):
            await repository.start()
            for _ in range(25):
                await recorder.record(numbered(count, 25))
                count += 25
                await asyncio.sleep(0.004 * (round_number + 1))
            await repository.kill()

        settings = AuditRepositorySettings(data=tmp_path, port=0, syslog_port=port)
        service = await build(settings)
        await service.start()
        try:
            async with asyncio.timeout(60):
                while len(await numbers_in(service)) < count:  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
            assert await numbers_in(service) == list(range(count))
            assert (await verify(service.trail.database, service.trail.folder)).problems == []
        finally:
            await service.stop()


@pytest.mark.heavy
@pytest.mark.timeout(1_800)
async def test_an_hour_without_a_repository_at_fifty_events_a_second_loses_none_and_keeps_their_order(
    tmp_path, long
):
    seconds, a_second = 3_600 if long else 18, 50
    [port] = free_ports(1)
    async with forwarding(tmp_path, port) as recorder:
        for second in range(seconds):
            await recorder.record(numbered(second * a_second, a_second))
        service = await build(AuditRepositorySettings(data=tmp_path, port=0, syslog_port=port))
        await service.start()
        try:
            async with asyncio.timeout(1_700):
                while len(await numbers_in(service)) < seconds * a_second:  # noqa: ASYNC110
                    await asyncio.sleep(5 if long else 0.2)
            assert await numbers_in(service) == list(range(seconds * a_second))
            assert aside(tmp_path) == []
        finally:
            await service.stop()
