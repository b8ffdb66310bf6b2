"""kill -9 while instances are moved to the cold storage and back: each is whole in one tier at least."""

from __future__ import annotations

import asyncio
import os
import random
import time
from pathlib import Path

import pytest

from imaging_source.background import cooling
from imaging_source.maintenance.tiers import Tier, survey
from imaging_source.store.tiers import TieredFiles
from tests.support.cooling_process import STUDY, age, cooled, place_of
from tests.support.dicom import a_ct, part10
from tests.support.forked import program
from tests.support.imaging_source import close_source, open_source

pytestmark = pytest.mark.heavy

KILLS, LONG_KILLS = 2, 100
INSTANCES = 12


async def test_nothing_is_lost_between_two_tiers(tmp_path: Path, long: bool, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cooling, "PARTING_SECONDS", 0.0)
    cold = (tmp_path / "cold").as_uri()
    source = await open_source(place_of(tmp_path), tmp_path / "data", cold_storage_url=cold)
    for number in range(INSTANCES):
        pixels = random.randbytes(100_000)
        await source.keep(part10(a_ct(SOPInstanceUID=f"2.25.5{number:03}", PixelData=pixels)))
    octets = {one.sha256: one.path.read_bytes() for one in await source.parts.instances.find_study(STUDY)}
    await close_source(source)

    for _ in range(LONG_KILLS if long else KILLS):
        process = program("tests.support.cooling_process", str(tmp_path), cold,
                          env=os.environ, log=tmp_path / "log")  # fmt: skip
        assert process.stdout is not None
        assert await asyncio.to_thread(process.stdout.readline) == "moving\n", (tmp_path / "log").read_text()
        await asyncio.sleep(random.uniform(0.0, 0.3))
        process.kill()
        await asyncio.to_thread(process.wait)
        process.stdout.close()

    source = await open_source(place_of(tmp_path), tmp_path / "data", cold_storage_url=cold)
    files = source.parts.instances.files
    assert isinstance(files, TieredFiles)
    await source.parts.instances.recover(source.recorder.record)
    for sha256, content in octets.items():
        assert b"".join(files.read(sha256, len(content))) == content
    age(files)
    await cooled(source)
    places = (await survey(source.parts.database, files, before=time.time())).tiers
    assert {place: holding.contents for place, holding in places.items() if holding.contents} == {
        Tier.COLD: INSTANCES
    }
    await close_source(source)
