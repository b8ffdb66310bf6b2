"""The power goes while documents are provided and retrieved, or instances come in: what was acknowledged is
there, whole, and in the trail.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import pytest

from imaging_source.store.adoption import adopt
from tests.support.intake import an_intake
from tests.support.intake_process import Acknowledged, killed, sending, started
from tests.support.power_loss import Disk, Record, RecordedIo, Survives
from tests.support.repository_rig import Rig, Sent, a_rig

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(3600)]

# Of two services, which have to start each time, and of an intake.
IMAGES, INTAKE_IMAGES, LONG_IMAGES = 5, 10, 200
FOLDERS = ("data", "registry-data")
WRITERS, EACH = 4, 6
SIZES = (3_000, 60_000, 900_000)


@dataclass(frozen=True, slots=True)
class Done:
    """When a document was provided first, acknowledged, and retrieved; of `time.monotonic_ns`."""

    sent: Sent
    provided: int
    acknowledged: int
    retrieved: int


async def test_what_was_acknowledged_survives_a_power_loss_at_any_moment(tmp_path: Path, long: bool):
    machine = tmp_path / "machine"
    for name in FOLDERS:
        (machine / name).mkdir(parents=True)
    recorded = RecordedIo(tmp_path, machine)
    async with a_rig(machine, **recorded.environment) as rig:
        assert await rig.start()
        began = time.monotonic_ns()
        done = await provided_and_retrieved(rig)
        ended = time.monotonic_ns()
    records = recorded.records()
    assert {"w", "c", "r", "m", "s", "u"} <= {record.operation for record in records}

    image = tmp_path / "image"
    moments = sorted(random.randrange(began, ended) for _ in range(LONG_IMAGES if long else IMAGES))
    for moment in crashes(records, Disk(machine, FOLDERS), image, moments):
        await holds(image, [one for one in done if one.provided < moment], moment)


def crashes(records: Iterable[Record], disk: Disk, image: Path, moments: Sequence[int]) -> Iterator[int]:
    """Write the disk as it is after a power loss at each of `moments`, the earliest first."""
    at_once = iter(records)
    later = next(at_once, None)
    for moment in moments:
        while later is not None and later.time <= moment:
            disk.take(later)
            later = next(at_once, None)
        disk.write(image, random.choice([Survives.NOTHING, *2 * [Survives.SOME], Survives.ALL]))
        yield moment
        shutil.rmtree(image)


async def provided_and_retrieved(rig: Rig) -> list[Done]:
    """Several documents at a time."""
    done: list[Done] = []

    async def writer(number: int) -> None:
        for at in range(EACH):
            provided = time.monotonic_ns()
            sent = await rig.provide(os.urandom(SIZES[(number + at) % len(SIZES)]))
            if not sent.acknowledged:
                await rig.provide_until_settled(sent)
            assert sent.acknowledged, sent.codes
            acknowledged = time.monotonic_ns()
            assert await rig.retrieve(sent.unique_id) == sent.octets
            done.append(Done(sent, provided, acknowledged, time.monotonic_ns()))

    await asyncio.gather(*map(writer, range(WRITERS)))
    return done


async def holds(image: Path, done: list[Done], moment: int) -> None:
    """After the start from `image`: nothing acknowledged is lost, and what was not ends well."""
    folder = image / "data" / "repository"
    spool = octets_of(folder / "audit", "*.segment")
    trail = spool + octets_of(folder, "*.sqlite3*")
    for one in done:
        submission = one.sent.submission
        if one.acknowledged < moment:
            assert submission.submission_set.unique_id.encode() in trail, "a submission is not in the trail"
        if one.retrieved < moment:
            assert one.sent.unique_id.encode() in spool, "a retrieval is not in the trail"

    async with a_rig(image) as rig:
        assert await rig.start()
        await rig.settled()
        rig.sent = [replace(one.sent, acknowledged=one.acknowledged < moment, codes=()) for one in done]
        await rig.check()
        for sent in rig.sent:
            if not sent.acknowledged:
                await rig.provide_until_settled(sent)
                assert sent.acknowledged, sent.codes
        await rig.check()


def octets_of(folder: Path, pattern: str) -> bytes:
    return b"".join(path.read_bytes() for path in folder.glob(pattern))


async def test_an_instance_that_was_acknowledged_survives_a_power_loss_at_any_moment(
    tmp_path: Path, long: bool
):
    machine = tmp_path / "machine"
    machine.mkdir()
    recorded = RecordedIo(tmp_path, machine)
    acknowledged: dict[str, Acknowledged] = {}
    process, port = await started(machine, recorded.environment)
    began = time.monotonic_ns()
    await asyncio.gather(
        *(sending(port, range(first, first + 10), acknowledged) for first in range(1_000, 1_040, 10))
    )
    ended = time.monotonic_ns()
    await killed(process)

    records = recorded.records()
    image = tmp_path / "image"
    moments = sorted(random.randrange(began, ended) for _ in range(LONG_IMAGES if long else INTAKE_IMAGES))
    for moment in crashes(records, Disk(machine, ()), image, moments):
        async with an_intake(image) as intake:
            await intake.store.recover(intake.trail.record)
            kept = {one.sop_instance_uid: one for one in await intake.store.find_study("2.25.11")}
            for uid, sent in acknowledged.items():
                if sent.at < moment:
                    assert kept[uid].path.read_bytes() == sent.octets
            # A file without a row is left where names in two folders survive in another order.
            await adopt(intake.store, intake.trail.record, node="XDSI")
            kept = {one.sop_instance_uid: one for one in await intake.store.find_study("2.25.11")}
            assert {one.path for one in kept.values()} == set(intake.kept)
            for one in kept.values():
                assert sha256(one.path.read_bytes()).hexdigest() == one.sha256
            assert intake.incoming == []
