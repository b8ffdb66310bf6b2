"""Writes, syncs, renames and links that fail one by one, of the index and the trail as well; a full disk."""

from __future__ import annotations

import asyncio
import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.repository_rig import FailingIo, Rig, a_rig, compiled

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(1800)]

FIRST, LONG_FIRST = 20, 200
SIZE = 700_000


async def works_again(rig: Rig, seconds: float = 20) -> None:
    """Wait until a document is taken, without a restart."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not (sent := await rig.provide()).acknowledged:
        assert rig.running, "the repository ended"
        assert asyncio.get_running_loop().time() < deadline, f"it does not recover: {sent.codes}"
        await asyncio.sleep(0.1)


@pytest.mark.parametrize("persistent", [False, True], ids=["once", "from then on"])
@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC], ids=["EIO", "ENOSPC"])
async def test_nothing_is_acknowledged_falsely_whichever_call_fails(
    tmp_path: Path, long: bool, error: int, persistent: bool
):
    failed = 0
    async with a_rig(tmp_path) as rig:
        failing = FailingIo(tmp_path, compiled(tmp_path), tmp_path / "data")
        assert await rig.start(**failing.environment)
        await works_again(rig)
        for nth in range(1, (LONG_FIRST if long else FIRST) + 1):
            failing.arm(nth, error, persistent=persistent)
            await rig.provide(os.urandom(SIZE))
            hits, _ = failing.disarm()
            failed += hits > 0
            await works_again(rig)
        await rig.check()

        await rig.kill()
        failing.close()
        assert await rig.start()
        await rig.settled()
        await rig.check()
    assert failed >= FIRST / 2, "too few calls were met"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("a small file system cannot be mounted here; run as root")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.parametrize("where", ["XDSI_DATA", "XDSI_STORAGE_URL"])
async def test_on_a_full_disk_reads_go_on_and_writes_work_again_with_space(
    tmp_path: Path, small_disk: Path, where: str
):
    place = str(small_disk / "data") if where == "XDSI_DATA" else (small_disk / "store").as_uri()
    async with a_rig(tmp_path, **{where: place}) as rig:
        assert await rig.start()
        first = await rig.provide()
        ballast = small_disk / "ballast"
        ballast.write_bytes(bytes(30_000_000))

        refused = await rig.provide(os.urandom(4_000_000))
        while refused.acknowledged:
            refused = await rig.provide(os.urandom(4_000_000))

        assert refused.codes == ("XDSRepositoryOutOfResources",)
        for sent in rig.sent:
            if sent.acknowledged:
                assert await rig.retrieve(sent.unique_id) == sent.octets
        assert first.acknowledged
        ballast.unlink()
        assert (await rig.provide(again=refused)).acknowledged
        assert (await rig.provide(os.urandom(4_000_000))).acknowledged
        await rig.kill()
        assert await rig.start()
        await rig.check()
