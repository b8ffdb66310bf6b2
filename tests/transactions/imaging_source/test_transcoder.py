"""Transcoding in worker processes: once for everybody, within its space, and no decoder ends the service."""

from __future__ import annotations

import asyncio
import os
import signal

import numpy as np
import pydicom
import pytest

from shared.dicom.uids import EXPLICIT_LE, IMPLICIT_LE, RLE
from shared.imaging import transcoder as frames
from shared.imaging.cache import KEPT_SECONDS, FileCache
from shared.imaging.transcoder import Transcoder
from tests.support.codecs import CODECS
from tests.support.dicom import a_multi_frame, part10
from tests.support.intake import a_transfer, an_intake


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def instances(tmp_path):
    """Three instances of 512 bytes of pixels each."""
    async with an_intake(tmp_path) as intake:
        kept = []
        for number in range(3):
            octets = part10(a_multi_frame(1, SOPInstanceUID=f"2.25.{100 + number}"), RLE)
            kept.append((await intake.store.store_part10(intake.spooled(octets), a_transfer())).instance)
        yield kept


@pytest.fixture
async def transcoder(tmp_path):
    made = Transcoder(FileCache(tmp_path / "cache", max_bytes=4096, clock=Clock()), CODECS)
    yield made
    await made.close()


def kept(transcoder) -> int:
    return len(list(transcoder._cache._folder.iterdir()))


async def test_a_whole_file_is_given_in_the_other_syntax(transcoder, instances):
    found = await transcoder.transcoded(instances[0], EXPLICIT_LE)

    data_set = pydicom.dcmread(found.path)
    assert (found.offset, found.length) == (0, found.path.stat().st_size)
    assert data_set.file_meta.TransferSyntaxUID == EXPLICIT_LE
    assert np.array_equal(data_set.pixel_array, np.arange(256).reshape(16, 16))


async def test_many_that_ask_at_once_get_one_file(transcoder, instances):
    found = await asyncio.gather(*(transcoder.transcoded(instances[0], EXPLICIT_LE) for _ in range(8)))

    assert len(set(found)) == 1
    assert kept(transcoder) == 1


async def test_the_file_is_kept_for_the_next_who_asks(transcoder, instances):
    first = await transcoder.transcoded(instances[0], EXPLICIT_LE)
    made = first.path.stat().st_mtime_ns

    again = await transcoder.transcoded(instances[0], EXPLICIT_LE)

    assert (again, again.path.stat().st_mtime_ns) == (first, made)
    assert (await transcoder.transcoded(instances[0], IMPLICIT_LE)).path != first.path


async def test_what_was_not_used_for_long_makes_room(transcoder, instances):
    first, second = [await transcoder.transcoded(one, EXPLICIT_LE) for one in instances[:2]]
    transcoder._cache._max_bytes = first.length + second.length + 400
    transcoder._cache._clock.now = KEPT_SECONDS + 1
    await transcoder.transcoded(instances[0], EXPLICIT_LE)

    await transcoder.transcoded(instances[2], EXPLICIT_LE)

    assert first.path.exists()
    assert not second.path.exists()


async def test_what_may_still_be_sent_is_not_removed_and_nothing_more_is_made(transcoder, instances):
    first = await transcoder.transcoded(instances[0], EXPLICIT_LE)
    transcoder._cache._max_bytes = first.length + 100

    with pytest.raises(OSError, match="is full"):
        await transcoder.transcoded(instances[1], EXPLICIT_LE)

    assert first.path.exists()


async def test_the_cache_is_empty_at_the_start(tmp_path):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "half.dcm").write_bytes(b"half")

    FileCache(tmp_path / "cache", max_bytes=4096)

    assert list((tmp_path / "cache").iterdir()) == []


async def test_damaged_pixels_are_an_error_and_leave_nothing(transcoder, instances):
    octets = bytearray(instances[0].path.read_bytes())
    octets[-100:-20] = b"\xff" * 80
    instances[0].path.write_bytes(octets)

    with pytest.raises(ValueError, match="pixels"):
        await transcoder.transcoded(instances[0], EXPLICIT_LE)

    assert kept(transcoder) == 0
    await transcoder.transcoded(instances[1], EXPLICIT_LE)


async def test_a_worker_that_dies_fails_its_task_and_the_next_is_served(transcoder, instances):
    await transcoder.transcoded(instances[0], EXPLICIT_LE)
    for pid in list(transcoder._workers._pool._processes):
        os.kill(pid, signal.SIGKILL)

    with pytest.raises(ValueError, match="the decoder failed"):
        await transcoder.transcoded(instances[1], EXPLICIT_LE)

    assert (await transcoder.transcoded(instances[1], EXPLICIT_LE)).length > 0


async def test_a_task_that_takes_too_long_is_ended(transcoder, instances, monkeypatch):
    monkeypatch.setattr(frames, "_TIMEOUT_SECONDS", 0.0)

    with pytest.raises(ValueError, match="took too long"):
        await transcoder.transcoded(instances[0], EXPLICIT_LE)

    assert kept(transcoder) == 0
