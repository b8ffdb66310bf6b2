"""A backup of registry and repository beside both while others write, restored elsewhere: what was
acknowledged before it is there, and nothing dangles."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from tests.support.forked import run
from tests.support.repository_rig import Rig, a_rig
from tests.support.waiting import until

pytestmark = pytest.mark.heavy

WRITERS = 4


async def xdsi(folder: Path, *words: str) -> None:
    """Run a command on the data of the rig of `folder`; it must succeed."""
    own = {"XDSI_DATA": str(folder / "data"), "XDSI_REGISTRY__DATA": str(folder / "registry-data")}
    ended = await asyncio.to_thread(run, "db", *words, env=own | {"XDSI_AUDIT__URL": "tcp://127.0.0.1:9"})
    assert ended.returncode == 0, ended


def acknowledged(rig: Rig) -> dict[str, bytes]:
    return {sent.unique_id: sent.octets for sent in rig.sent if sent.acknowledged}


async def test_what_was_acknowledged_before_is_there_and_nothing_dangles(tmp_path: Path):
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    new.mkdir()
    async with a_rig(old) as rig:
        assert await rig.start()
        done = asyncio.Event()

        async def write() -> None:
            while not done.is_set():
                await rig.provide(random.randbytes(random.randrange(20_000)))

        writers = [asyncio.create_task(write()) for _ in range(WRITERS)]
        await until(lambda: len(acknowledged(rig)) >= 30, 60)
        before = acknowledged(rig)
        await xdsi(old, "backup", str(tmp_path / "backup"))
        after = acknowledged(rig)
        done.set()
        await asyncio.gather(*writers)
        everything = {sent.unique_id: sent.octets for sent in rig.sent}
    assert len(after) > len(before), "nobody wrote while the backup was taken"

    await xdsi(new, "restore", str(tmp_path / "backup"))
    await xdsi(new, "verify")

    async with a_rig(new) as rig:
        assert await rig.start()
        await rig.settled()
        names = list(everything)
        shown = [
            name
            for start in range(0, len(names), 200)
            for name in await rig.entries(names[start : start + 200])
        ]
        assert len(shown) == len(set(shown)), "an entry was registered twice"
        assert set(before) <= set(shown)
        for unique_id in shown:
            assert await rig.retrieve(unique_id) == everything[unique_id], "an entry dangles"
        index = {row[0] for row in rig.rows("SELECT unique_id FROM provided_document")}
        assert index == set(shown), "a document is kept that nothing shows"
