"""The registry away, silent, talking nonsense, or cut off after it committed: the repository neither hangs
nor loses, and registers once."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from tests.support.repository_rig import Way, a_rig

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(600)]

# Two attempts of one second each, and what comes around them.
PATIENCE = 8.0


@pytest.mark.parametrize("way", [way for way in Way if way is not Way.PASS])
async def test_a_registry_that_fails_costs_no_document_and_no_hang(tmp_path: Path, way: Way):
    async with a_rig(tmp_path) as rig:
        assert await rig.start()
        before = await rig.provide()
        assert before.acknowledged
        await rig.between.go(way)

        began = time.monotonic()
        during = await asyncio.gather(*(rig.provide() for _ in range(5)))
        took = time.monotonic() - began

        assert took < PATIENCE
        assert {sent.codes for sent in during} == {("XDSRegistryNotAvailable",)}
        # Consent cannot be asked for, and then the answer is no.
        assert await rig.retrieve(before.unique_id) is None

        await rig.between.go(Way.PASS)
        await rig.settled()
        for sent in during:
            await rig.provide(again=sent)
            assert sent.acknowledged
        await rig.check()


async def test_what_is_in_doubt_at_a_crash_is_asked_for_at_the_next_start(tmp_path: Path):
    async with a_rig(tmp_path) as rig:
        assert await rig.start()
        await rig.between.go(Way.CUT_AFTER_COMMIT)
        doubtful = [await rig.provide() for _ in range(3)]
        await rig.kill()
        await rig.between.go(Way.PASS)

        assert await rig.start()
        await rig.settled()

        assert sorted(await rig.entries([sent.unique_id for sent in doubtful])) == sorted(
            sent.unique_id for sent in doubtful
        )
        for sent in doubtful:
            assert await rig.retrieve(sent.unique_id) == sent.octets
        await rig.check()
