"""kill -9 while instances come in: what was acknowledged is there to the byte, and nothing is half there."""

from __future__ import annotations

import asyncio
import random

import pytest

from tests.support.intake import an_intake
from tests.support.intake_process import Acknowledged, killed, sending, started
from tests.support.waiting import until

KILLS = 6


@pytest.mark.heavy
async def test_nothing_acknowledged_is_lost_and_nothing_is_half_there(tmp_path):
    acknowledged: dict[str, Acknowledged] = {}
    folder = tmp_path / "source"
    folder.mkdir()
    for kill in range(KILLS):
        process, port = await started(folder)
        senders = [
            sending(port, range(first, first + 10_000), acknowledged)
            for first in range(1_000_000 + kill * 100_000, 1_040_000 + kill * 100_000, 10_000)
        ]
        before = len(acknowledged)
        running = asyncio.gather(*senders)
        await until(lambda before=before: len(acknowledged) > before, 60)
        await asyncio.sleep(random.uniform(0.1, 0.6))
        process.kill()
        await running
        await killed(process)

    async with an_intake(folder) as intake:
        await intake.store.recover(intake.trail.record)
        kept = await intake.store.find_study("2.25.11")

        assert len(acknowledged) > KILLS
        by_uid = {instance.sop_instance_uid: instance for instance in kept}
        for uid, sent in acknowledged.items():
            assert by_uid[uid].path.read_bytes() == sent.octets
        assert intake.incoming == []
        assert {instance.path for instance in kept} == set(intake.kept)
        assert await intake.store.metadata(list(by_uid)) != {}
