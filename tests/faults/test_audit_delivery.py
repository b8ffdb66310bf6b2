"""The way of audit records when peers vanish, stall or are killed: all arrive, in order, once."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from audit_repository.app import build
from audit_repository.settings import AuditRepositorySettings
from audit_repository.store.events import Search
from audit_repository.store.verification import verify
from shared.audit import forwarder as forwarder_module
from shared.audit.forwarder import Forwarder
from shared.audit.recorder import AuditRecorder
from shared.audit.syslog import FrameReader
from shared.settings import AuditSettings
from tests.support.audit import TestingSettings, an_event
from xdsi.stage import free_ports

ROOT = Path(__file__).parents[2]


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
    forwarder = Forwarder(settings, recorder.spool)
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
    monkeypatch.setattr(forwarder_module, "SEND_SECONDS", 0.3)
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


class Killed:
    """An audit repository as a process of its own that can be killed and started again."""

    def __init__(self, folder, port):
        self.environment = {
            "XDSI_DATA": str(folder),
            "XDSI_AUDIT_REPOSITORY__PORT": "0",
            "XDSI_AUDIT_REPOSITORY__SYSLOG_PORT": str(port),
        }
        self.process = None

    async def start(self):
        self.process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "xdsi", "serve", "audit-repository"),
            cwd=ROOT,
            env=os.environ | self.environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        line = await self.process.stdout.readline()
        assert b"ready" in line

    async def kill(self):
        self.process.send_signal(signal.SIGKILL)
        await self.process.wait()


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

            async def numbers():
                found, before = [], 2**62
                while page := await service.trail.search(Search(type="ITI-18", limit=500, before=before)):
                    found += [number(item.record.raw) for item in page]
                    before = page[-1].sequence
                return found[::-1]

            async with asyncio.timeout(60):
                while len(await numbers()) < count:  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
            assert await numbers() == list(range(count))
            assert (await verify(service.trail.database, service.trail.folder)).problems == []
        finally:
            await service.stop()
