"""The spool when the process dies, the disk fails or bits rot."""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from shared.audit.spool import AuditUnavailable, Spool
from shared.settings import OnFull

ROOT = Path(__file__).parents[2]


@asynccontextmanager
async def opened(folder):
    spool = Spool(
        folder, max_bytes=64 * 1024**2, on_full=OnFull.BLOCK, lost=lambda number, reason: b"lost %d" % number
    )
    try:
        yield spool
    finally:
        await spool.close()


async def everything(spool) -> list[bytes]:
    found = []
    while messages := await spool.reader("test").next(100):
        found += [octets for _, octets in messages]
    return found


async def test_a_file_cut_at_any_octet_keeps_every_message_that_was_whole(tmp_path):
    original = tmp_path / "original"
    messages = [b"message %d" % number for number in range(4)]
    ends = [0]
    async with opened(original) as spool:
        for message in messages:
            await spool.put(message)
            (segment,) = original.glob("*.segment")
            ends.append(segment.stat().st_size)

    for cut in range(ends[-1] + 1):
        folder = tmp_path / str(cut)
        shutil.copytree(original, folder)
        os.truncate(folder / segment.name, cut)

        async with opened(folder) as spool:
            whole = sum(1 for end in ends[1:] if end <= cut)
            assert await everything(spool) == messages[:whole]
            await spool.put(b"after")
            assert await everything(spool) == [b"after"]
        async with opened(folder) as spool:
            assert await everything(spool) == [*messages[:whole], b"after"]


async def test_garbage_behind_the_last_message_is_cut(tmp_path):
    async with opened(tmp_path) as spool:
        await spool.put(b"one")
    (segment,) = tmp_path.glob("*.segment")
    with segment.open("ab") as file:
        file.write(b"\0" * 5000 + b"\xfeXA\x01" + bytes(30))

    async with opened(tmp_path) as spool:
        await spool.put(b"two")
        assert await everything(spool) == [b"one", b"two"]


async def test_a_torn_cursor_costs_duplicates_and_no_message(tmp_path):
    async with opened(tmp_path) as spool:
        await spool.put(b"one", b"two")
        await spool.reader("test").done([(await spool.reader("test").next(1))[0][0]])
    os.truncate(tmp_path / "cursor-test", 5)

    async with opened(tmp_path) as spool:
        assert await everything(spool) == [b"one", b"two"]


async def test_a_rotten_message_is_left_out_and_told(tmp_path):
    async with opened(tmp_path) as spool:
        await spool.put(b"one")
        (segment,) = tmp_path.glob("*.segment")
        end = segment.stat().st_size
        await spool.put(b"two")
        await spool.put(b"three")
    octets = bytearray(segment.read_bytes())
    octets[end + 21] ^= 1
    segment.write_bytes(octets)

    async with opened(tmp_path) as spool:
        assert await everything(spool) == [b"one", b"three", b"lost 1"]
        spool.reader("test").rewind()
        assert await everything(spool) == [b"one", b"three", b"lost 1"]


@pytest.mark.parametrize("call", ["pwrite", "fdatasync"])
@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC])
async def test_a_disk_that_fails_once_refuses_that_message_alone(tmp_path, monkeypatch, call, error):
    async with opened(tmp_path) as spool:
        await spool.put(b"before")

        def failing(*arguments):
            raise OSError(error, os.strerror(error))

        with monkeypatch.context() as failed:
            failed.setattr(os, call, failing)
            with pytest.raises(AuditUnavailable):
                await spool.put(b"refused")
            with pytest.raises(AuditUnavailable):
                await spool.check()
        await spool.check()
        await spool.put(b"after")

        assert await everything(spool) == [b"before", b"after"]
    async with opened(tmp_path) as spool:
        assert await everything(spool) == [b"before", b"after"]


async def test_a_short_write_is_continued(tmp_path, monkeypatch):
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, octets, at: real(fd, bytes(octets[:3]), at))
    async with opened(tmp_path) as spool:
        await spool.put(b"whole")
        assert await everything(spool) == [b"whole"]


async def test_a_folder_that_cannot_be_made_is_said_at_start(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(AuditUnavailable, match="cannot be opened"):
        async with opened(tmp_path / "file" / "spool"):
            pass


WRITER = """
import asyncio, sys
from pathlib import Path
from shared.audit.spool import Spool
from shared.settings import OnFull

async def main(folder, start):
    spool = Spool(folder, max_bytes=1 << 30, on_full=OnFull.BLOCK, lost=lambda number, reason: b"lost")
    async def one(lane):
        number = start
        while True:
            await spool.put(b"%d %d " % (lane, number) + b"x" * 500)
            sys.stdout.write(f"{lane} {number}\\n")
            sys.stdout.flush()
            number += 1
    await asyncio.gather(*(one(lane) for lane in range(8)))

asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
"""


def killed(folder, start, lines):
    """Acknowledgements of a process that records until it is killed, after `lines` of them."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, folder, str(start)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    with process:
        yield from (process.stdout.readline() for _ in range(lines))
        process.send_signal(signal.SIGKILL)
        yield from process.stdout


async def test_what_was_acknowledged_survives_kill_9(tmp_path):
    folder, acknowledged = tmp_path / "spool", set()
    for kill in range(6):
        lines = killed(folder, kill * 1_000_000, random.Random(kill).randrange(20, 400))
        acknowledged.update(line.rstrip() for line in lines if line.endswith("\n"))

    async with opened(folder) as spool:
        read = [b" ".join(octets.split()[:2]).decode() for octets in await everything(spool)]

    assert acknowledged <= set(read)
    assert len(read) == len(set(read))
    for lane in range(8):
        numbers = [int(item.split()[1]) for item in read if item.startswith(f"{lane} ")]
        assert numbers == sorted(numbers)
