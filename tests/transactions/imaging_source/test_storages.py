"""Instances in files and in an object store: the same promises, whoever keeps the bytes."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from typer.testing import CliRunner, Result

from imaging_source.domain.intake import OUT_OF_RESOURCES, Refused
from imaging_source.maintenance.backup import backup, restore
from imaging_source.maintenance.scrub import scrub
from imaging_source.store import objects as content_objects
from imaging_source.store.adoption import adopt
from imaging_source.store.incoming import StoreUnusable
from imaging_source.store.stores import open_contents
from imaging_source.transactions import rad68
from shared.audit.events import Outcome
from shared.dicom.uids import EXPLICIT_LE, RLE
from shared.http.checked import DamagedBlob
from shared.messages.registry import Status
from shared.settings import S3Settings
from shared.store.backup import read_manifest
from shared.store.objects import RANGE_BYTES
from tests.support.blobs import octets_of
from tests.support.databases import DatabasePlace
from tests.support.dicom import a_ct, a_multi_frame, an_sr, part10
from tests.support.faulty_s3 import Fault, faulty
from tests.support.imaging_source import Source, close_source, cx, open_source
from tests.support.intake import a_transfer
from tests.support.storages import Storage, Storages, object_access, storage, storages
from tests.support.waiting import until
from tests.transactions.imaging_source.test_rad69 import Ref, retrieve
from xdsi import db

__all__ = ["object_access", "storage", "storages"]

STUDY, OTHER = "2.25.11", "2.25.15"
INSTANCE = "/dicomweb/studies/2.25.11/series/2.25.12/instances/2.25.13"
LARGE = os.urandom(2 * RANGE_BYTES + 12_346)


def place_in(folder: Path) -> DatabasePlace:
    return DatabasePlace(url=None, folder=folder / "imaging-source", name="imaging_source")


async def opened(storage: Storage, folder: Path) -> Source:
    return await open_source(place_in(folder), folder, **storage.settings)


@pytest.fixture
async def source(storage: Storage, tmp_path: Path) -> AsyncIterator[Source]:
    made = await opened(storage, tmp_path / "data")
    yield made
    await close_source(made)


async def given(source: Source, *refs: Ref, syntaxes=(EXPLICIT_LE,)) -> list[bytes]:
    """What RAD-69 sends."""
    response = await retrieve(source, *refs, syntaxes=syntaxes)
    assert response.status is Status.SUCCESS, response.errors
    return [await asyncio.to_thread(octets_of, document.content) for document in response.documents]


def large_ct():
    return a_ct(SOPInstanceUID=OTHER, EncapsulatedDocument=LARGE)


# --- keeping and giving ------------------------------------------------------------------------------


async def test_what_is_kept_is_given_byte_for_byte(source: Source, storage: Storage):
    files = [part10(a_ct()), part10(large_ct())]
    await source.keep(*files)

    assert await given(source, Ref(), Ref(sop=OTHER)) == files
    assert sorted(storage.kept().values()) == sorted(files)
    assert [path for path in source.parts.instances.files.incoming.iterdir() if path.is_file()] == []


async def test_a_study_comes_by_wado_rs_whole_and_its_metadata_with_it(source: Source):
    files = [part10(a_ct()), part10(large_ct())]
    await source.keep(*files)

    async with source.client() as http:
        study = await http.get(f"/dicomweb/studies/{STUDY}", headers={"accept": "*/*"})
        metadata = await http.get(f"/dicomweb/studies/{STUDY}/metadata")

    assert study.status_code == 200
    assert all(octets in study.content for octets in files)
    assert {one["00080018"]["Value"][0] for one in metadata.json()} == {"2.25.13", OTHER}


async def test_bulk_data_are_given(source: Source):
    await source.keep(large_ct())

    async with source.client() as http:
        response = await http.get(
            INSTANCE.replace("2.25.13", OTHER) + "/bulkdata/00420011",
            headers={"accept": "application/octet-stream"},
        )

    assert response.content == LARGE


async def test_metadata_too_long_to_be_kept_are_made_from_the_contents(storage: Storage, tmp_path: Path):
    settings = storage.settings | {"max_header_bytes": 1024**2}
    source = await open_source(place_in(tmp_path / "data"), tmp_path / "data", **settings)
    sequence = [Dataset() for _ in range(800)]
    for item in sequence:
        item.TextValue = "x" * 2_000
    try:
        await source.keep(a_ct(ReferencedImageSequence=sequence))
        async with source.client() as http:
            metadata = await http.get(f"{INSTANCE}/metadata")
        assert len(metadata.json()[0]["00081140"]["Value"]) == len(sequence)
    finally:
        await close_source(source)


async def test_instances_are_transcoded(source: Source):
    await source.keep(a_multi_frame(), syntax=RLE)

    [octets] = await given(source)

    assert a_multi_frame().PixelData in octets


async def test_a_manifest_is_made(source: Source):
    await source.keep(a_ct(), an_sr())

    publication = await rad68.publish(source.parts, STUDY, cx("P1"))

    assert not publication.unchanged


async def test_the_same_instance_again_is_kept_once_whatever_its_file(source: Source, storage: Storage):
    octets = part10(a_ct())
    await source.keep(octets)
    other = a_ct()
    part10(other)
    other.file_meta.ImplementationVersionName = "ANOTHER"

    again = await source.keep(octets, b"".join(written(other)))

    assert {one.sha256 for one in again} == {again[0].sha256}
    assert octets in storage.kept().values()


def written(data_set) -> list[bytes]:
    from io import BytesIO

    from pydicom.filewriter import write_file_meta_info

    octets, meta = part10(a_ct()), BytesIO()
    write_file_meta_info(meta, data_set.file_meta)
    return [octets[:132], meta.getvalue(), octets[octets.index(b"\x08\0\x05\0CS") :]]


async def test_another_data_set_under_a_known_uid_is_refused_and_the_first_stays(
    source: Source, storage: Storage
):
    octets = part10(a_ct())
    await source.keep(octets)

    with pytest.raises(Refused, match="another data set"):
        await source.keep(a_ct(PatientName="Other^Name"))

    assert list(storage.kept().values()) == [octets]


async def test_of_many_that_bring_different_instances_under_one_uid_one_is_kept(
    source: Source, storage: Storage
):
    results = await asyncio.gather(
        *(source.keep(a_ct(PatientID=f"P{number}")) for number in range(8)), return_exceptions=True
    )

    assert sum(isinstance(result, Refused) for result in results) == 7
    assert len(storage.kept()) == 1


# --- damage ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("harm", ["lose", "flip", "cut"])
async def test_what_is_damaged_is_never_given_and_heals_when_it_comes_again(
    source: Source, storage: Storage, harm: str
):
    octets = part10(a_ct())
    await source.keep(octets, a_ct(SOPInstanceUID=OTHER))
    [name] = [name for name, content in storage.kept().items() if content == octets]
    getattr(storage, harm)(name)

    # What shows to be damaged only while it is sent breaks the answer; from then on it is known.
    response = await retrieve(source, Ref(), Ref(sop=OTHER))
    for document in response.documents:
        try:
            await asyncio.to_thread(octets_of, document.content)
        except DamagedBlob:
            assert document.document_unique_id == "2.25.13"
    told = source.recorder.taken()
    response = await retrieve(source, Ref(), Ref(sop=OTHER))

    assert response.status is Status.PARTIAL_SUCCESS
    assert [document.document_unique_id for document in response.documents] == [OTHER]
    assert "lost or damaged" in response.errors[0].context
    told += source.recorder.events
    of_damage = [event for event in told if event.objects[0].object_id == "urn:oid:2.25.13"]
    assert [event.outcome for event in of_damage] == [Outcome.SERIOUS_FAILURE]

    await source.keep(octets)

    assert (await given(source, Ref()))[0] == octets


async def test_a_scrub_finds_what_is_damaged(source: Source, storage: Storage):
    [damaged, whole] = await source.keep(a_ct(), a_ct(SOPInstanceUID=OTHER))
    files = source.parts.instances.files
    [name] = [name for name in storage.kept() if damaged.sha256 in name]
    storage.flip(name)

    assert not await files.proved(damaged.sha256, damaged.size)
    assert await files.proved(whole.sha256, whole.size)


async def test_damage_that_shows_while_an_instance_is_sent_is_told_of_at_once(
    storages: Storages, tmp_path: Path
):
    storage = storages.objects()
    source = await opened(storage, tmp_path / "data")
    source.service._watch_for_damage(asyncio.get_running_loop())
    try:
        await source.keep(large_ct())
        [name] = storage.kept()
        storage.flip(name)
        response = await retrieve(source, Ref(sop=OTHER))

        with pytest.raises(DamagedBlob):
            await asyncio.to_thread(octets_of, response.documents[0].content)

        await until(lambda: len(source.parts.damages) == 1)
        await asyncio.gather(*source.service._telling)
        told = [event.objects[0].object_id for event in source.recorder.taken()]
        assert told.count(f"urn:oid:{OTHER}") == 1
    finally:
        await close_source(source)


async def test_the_service_scrubs_by_itself_and_shows_what_it_found(storage: Storage, tmp_path: Path):
    settings = storage.settings | {"scrub_days": 30.0}
    source = await open_source(place_in(tmp_path / "data"), tmp_path / "data", **settings)
    try:
        kept = await source.keep(*(a_ct(SOPInstanceUID=f"2.25.{number}") for number in range(1, 6)))
        [name] = [name for name in storage.kept() if kept[2].sha256 in name]
        storage.flip(name)
        source.recorder.taken()

        await source.service.scrubbing.turn()

        [event] = source.recorder.taken()
        assert event.objects[0].object_id == f"urn:oid:{kept[2].sop_instance_uid}"
        async with source.client() as http:
            metrics = (await http.get("/metrics")).text
        assert "xdsi_scrub_damaged 1.0" in metrics
        assert "xdsi_scrub_ended_timestamp_seconds 0.0" not in metrics
        assert [work.name for work in source.service.scrubbing.works] == ["scrub"]
    finally:
        await close_source(source)


async def test_a_scrub_that_begins_anywhere_looks_at_everything(source: Source):
    kept = await source.keep(*(a_ct(SOPInstanceUID=f"2.25.{number}") for number in range(1, 6)))
    parts = source.parts
    for first in ("", "0", *(one.sha256 for one in kept), "f" * 64):
        walk = scrub(parts.database, parts.instances.files, parts.recorder, first=first)
        assert sorted([sha256 async for sha256, _, _ in walk]) == sorted(one.sha256 for one in kept)


async def test_a_damaged_object_beside_a_whole_one_is_never_given(storages: Storages, tmp_path: Path):
    storage = storages.objects()
    source = await opened(storage, tmp_path / "data")
    try:
        octets = part10(a_ct())
        await source.keep(octets)
        [key] = storage.kept()
        storage.put(f"{key}-newer", octets)
        for name in storage.kept():
            if not name.endswith("-newer"):
                storage.flip(name)

        for _ in range(2):
            assert await given(source) == [octets]
    finally:
        await close_source(source)


# --- crashes -----------------------------------------------------------------------------------------


async def test_what_a_dead_process_left_is_gone_after_the_next_start(storage: Storage, tmp_path: Path):
    octets = part10(a_ct())
    source = await opened(storage, tmp_path / "data")
    await source.keep(octets)
    for content in (part10(a_ct(SOPInstanceUID=OTHER)), octets):
        incoming = source.parts.instances.files.new(max_bytes=10**9)
        incoming.write(content)
        await source.parts.instances.files.keep(incoming.finish())
    await close_source(source)

    source = await opened(storage, tmp_path / "data")
    try:
        await source.parts.instances.recover(source.recorder.record)

        assert set(storage.kept().values()) == {octets}
        assert await given(source) == [octets]
    finally:
        await close_source(source)


async def test_what_a_living_process_receives_is_left_alone_by_the_start_of_another(
    storage: Storage, tmp_path: Path
):
    one = await opened(storage, tmp_path / "one")
    two = await opened(storage, tmp_path / "two")
    try:
        incoming = one.parts.instances.files.new(max_bytes=10**9)
        incoming.write(part10(a_ct())[:300])
        await two.parts.instances.recover(two.recorder.record)
        incoming.write(part10(a_ct())[300:])

        stored = await one.parts.instances.store_part10(incoming.finish(), a_transfer())

        assert stored.new
        assert await given(one) == [part10(a_ct())]
    finally:
        await close_source(one)
        await close_source(two)


async def test_contents_without_a_row_are_adopted_when_they_are_settled(
    source: Source, storage: Storage, monkeypatch: pytest.MonkeyPatch
):
    octets = part10(a_ct())
    incoming = source.parts.instances.files.new(max_bytes=10**9)
    incoming.write(octets)
    spooled = incoming.finish()
    await source.parts.instances.files.keep(spooled)
    source.parts.instances.files.release(spooled)
    if storage.access is not None:
        assert await adopt(source.parts.instances, source.recorder.record, node="XDSI") == 0
        monkeypatch.setattr(content_objects.ContentObjects, "settled_seconds", -60.0)

    assert await adopt(source.parts.instances, source.recorder.record, node="XDSI") == 1
    assert await adopt(source.parts.instances, source.recorder.record, node="XDSI") == 0

    assert await given(source) == [octets]
    assert list(storage.kept().values()) == [octets]


# --- copies ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["files", "objects"])
async def test_a_backup_of_either_is_restored_into_either(
    source: Source, storages: Storages, tmp_path: Path, target: str
):
    files = [part10(a_ct()), part10(large_ct())]
    await source.keep(*files)
    settings, folder = source.parts.settings, tmp_path / "backup"
    folder.mkdir()
    copied = [one async for one in backup(settings, open_contents(settings), folder)]
    assert [whole for *_, whole in copied] == [True, True]

    other: Storage = getattr(storages, target)()
    new = settings.model_validate(settings.model_dump() | {"data": tmp_path / "new"} | other.settings)
    manifest = read_manifest(folder, "imaging_source")
    copied = [one async for one in restore(new, open_contents(new), folder, manifest)]

    assert [whole for *_, whole in copied] == [True, True]
    elsewhere = await opened(other, tmp_path / "new")
    try:
        assert await given(elsewhere, Ref(), Ref(sop=OTHER)) == files
    finally:
        await close_source(elsewhere)


def test_commands_verify_and_copy_either(storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    async def filled() -> list[str]:
        source = await opened(storage, tmp_path / "data")
        kept = await source.keep(a_ct(), a_ct(SOPInstanceUID=OTHER))
        await close_source(source)
        return [one.sha256 for one in kept]

    def run(*words: str) -> Result:
        return CliRunner().invoke(db.app, [*words, "--service", "imaging-source", "--json"])

    monkeypatch.setenv("XDSI_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("XDSI_AUDIT__URL", "tcp://127.0.0.1:1")
    monkeypatch.setenv("XDSI_STORAGE_URL", storage.url)
    for name, value in (storage.settings.get("s3") or {}).items():
        monkeypatch.setenv(f"XDSI_S3__{name.upper()}", str(value))
    damaged, _ = asyncio.run(filled())

    assert json.loads(run("verify").stdout)["instances"]["whole"] == 2
    [name] = [name for name in storage.kept() if damaged in name]
    storage.flip(name)
    found = json.loads(run("verify").stdout)["instances"]
    copied = json.loads(run("backup", str(tmp_path / "backup")).stdout)["imaging-source"]

    assert (found["whole"], found["not_whole"]) == (1, [{"sha256": damaged, "finding": "damaged"}])
    assert copied["missing"] == [damaged]


# --- a store that fails ------------------------------------------------------------------------------


async def test_a_store_that_is_away_is_told_and_works_again_without_a_start(
    storages: Storages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("shared.store.objects._RETRIES", 0)
    async with faulty(storages.access, shares={}) as line:
        storage = storages.objects(line.settings)
        source = await opened(storage, tmp_path / "data")
        octets = part10(a_ct())
        await source.keep(octets)
        source.parts.instances.files._noted.clear()
        line.shares = {Fault.REFUSED: 1.0}

        with pytest.raises(Refused) as refused:
            await source.keep(a_ct(SOPInstanceUID=OTHER))
        response = await retrieve(source)

        assert refused.value.status == OUT_OF_RESOURCES
        assert [error.context for error in response.errors] == [
            "instance 2.25.13: the object store does not answer; ask again later"
        ]
        assert len(source.parts.damages) == 0
        with pytest.raises(Exception, match="answers with an error"):
            await source.parts.instances.check()
        line.shares = {}
        await source.parts.instances.check()
        assert await given(source) == [octets]
        await source.keep(a_ct(SOPInstanceUID=OTHER))
        await close_source(source)


@pytest.mark.parametrize("fault", [Fault.LOST, Fault.CUT_REQUEST, Fault.CUT_ANSWER, Fault.LIE, Fault.ALTERED])
async def test_a_store_that_fails_so_acknowledges_nothing_that_is_not_there(
    storages: Storages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Fault
):
    monkeypatch.setattr("shared.store.objects._RETRIES", 1)
    async with faulty(storages.access, shares={fault: 0.3}) as line:
        storage = storages.objects(line.settings)
        source = await opened(storage, tmp_path / "data")
        acknowledged = {}
        for number in range(1, 13):
            octets = part10(a_ct(SOPInstanceUID=f"2.25.{number}"))
            with suppress(Refused):
                await source.keep(octets)
                acknowledged[f"2.25.{number}"] = octets
        line.shares = {}

        assert acknowledged
        assert await given(source, *(Ref(sop=uid) for uid in acknowledged)) == list(acknowledged.values())
        await close_source(source)


async def test_a_slow_store_gives_what_it_has(storages: Storages, tmp_path: Path):
    async with faulty(storages.access, shares={Fault.SLOW: 0.5}, slow_seconds=(0.0, 0.1)) as line:
        storage = storages.objects(line.settings)
        source = await opened(storage, tmp_path / "data")
        files = [part10(a_ct(SOPInstanceUID=f"2.25.{number}")) for number in range(1, 25)]
        await asyncio.gather(*(source.keep(octets) for octets in files))
        assert await given(source, *(Ref(sop=f"2.25.{number}") for number in range(1, 25))) == files
        await close_source(source)


@pytest.mark.parametrize(
    ("changes", "bucket", "told"),
    [
        ({"endpoint": "http://127.0.0.1:9"}, "test", "does not answer .* XDSI_S3__ENDPOINT names it"),
        ({}, "nowhere", "has no such bucket; make it, or correct XDSI_STORAGE_URL"),
    ],
)
async def test_a_store_that_cannot_be_used_is_told_in_use(
    storages: Storages, tmp_path: Path, monkeypatch, caplog, changes, bucket, told
):
    monkeypatch.setattr("shared.store.objects._RETRIES", 0)
    access = S3Settings(**storages.access.model_dump() | changes)
    source = await opened(Storage(f"s3://{bucket}/x", access), tmp_path / "data")
    try:
        with pytest.raises(Refused, match="cannot be kept at the moment"):
            await source.keep(a_ct())
        with pytest.raises(Exception, match=told):
            await source.parts.instances.check()
    finally:
        await close_source(source)


async def test_a_store_that_refuses_the_key_is_told_in_use(storages: Storages, tmp_path: Path, caplog):
    async with faulty(storages.access, shares={Fault.REFUSED: 1.0}, codes=(403,)) as line:
        source = await opened(storages.objects(line.settings), tmp_path / "data")
        with pytest.raises(Refused, match="cannot be kept at the moment"):
            await source.keep(a_ct())
        with pytest.raises(StoreUnusable, match="refuses the key; correct XDSI_S3__ACCESS_KEY and"):
            await source.parts.instances.check()
        await close_source(source)
    assert "refuses the key; correct XDSI_S3__ACCESS_KEY and XDSI_S3__SECRET_KEY" in caplog.text
    assert "Traceback" not in caplog.text


# --- where they are ----------------------------------------------------------------------------------


def test_a_repository_beside_sees_nothing_of_them(storages: Storages, tmp_path: Path):
    """One `XDSI_STORAGE_URL` is that of both."""
    from repository.store.objects import ObjectBlobs

    storage = storages.objects()

    async def work() -> None:
        source = await opened(storage, tmp_path / "data")
        await source.keep(a_ct())
        blobs = ObjectBlobs(storage.url, storages.access, tmp_path / "repository")

        async def nothing(digests: list[str]) -> set[str]:
            return set()

        assert await blobs.sweep(nothing, grace_seconds=-60) == 0
        assert len(storage.kept()) == 1
        await close_source(source)

    asyncio.run(work())


async def test_metadata_are_one_array_whatever_keeps_the_contents(source: Source):
    await source.keep(*(a_ct(SOPInstanceUID=f"2.25.{number}") for number in range(1, 4)))
    instances = await source.parts.instances.find_study(STUDY)

    pieces = [piece async for piece in source.parts.instances.metadata_array(instances)]

    assert len(json.loads(b"".join(pieces))) == 3
