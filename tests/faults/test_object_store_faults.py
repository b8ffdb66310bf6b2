"""An object store that fails often, and a line to it that fails too: nothing is acknowledged that is not
there byte for byte, and other bytes are never given (the R12 drill)."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from repository.store.objects import ObjectBlobs
from shared.errors import OutOfResources
from shared.http.checked import DamagedBlob, StoreUnavailable
from shared.http.raw_asgi import BodyBroken
from shared.soap.mtom import Received
from shared.store.objects import PART_BYTES
from tests.support.blobs import kept, octets_of
from tests.support.faulty_s3 import Fault, FaultyS3, faulty
from tests.support.object_stores import moto

pytestmark = pytest.mark.heavy

WRITERS = 4


@dataclass
class Drill:
    """A store behind the faulty line, and the same store by a good one."""

    line: FaultyS3
    faulty: ObjectBlobs
    direct: ObjectBlobs
    acknowledged: list[tuple[Received, bytes]] = field(default_factory=list)
    refused: int = 0

    async def write(self, octets: bytes) -> None:
        try:
            received = await kept(self.faulty, octets)
        except OutOfResources:
            self.refused += 1
            return
        self.acknowledged.append((received, octets))


@pytest.fixture
async def drill(tmp_path: Path) -> AsyncIterator[Drill]:
    with moto() as server:
        async with faulty(server.settings) as line:
            url = f"s3://{server.bucket}/drill"
            yield Drill(
                line,
                ObjectBlobs(url, line.settings, tmp_path / "faulty"),
                ObjectBlobs(url, server.settings, tmp_path / "direct"),
            )


async def test_what_is_acknowledged_is_there_and_other_bytes_are_never_given(drill: Drill, long: bool):
    number = 1_000 if long else 60

    async def write(writer: int) -> None:
        source = random.Random(writer)
        for index in range(number // WRITERS):
            large = index == 5
            await drill.write(source.randbytes(PART_BYTES * 2 + 17 if large else source.randrange(60_000)))

    await asyncio.gather(*map(write, range(WRITERS)))

    assert len(drill.acknowledged) >= number // 2
    for received, octets in drill.acknowledged:
        assert await asyncio.to_thread(_read, drill.direct, received) == octets
    given = 0
    for received, octets in drill.acknowledged:
        try:
            assert await asyncio.to_thread(_sent, drill.faulty, received) == octets
            given += 1
        except (DamagedBlob, StoreUnavailable, BodyBroken):
            continue
    assert given >= len(drill.acknowledged) // 2
    assert drill.line.met.total() - drill.line.met[Fault.NONE] >= 10, drill.line.met


def _read(blobs: ObjectBlobs, received: Received) -> bytes:
    return b"".join(blobs.read(received.sha256, received.size))


def _sent(blobs: ObjectBlobs, received: Received) -> bytes:
    return octets_of(asyncio.run(blobs.content(received.sha256, received.size)))


@pytest.mark.parametrize("fault", [fault for fault in Fault if fault not in (Fault.NONE, Fault.SLOW)])
async def test_a_store_that_only_fails_acknowledges_nothing(
    drill: Drill, fault: Fault, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("shared.store.objects._RETRIES", 1)
    drill.line.shares = {fault: 1.0}
    blobs = ObjectBlobs("s3://test/drill", drill.line.settings, drill.faulty.incoming.parent)

    with pytest.raises(OutOfResources):
        await kept(blobs, b"never kept" * 1_000)

    drill.line.shares = {}
    sha256 = hashlib.sha256(b"never kept" * 1_000).hexdigest()
    try:
        content = await drill.direct.content(sha256, 10_000)
    except DamagedBlob:
        return
    assert octets_of(content) == b"never kept" * 1_000


async def test_a_sweep_that_meets_faults_removes_nothing_that_is_wanted_and_can_be_repeated(drill: Drill):
    for index in range(20):
        await drill.write(random.Random(index).randbytes(500))
    wanted = {received.sha256 for received, _ in drill.acknowledged[::2]}

    async def referenced(digests: list[str]) -> set[str]:
        return wanted & set(digests)

    for _ in range(30):
        try:
            await drill.faulty.sweep(referenced, grace_seconds=-60)
        except StoreUnavailable:
            continue
    drill.line.shares = {}
    await drill.faulty.sweep(referenced, grace_seconds=-60)

    for received, octets in drill.acknowledged:
        if received.sha256 in wanted:
            assert await asyncio.to_thread(_read, drill.direct, received) == octets
        else:
            assert not await drill.direct.is_intact(received.sha256, received.size)


async def test_a_store_that_refuses_the_key_is_told_to_the_operator_and_not_to_who_submits(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    told = "the object store refuses the key; correct XDSI_S3__ACCESS_KEY and XDSI_S3__SECRET_KEY"
    with moto() as server:
        async with faulty(server.settings, shares={Fault.REFUSED: 1.0}, codes=(403,)) as line:
            blobs = ObjectBlobs(f"s3://{server.bucket}/drill", line.settings, tmp_path)
            with pytest.raises(OutOfResources) as refused:
                await kept(blobs, b"never kept")
            with pytest.raises(OSError, match=told):
                await blobs.probe()
            with pytest.raises(StoreUnavailable):
                await blobs.content(hashlib.sha256(b"never kept").hexdigest(), 10)
    assert told in caplog.text
    assert "XDSI_S3" not in refused.value.context
