"""Files of instances that are lost or rotten: healed by what comes again, never served, found by a scrub."""

from __future__ import annotations

import asyncio
import json
import os
from io import BytesIO

import pytest
from pydicom.filewriter import write_file_meta_info
from typer.testing import CliRunner

from imaging_source.domain.intake import Refused
from imaging_source.store.adoption import adopt
from shared.audit.events import Outcome
from shared.errors import Actor
from shared.messages.registry import Status
from tests.support.dicom import a_ct, a_multi_frame, part10
from tests.support.imaging_source import Source, database_place, either_source, postgres_url, source
from tests.support.intake import a_transfer, an_intake
from tests.transactions.imaging_source.test_rad69 import Ref, octets, retrieve
from xdsi.db import app
from xdsi.failures import Failed

__all__ = ["database_place", "either_source", "postgres_url", "source"]

STUDY = "2.25.11"
OTHER = "2.25.15"


def lose(path) -> None:
    path.unlink()


def flip_a_pixel(path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def flip_a_pixel_secretly(path) -> None:
    """As rot does: the times of the file tell nothing."""
    before = path.stat()
    flip_a_pixel(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def cut(path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def empty(path) -> None:
    path.write_bytes(b"")


harmed = pytest.mark.parametrize("harm", [lose, flip_a_pixel, flip_a_pixel_secretly, cut, empty])


# --- what comes again --------------------------------------------------------------------------------


@pytest.fixture
async def intake(tmp_path, database_place):
    async with an_intake(tmp_path, database_place) as made:
        yield made


async def keep(intake, content: bytes, came_by=None):
    return await intake.store.store_part10(intake.spooled(content), came_by or a_transfer())


async def actions(intake, came_by):
    await intake.store.conclude(came_by, intake.trail.record)
    return [(event.action, event.outcome_description) for event in intake.trail.events]


@harmed
async def test_the_same_file_again_heals_what_is_stored(intake, harm):
    content = part10(a_ct())
    first = await keep(intake, content)
    harm(first.instance.path)
    came_by = a_transfer()

    again = await keep(intake, content, came_by)

    assert not again.new
    assert again.instance.path.read_bytes() == content
    [(action, told)] = await actions(intake, came_by)
    assert (action, told) == ("U", "1 instances were stored anew: their files were lost or damaged")
    assert intake.incoming == []


@harmed
async def test_the_same_data_set_in_another_file_heals_it_as_well(intake, harm):
    data_set = a_ct()
    first = await keep(intake, part10(data_set))
    harm(first.instance.path)
    other = in_another_file(data_set)

    again = await keep(intake, other)

    [found] = await intake.store.find_study(STUDY)
    assert found == again.instance
    assert found.path.read_bytes() == other
    assert [path.read_bytes() for path in intake.kept] == [other]
    place = await intake.store.pixels(found.sop_instance_uid)
    assert other[place.offset :][: place.length] == data_set.PixelData


@harmed
async def test_another_data_set_heals_nothing(intake, harm):
    first = await keep(intake, part10(a_ct()))
    harm(first.instance.path)

    with pytest.raises(Refused, match="another data set"):
        await keep(intake, part10(a_ct(PatientName="Other^Name")))


async def test_what_stands_where_a_new_file_goes_is_not_taken_for_it(intake):
    content = part10(a_ct())
    spooled = intake.spooled(content)
    place = intake.store.files.path(spooled.sha256)
    place.parent.mkdir()
    place.write_bytes(b"torn")

    stored = await intake.store.store_part10(spooled, a_transfer())

    assert stored.new
    assert stored.instance.path.read_bytes() == content


async def test_a_file_that_is_whole_is_left_as_it_is(intake):
    first = await keep(intake, part10(a_ct()))
    inode = first.instance.path.stat().st_ino

    await keep(intake, part10(a_ct()))

    assert first.instance.path.stat().st_ino == inode


def in_another_file(data_set) -> bytes:
    content = part10(data_set)
    data_set.file_meta.ImplementationVersionName = "ANOTHER"
    meta = BytesIO()
    write_file_meta_info(meta, data_set.file_meta)
    return content[:132] + meta.getvalue() + content[content.index(b"\x08\0\x05\0CS") :]


# --- what is served ----------------------------------------------------------------------------------


@harmed
@pytest.mark.parametrize("served_before", [False, True])
async def test_a_damaged_instance_is_an_error_and_the_rest_is_served(source, harm, served_before):
    damaged, whole = await source.keep(a_ct(), a_ct(SOPInstanceUID=OTHER))
    if served_before:
        assert (await retrieve(source, Ref(), Ref(sop=OTHER))).status is Status.SUCCESS
    harm(damaged.path)

    response = await retrieve(source, Ref(), Ref(sop=OTHER))

    assert response.status is Status.PARTIAL_SUCCESS
    [document], [error] = response.documents, response.errors
    assert (document.document_unique_id, octets(document)) == (OTHER, whole.path.read_bytes())
    assert error.location == damaged.sop_instance_uid
    assert "lost or damaged" in error.context
    assert error.code_for(Actor.REPOSITORY) == "XDSRepositoryError"
    told = [event for event in source.recorder.events if event.objects[0].object_id == "urn:oid:2.25.13"]
    assert [event.outcome for event in told] == [Outcome.SERIOUS_FAILURE]


@harmed
async def test_wado_rs_leaves_out_what_is_damaged(source, harm):
    damaged, _ = await source.keep(a_ct(), a_ct(SOPInstanceUID=OTHER))
    harm(damaged.path)

    async with source.client() as http:
        study = await http.get(f"/dicomweb/studies/{STUDY}")
        single = await http.get(f"/dicomweb/studies/{STUDY}/series/2.25.12/instances/2.25.13")

    assert (study.status_code, study.content.count(b"DICM")) == (206, 1)
    assert single.status_code == 500
    assert b"DICM" not in single.content


async def test_a_damaged_instance_is_not_decoded_either(source):
    [damaged] = await source.keep(a_multi_frame(), syntax="1.2.840.10008.1.2.5")
    flip_a_pixel_secretly(damaged.path)

    response = await retrieve(source, Ref())

    assert (response.documents, len(response.errors)) == ((), 1)


async def test_an_instance_that_was_sent_again_is_served_again(source):
    [damaged] = await source.keep(a_ct())
    flip_a_pixel(damaged.path)
    assert not (await retrieve(source)).documents
    assert len(source.parts.damages) == 1

    await source.keep(a_ct())

    assert (await retrieve(source)).status is Status.SUCCESS
    assert len(source.parts.damages) == 0


async def test_an_untouched_file_is_read_once(source, monkeypatch):
    await source.keep(a_ct())
    files = source.parts.instances.files
    read = []
    prove = files.prove
    monkeypatch.setattr(files, "prove", lambda *which: read.append(which) or prove(*which))

    await retrieve(source)
    assert read == [], "it was hashed when it was written"
    files.distrust((await source.parts.instances.find_study(STUDY))[0].sha256)
    await retrieve(source)
    await retrieve(source)

    assert len(read) == 1


# --- the scrub ---------------------------------------------------------------------------------------


def verify(data, monkeypatch, *options: str):
    monkeypatch.setenv("XDSI_DATA", str(data))
    monkeypatch.setenv("XDSI_AUDIT__URL", "tcp://127.0.0.1:1")
    return CliRunner().invoke(app, ["verify", "--service", "imaging-source", "--json", *options])


@harmed
def test_verify_names_what_is_damaged(tmp_path, monkeypatch, harm):
    async def filled():
        async with an_intake(tmp_path) as intake:
            stored = [await keep(intake, part10(a_ct(SOPInstanceUID=uid))) for uid in ("2.25.1", "2.25.2")]
            return [one.instance for one in stored]

    damaged, _ = asyncio.run(filled())
    assert verify(tmp_path, monkeypatch).exit_code == 0
    harm(damaged.path)

    ended = verify(tmp_path, monkeypatch, "--rate", "1000")

    assert isinstance(ended.exception, Failed)
    found = json.loads(ended.stdout)["instances"]
    assert (found["whole"], found["damaged"]) == (1, 1)
    assert found["not_whole"] == [{"sha256": damaged.sha256, "finding": "damaged"}]


# --- files without a row -----------------------------------------------------------------------------


async def test_a_file_without_a_row_is_adopted(intake):
    content = part10(a_ct())
    sha256 = place_without_row(intake, content)

    assert await adopt(intake.store, intake.trail.record, node="XDSI") == 1
    assert await adopt(intake.store, intake.trail.record, node="XDSI") == 0

    [found] = await intake.store.find_study(STUDY)
    assert (found.sha256, found.path.read_bytes()) == (sha256, content)
    assert [event.event_types[0].code for event in intake.trail.events] == ["instance-adopted"]
    assert intake.incoming == []


async def test_a_torn_file_without_a_row_is_removed(intake):
    sha256 = place_without_row(intake, part10(a_ct()))
    cut(intake.store.files.path(sha256))

    assert await adopt(intake.store, intake.trail.record, node="XDSI") == 0

    assert (intake.kept, intake.incoming) == ([], [])


async def test_another_data_set_without_a_row_is_removed_and_the_first_stays(intake):
    first = await keep(intake, part10(a_ct()))
    place_without_row(intake, part10(a_ct(PatientName="Other^Name")))

    assert await adopt(intake.store, intake.trail.record, node="XDSI") == 0

    assert intake.kept == [first.instance.path]


def place_without_row(intake, content: bytes) -> str:
    spooled = intake.spooled(content)
    intake.store.files.place(spooled)
    spooled.path.unlink()
    return spooled.sha256


async def test_the_service_looks_for_such_files_when_it_starts(source: Source):
    content = part10(a_ct())
    files = source.parts.instances.files
    incoming = files.new(max_bytes=10**6)
    incoming.write(content)
    spooled = incoming.finish()
    files.place(spooled)
    spooled.path.unlink()
    os.utime(files.path(spooled.sha256), (1, 1))

    heard = asyncio.Event()
    source.parts.instances.on_stored.append(lambda study: heard.set())
    await source.service.start()
    try:
        await heard.wait()
        assert len(await source.parts.instances.find_study(STUDY)) == 1
    finally:
        await source.service.adoption.stop()
        await source.service.dimse.stop()
        await source.service._forwarder.stop()
