"""Blobs on files and on real object stores: the same promises, whoever keeps the bytes."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import obstore
import pytest

from repository.settings import RepositorySettings
from repository.store.blobs import VERIFY_WHOLE_BYTES, Blobs
from repository.store.encoding import Encoding
from repository.store.files import FileBlobs
from repository.store.integrity import Integrity
from repository.store.objects import ObjectBlobs
from shared.audit.recorder import AuditRecorder
from shared.errors import OutOfResources
from shared.http.checked import DamagedBlob, StoreUnavailable
from shared.http.raw_asgi import BodyBroken
from shared.settings import S3Settings
from shared.store.objects import PART_BYTES
from tests.support.blobs import kept, nothing_is_referenced, octets_of, spooled
from tests.support.object_stores import SERVERS, ObjectStore, ceph_osd, moto

pytestmark = pytest.mark.peer

KEY = bytes(range(32))
ENCODINGS = {
    "plain": Encoding(),
    "compressed": Encoding(compress=True),
    "encrypted": Encoding([KEY], compress=True),
}
TEXT = b"<text>again and again</text>\n" * 20_000
LARGE = os.urandom(2 * PART_BYTES + 12_345)


@pytest.fixture(scope="module", params=["files", *SERVERS])
def server(request: pytest.FixtureRequest) -> Iterator[ObjectStore | None]:
    if request.param == "files":
        yield None
        return
    with SERVERS[request.param]() as store:
        yield store


@pytest.fixture(params=ENCODINGS)
def blobs(server: ObjectStore | None, tmp_path: Path, request: pytest.FixtureRequest) -> Blobs:
    return opened(server, tmp_path, ENCODINGS[request.param])


def opened(server: ObjectStore | None, folder: Path, encoding: Encoding | None = None) -> Blobs:
    """An empty store."""
    if server is None:
        return FileBlobs(folder, encoding)
    return ObjectBlobs(f"s3://{server.bucket}/{uuid4().hex}/deeper", server.settings, folder, encoding)


def copies(blobs: Blobs) -> list[str]:
    """What is kept, by its path or key."""
    if isinstance(blobs, FileBlobs):
        return [str(one) for one in blobs._root.rglob("*") if one.is_file()]
    return [one["path"] for page in obstore.list(blobs._objects._store) for one in page]


def damage(blobs: Blobs, octets: bytes | None = None) -> None:
    """Flip one bit of every blob at rest, or let it be `octets`."""
    for name in copies(blobs):
        if isinstance(blobs, FileBlobs):
            Path(name).write_bytes(flipped(Path(name).read_bytes()) if octets is None else octets)
        else:
            now = bytes(obstore.get(blobs._objects._store, name).bytes())
            obstore.put(blobs._objects._store, name, flipped(now) if octets is None else octets)


def flipped(octets: bytes) -> bytes:
    changed = bytearray(octets)
    changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
    return bytes(changed)


@pytest.mark.parametrize("octets", [b"", b"x", TEXT, os.urandom(VERIFY_WHOLE_BYTES), LARGE], ids=len)
async def test_a_document_comes_back_byte_for_byte(blobs: Blobs, octets: bytes):
    received = await kept(blobs, octets, mime_type="text/xml")

    for hold in (0, len(octets)):
        content = await blobs.content(received.sha256, received.size, hold_bytes=hold)
        assert octets_of(content) == octets
    assert await blobs.is_intact(received.sha256, received.size)
    assert b"".join(blobs.read(received.sha256, received.size)) == octets
    assert await asyncio.to_thread(lambda: list(blobs.incoming.iterdir())) == []


async def test_the_same_bytes_twice_are_whole(blobs: Blobs):
    first, _ = await kept(blobs, TEXT), await kept(blobs, TEXT)
    assert octets_of(await blobs.content(first.sha256, first.size)) == TEXT


async def test_a_flipped_bit_in_a_small_document_shows_before_it_is_sent(blobs: Blobs):
    received = await kept(blobs, TEXT, mime_type="text/xml")
    damage(blobs)

    assert not await blobs.is_intact(received.sha256, received.size)
    with pytest.raises(DamagedBlob):
        await blobs.content(received.sha256, received.size)


async def test_a_flipped_bit_in_a_large_document_shows_before_its_end_is_sent(blobs: Blobs):
    told = []
    blobs.on_damage = told.append
    received = await kept(blobs, LARGE)
    damage(blobs)

    with pytest.raises(BodyBroken):
        octets_of(await blobs.content(received.sha256, received.size))

    assert told == [received.sha256]


@pytest.mark.parametrize("left", [b"", b"x", b"XDSI-B1\n" + bytes(100)], ids=len)
async def test_a_blob_that_became_something_else_is_damaged(blobs: Blobs, left: bytes):
    received = await kept(blobs, TEXT)
    damage(blobs, left)
    with pytest.raises(DamagedBlob):
        await blobs.content(received.sha256, received.size)


async def test_a_blob_that_is_absent_is_damaged(blobs: Blobs):
    with pytest.raises(DamagedBlob):
        await blobs.content(hashlib.sha256(b"never seen").hexdigest(), 10)
    assert not await blobs.is_intact(hashlib.sha256(b"never seen").hexdigest(), 10)


async def test_a_document_that_comes_again_heals_a_damaged_copy(blobs: Blobs):
    received = await kept(blobs, TEXT)
    damage(blobs)

    await kept(blobs, TEXT)

    assert octets_of(await blobs.content(received.sha256, received.size)) == TEXT


async def test_the_sweep_removes_what_nothing_refers_to_after_the_grace_time(blobs: Blobs):
    orphan, wanted = await kept(blobs, b"orphan"), await kept(blobs, b"wanted")

    async def only_wanted(digests: list[str]) -> set[str]:
        return {wanted.sha256} & set(digests)

    assert await blobs.sweep(only_wanted, grace_seconds=60) == 0
    assert await blobs.sweep(only_wanted, grace_seconds=-60) == 1
    assert await blobs.is_intact(wanted.sha256, wanted.size)
    assert not await blobs.is_intact(orphan.sha256, orphan.size)


async def test_what_comes_again_while_the_sweep_removes_it_is_there(blobs: Blobs):
    received = await kept(blobs, b"back again")

    async def comes_again_meanwhile(digests: list[str]) -> set[str]:
        await asyncio.sleep(1.1)  # object stores tell times in seconds
        await kept(blobs, b"back again")
        return set()

    await blobs.sweep(comes_again_meanwhile, grace_seconds=-0.5)

    assert await blobs.is_intact(received.sha256, received.size)


async def test_the_sweep_leaves_one_whole_copy_of_what_is_wanted(blobs: Blobs):
    received = await kept(blobs, TEXT)
    await kept(blobs, TEXT)
    damage(blobs)
    await kept(blobs, TEXT)

    async def wanted(digests: list[str]) -> set[str]:
        return set(digests)

    await blobs.sweep(wanted, grace_seconds=-60)

    assert len(copies(blobs)) == 1
    assert octets_of(await blobs.content(received.sha256, received.size)) == TEXT


async def test_a_damaged_copy_is_mended_from_a_whole_one(blobs: Blobs, tmp_path: Path):
    if isinstance(blobs, FileBlobs):
        pytest.skip("files have one copy")
    await kept(blobs, TEXT)
    damage(blobs)
    received = await kept(blobs, TEXT)
    assert not await blobs.is_intact(received.sha256, received.size)
    settings = RepositorySettings.load(environ={}, data=tmp_path, audit={"url": "tcp://127.0.0.1:9"})
    recorder = AuditRecorder(settings, settings.service)

    assert await Integrity(blobs, None, recorder).mend(received.sha256, received.size)

    await recorder.close()


async def test_what_a_crashed_upload_left_is_removed(blobs: Blobs):
    spooled(blobs, b"half", "left")
    await blobs.sweep(nothing_is_referenced, grace_seconds=-1)
    assert await asyncio.to_thread(lambda: list(blobs.incoming.iterdir())) == []


async def test_a_store_that_works_says_so(blobs: Blobs):
    await blobs.probe()
    assert copies(blobs) == []


async def test_a_document_moves_from_one_store_to_another(blobs: Blobs, tmp_path: Path):
    received = await kept(blobs, LARGE)
    other = FileBlobs(tmp_path / "other", Encoding([KEY]))

    await other.keep(await blobs.fetch(received.sha256, received.size))

    assert octets_of(await other.content(received.sha256, received.size)) == LARGE


# --- a store that fails ----------------------------------------------------------------------------------


async def test_a_store_that_keeps_other_bytes_acknowledges_nothing(tmp_path: Path, monkeypatch):
    with moto() as server:
        blobs = opened(server, tmp_path)
        assert isinstance(blobs, ObjectBlobs)
        put = obstore.put_async

        async def put_damaged(store, key, content, **named):
            octets = content if isinstance(content, bytes) else await asyncio.to_thread(content.read_bytes)
            return await put(store, key, flipped(octets), **named)

        monkeypatch.setattr(obstore, "put_async", put_damaged)
        with pytest.raises(OutOfResources, match="other bytes"):
            await blobs.keep(spooled(blobs, TEXT))
        assert copies(blobs) == []


async def test_a_store_that_is_away_takes_nothing_and_damages_nothing(tmp_path: Path, monkeypatch):
    monkeypatch.setattr("shared.store.objects._RETRIES", 0)
    away = S3Settings(endpoint="http://127.0.0.1:9", access_key="a", secret_key="b", allow_http=True)
    blobs = ObjectBlobs("s3://test", away, tmp_path)

    with pytest.raises(OutOfResources):
        await blobs.keep(spooled(blobs, TEXT))
    with pytest.raises(StoreUnavailable):
        await blobs.content(hashlib.sha256(TEXT).hexdigest(), len(TEXT))
    with pytest.raises(StoreUnavailable):
        await blobs.sweep(nothing_is_referenced, grace_seconds=0)
    with pytest.raises(OSError, match="does not answer"):
        await blobs.probe()


@pytest.mark.heavy
async def test_nothing_acknowledged_is_lost_when_an_osd_of_ceph_dies(tmp_path: Path):
    with SERVERS["ceph"]() as server:
        blobs = opened(server, tmp_path)
        acknowledged = []

        async def write(number: int) -> None:
            octets = random.Random(number).randbytes(100_000)
            received = await kept(blobs, octets)
            acknowledged.append((received, octets))

        for number in range(20):
            await write(number)
        await asyncio.to_thread(ceph_osd, server, "kill-osd", 1)
        for number in range(20, 40):
            await write(number)
            received, octets = acknowledged[number // 2]
            assert octets_of(await blobs.content(received.sha256, received.size)) == octets
        await asyncio.to_thread(ceph_osd, server, "start-osd", 1)

        for received, octets in acknowledged:
            assert octets_of(await blobs.content(received.sha256, received.size)) == octets
        assert len(acknowledged) == 40
