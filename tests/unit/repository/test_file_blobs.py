"""Content-addressed files: whole or absent, never changed, never lost to a sweep that raced."""

from __future__ import annotations

import errno
import hashlib
import os
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from repository.store import files as files_module
from repository.store.blobs import VERIFY_WHOLE_BYTES
from repository.store.files import FileBlobs
from shared.errors import OutOfResources
from shared.http.checked import DamagedBlob
from shared.soap.mtom import Received


def spooled(blobs: FileBlobs, octets: bytes, name: str = "part") -> Received:
    path = blobs.incoming / name
    path.write_bytes(octets)
    return Received(path, len(octets), hashlib.sha1(octets).hexdigest(), hashlib.sha256(octets).hexdigest())


async def nothing_is_referenced(digests: list[str]) -> set[str]:
    return set()


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.binary(max_size=300), max_size=5))
async def test_every_document_comes_back_byte_for_byte(tmp_path: Path, documents: list[bytes]):
    blobs = FileBlobs(tmp_path)
    for octets in documents:
        received = spooled(blobs, octets)
        await blobs.keep(received)

        content = await blobs.content(received.sha256, received.size)

        assert content.path.read_bytes()[content.offset : content.offset + content.length] == octets
        received.path.unlink(missing_ok=True)


async def test_the_same_bytes_are_kept_once(tmp_path: Path):
    blobs = FileBlobs(tmp_path)
    await blobs.keep(spooled(blobs, b"twice", "a"))
    await blobs.keep(spooled(blobs, b"twice", "b"))

    assert len([path for path in (tmp_path / "blobs").rglob("*") if path.is_file()]) == 1


async def test_a_flipped_bit_is_never_served(tmp_path: Path):
    blobs = FileBlobs(tmp_path)
    received = spooled(blobs, b"precious")
    await blobs.keep(received)
    blobs.path(received.sha256).write_bytes(b"Precious")

    with pytest.raises(DamagedBlob):
        await blobs.content(received.sha256, received.size)


async def test_a_large_blob_of_another_size_is_never_served(tmp_path: Path):
    blobs = FileBlobs(tmp_path)
    received = spooled(blobs, bytes(VERIFY_WHOLE_BYTES + 1))
    await blobs.keep(received)
    with blobs.path(received.sha256).open("ab") as file:
        file.write(b"x")

    with pytest.raises(DamagedBlob):
        await blobs.content(received.sha256, received.size)


async def test_a_document_that_comes_again_replaces_a_damaged_copy(tmp_path: Path):
    blobs = FileBlobs(tmp_path)
    received = spooled(blobs, b"precious")
    await blobs.keep(received)
    blobs.path(received.sha256).write_bytes(b"short")

    await blobs.keep(spooled(blobs, b"precious"))

    assert (await blobs.content(received.sha256, received.size)).path.read_bytes() == b"precious"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
async def test_a_full_disk_refuses_the_document_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
):
    blobs = FileBlobs(tmp_path)
    kept = spooled(blobs, b"kept before", "a")
    await blobs.keep(kept)
    with monkeypatch.context() as full:
        full.setattr(files_module.os, "utime", failing(number))
        with pytest.raises(OutOfResources):
            await blobs.keep(spooled(blobs, b"one too many", "b"))
        assert await blobs.content(kept.sha256, kept.size)

    await blobs.keep(spooled(blobs, b"one too many", "b"))


async def test_after_a_failed_sync_nothing_is_written_until_a_self_test_succeeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    blobs = FileBlobs(tmp_path)
    with monkeypatch.context() as broken:
        broken.setattr(files_module.os, "fsync", failing(errno.EIO))
        with pytest.raises(OutOfResources):
            await blobs.keep(spooled(blobs, b"a"))
        with pytest.raises(OSError, match=r"I/O|Input/output"):
            await blobs.probe()
    with pytest.raises(OutOfResources, match="read-only"):
        await blobs.keep(spooled(blobs, b"a"))

    await blobs.probe()

    await blobs.keep(spooled(blobs, b"a"))


async def test_the_sweep_removes_what_nothing_refers_to_after_the_grace_time(tmp_path: Path):
    blobs = FileBlobs(tmp_path)
    orphan, wanted = spooled(blobs, b"orphan", "a"), spooled(blobs, b"wanted", "b")
    for received in (orphan, wanted):
        await blobs.keep(received)

    async def only_wanted(digests: list[str]) -> set[str]:
        return {wanted.sha256} & set(digests)

    assert await blobs.sweep(only_wanted, grace_seconds=60) == 0
    assert await blobs.sweep(only_wanted, grace_seconds=-1) == 1
    assert not blobs.path(orphan.sha256).exists()
    assert blobs.path(wanted.sha256).exists()


async def test_a_blob_that_is_wanted_again_while_the_sweep_runs_stays(tmp_path: Path):
    blobs = FileBlobs(tmp_path)
    received = spooled(blobs, b"back again", "a")
    await blobs.keep(received)
    long_ago = time.time() - 1_000
    os.utime(blobs.path(received.sha256), (long_ago, long_ago))

    async def comes_again_meanwhile(digests: list[str]) -> set[str]:
        await blobs.keep(spooled(blobs, b"back again", "b"))
        return set()

    assert await blobs.sweep(comes_again_meanwhile, grace_seconds=500) == 0
    assert blobs.path(received.sha256).exists()


async def test_what_a_crashed_upload_left_is_removed(tmp_path: Path):
    blobs = FileBlobs(tmp_path)
    left = blobs.incoming / "left"
    left.write_bytes(b"half")

    await blobs.sweep(nothing_is_referenced, grace_seconds=-1)

    assert not left.exists()


def failing(number: int):
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail
