"""The repository killed at every named point between the first byte and the last commit."""

from __future__ import annotations

import asyncio
import os
import random
from pathlib import Path

import pytest

from tests.support.faulty_repository import POINTS
from tests.support.repository_rig import a_rig

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(7200)]

SEEDS, LONG_SEEDS = 1, 20
# A document that comes in several batches, so that a point is passed more than once.
SIZE = 1_300_000
# So many folders are synced when it opens.
OPENING_SYNCS = 7


def places(long: bool) -> list[dict[str, object]]:
    """Each point, before or after it; both in the long form, and where the answer leaves."""
    found: list[dict[str, object]] = []
    for point in POINTS:
        both = long or point == POINTS[-1]
        for when in ("before", "after") if both else (random.choice(("before", "after")),):
            hits = {1, random.randint(1, 4)} if long or point.endswith("Sink.write") else {1}
            if point.endswith(":sync"):
                hits = {OPENING_SYNCS + number for number in (1, 2, 3)}
            found += [{"point": point, "when": when, "hit": hit} for hit in sorted(hits)]
    return found


async def test_nothing_acknowledged_is_lost_and_nothing_dangles_wherever_it_dies(tmp_path: Path, long: bool):
    died: set[object] = set()
    async with a_rig(tmp_path, XDSI_GRACE_SECONDS="86400") as rig:
        for _ in range(LONG_SEEDS if long else SEEDS):
            for fault in places(long):
                if await rig.start(faults=fault):
                    first = await rig.provide(os.urandom(SIZE))
                    assert first.acknowledged or first.codes, fault
                    if not first.acknowledged:
                        await rig.died()
                        died.add(fault["point"])
                await rig.kill()

                assert await rig.start()
                await rig.settled()
                unfinished = [sent for sent in rig.sent if not sent.acknowledged]
                for sent in unfinished:
                    await rig.provide_until_settled(sent)
                    assert sent.acknowledged, (fault, sent.codes)
                await rig.kill()

        assert await rig.start()
        await rig.check()
        assert rig.wanted() <= rig.blobs()
        assert died == set(POINTS)


async def test_one_round_of_the_janitor_leaves_no_orphans(tmp_path: Path):
    async with a_rig(tmp_path, XDSI_GRACE_SECONDS="86400") as rig:
        for point in ("repository.store.files:_place", "repository.store.documents:insert_provision"):
            assert await rig.start(faults={"point": point, "when": "after", "hit": 1})
            await rig.provide()
            await rig.died()
        assert len(rig.blobs()) == 2

        assert await rig.start(XDSI_GRACE_SECONDS="0")
        deadline = asyncio.get_running_loop().time() + 10
        while rig.blobs() != rig.wanted():
            assert asyncio.get_running_loop().time() < deadline
            await asyncio.sleep(0.05)
        await rig.check()
