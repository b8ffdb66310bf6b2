"""The store of instances: durable before visible, the first stays, and a crash leaves nothing half done."""

from __future__ import annotations

import asyncio
import errno
import json
import os

import pytest

from imaging_source.domain.intake import OUT_OF_RESOURCES, PROCESSING_FAILURE, Refused, TooLong
from imaging_source.domain.transfer import Fate
from imaging_source.store.incoming import StoreUnusable
from imaging_source.store.instances import InstanceStore
from shared.dicom.part10 import CANNOT_UNDERSTAND
from shared.dicom.uids import DEFLATED_LE, EXPLICIT_BE, IMPLICIT_LE, RLE
from shared.imaging.description import Claim
from shared.imaging.instance import Issuer
from shared.store.space import Space
from tests.support.codecs import CODECS
from tests.support.databases import database_place, postgres_url
from tests.support.dicom import (
    a_ct,
    a_multi_frame,
    an_sr,
    part10,
)
from tests.support.intake import a_transfer, an_intake
from tests.support.made_studies import Studies, studies
from tests.support.waiting import until

__all__ = ["database_place", "postgres_url", "studies"]


@pytest.fixture
async def intake(tmp_path, database_place):
    async with an_intake(tmp_path, database_place) as made:
        yield made


async def keep(intake, octets: bytes, came_by=None, claim: Claim | None = None):
    return await intake.store.store_part10(intake.spooled(octets), came_by or a_transfer(), claim or Claim())


async def events_of(intake, came_by):
    await intake.store.conclude(came_by, intake.trail.record)
    return [(event.action, event.outcome.value) for event in intake.trail.events]


# --- keeping -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("syntax", [IMPLICIT_LE, EXPLICIT_BE, DEFLATED_LE, RLE])
async def test_a_file_is_kept_byte_for_byte(intake, syntax):
    octets = part10(a_multi_frame(), syntax)

    stored = await keep(intake, octets)

    assert stored.new
    assert stored.instance.path.read_bytes() == octets
    assert await intake.store.find_study("2.25.11") == [stored.instance]
    assert intake.incoming == []


async def test_a_preamble_is_zeroed_and_nothing_else(intake):
    octets = part10(a_ct())

    stored = await keep(intake, b"II*\0" + os.urandom(124) + octets[128:])

    assert stored.instance.path.read_bytes() == bytes(128) + octets[128:]


async def test_every_study_of_other_makers_comes_back_as_it_went_in(intake, studies: Studies):
    for path in studies.files:
        await keep(intake, path.read_bytes())

    for path in studies.files:
        study, series, sop = path.parts[-3], path.parts[-2], path.stem
        found = await intake.store.find_instance(study, series, sop)
        assert found.path.read_bytes() == path.read_bytes()


async def test_the_same_file_again_changes_nothing(intake):
    first = await keep(intake, part10(a_ct()))
    came_by = a_transfer()

    again = await keep(intake, part10(a_ct()), came_by)

    assert (again.new, again.instance) == (False, first.instance)
    assert len(intake.kept) == 1
    assert await events_of(intake, came_by) == [("R", 0)]


async def test_the_same_data_set_in_a_file_of_another_sender_is_the_same_instance(intake):
    data_set = a_ct()
    octets = part10(data_set)
    await keep(intake, octets)
    data_set.file_meta.ImplementationVersionName = "ANOTHER"
    head, tail = octets[:132], octets[octets.index(b"\x08\0\x05\0CS") :]
    other = head + bytes(part10_meta(data_set)) + tail

    again = await keep(intake, other)

    assert other != octets
    assert not again.new
    assert [path.read_bytes() for path in intake.kept] == [octets]


def part10_meta(data_set) -> bytes:
    from io import BytesIO

    from pydicom.filewriter import write_file_meta_info

    file = BytesIO()
    write_file_meta_info(file, data_set.file_meta)
    return file.getvalue()


@pytest.mark.parametrize(
    "other",
    [
        part10(a_ct(PatientID="P2")),
        part10(a_ct(StudyInstanceUID="2.25.99")),
        part10(a_ct(PatientID="P2"), IMPLICIT_LE),
    ],
)
async def test_another_data_set_under_a_known_uid_is_refused_and_the_first_stays(intake, other):
    octets = part10(a_ct())
    await keep(intake, octets)
    came_by = a_transfer()

    with pytest.raises(Refused, match="another data set has this SOP Instance UID") as refused:
        await keep(intake, other, came_by)

    assert refused.value.status == PROCESSING_FAILURE
    assert [path.read_bytes() for path in intake.kept] == [octets]
    assert intake.incoming == []
    assert await events_of(intake, came_by) == [("C", 8)]


async def test_what_is_not_dicom_is_refused_and_leaves_nothing(intake):
    came_by = a_transfer()

    with pytest.raises(Refused, match="no DICM at byte 128") as refused:
        await keep(intake, b"%PDF-1.7" * 100, came_by)

    assert refused.value.status == CANNOT_UNDERSTAND
    assert (intake.kept, intake.incoming) == ([], [])
    assert await events_of(intake, came_by) == [("C", 8)]


@pytest.mark.parametrize("length", [131, 200, 400, -40, -1])
async def test_a_truncated_file_is_refused_and_leaves_nothing(intake, length):
    octets = part10(a_ct())

    with pytest.raises(Refused):
        await keep(intake, octets[:length])

    assert (intake.kept, intake.incoming) == ([], [])


async def test_of_many_that_bring_the_same_instance_at_once_one_is_new(intake):
    octets = part10(a_ct())

    results = await asyncio.gather(*(keep(intake, octets) for _ in range(16)))

    assert [stored.new for stored in results].count(True) == 1
    assert len(intake.kept) == 1
    assert intake.incoming == []


async def test_of_many_that_bring_different_instances_under_one_uid_one_is_kept(intake):
    files = [part10(a_ct(PatientID=f"P{number}")) for number in range(8)]

    results = await asyncio.gather(*(keep(intake, octets) for octets in files), return_exceptions=True)

    (kept,) = intake.kept
    assert sum(isinstance(result, Refused) for result in results) == 7
    assert (await intake.store.find_study("2.25.11"))[0].path == kept
    assert intake.incoming == []


async def test_whoever_waits_for_studies_hears_of_new_instances_alone(intake):
    heard: list[str] = []
    intake.store.on_stored.append(heard.append)

    await keep(intake, part10(a_ct()))
    await keep(intake, part10(a_ct()))

    assert heard == ["2.25.11"]


async def test_a_sender_that_goes_away_meanwhile_leaves_a_whole_instance(intake):
    task = asyncio.create_task(keep(intake, part10(a_ct())))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    await until(lambda: bool(intake.kept) and not intake.incoming)
    (found,) = await intake.store.find_study("2.25.11")
    assert [found.path] == intake.kept


# --- limits and faults ---------------------------------------------------------------------------------


def test_a_file_that_is_too_long_is_refused_while_it_arrives(tmp_path):
    from imaging_source.store.files import ContentFiles

    incoming = ContentFiles(tmp_path).new(max_bytes=1000)
    incoming.write(bytes(1000))

    with pytest.raises(TooLong, match="longer than 1000 bytes"):
        incoming.write(b"x")
    incoming.discard()


def failing(number: int):
    def call(*_: object):
        raise OSError(number, os.strerror(number))

    return call


async def test_a_full_disk_refuses_and_the_store_goes_on(intake, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", failing(errno.ENOSPC))
        with pytest.raises(Refused, match="no space") as refused:
            intake.spooled(part10(a_ct()))

    assert refused.value.status == OUT_OF_RESOURCES
    assert (await keep(intake, part10(a_ct()))).new


async def test_a_failed_sync_closes_the_store_until_a_check_succeeds(intake, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", failing(errno.EIO))
        with pytest.raises(Refused):
            intake.spooled(part10(a_ct()))
        with pytest.raises(StoreUnusable, match="Input/output error"):
            intake.store.files.check()

    with pytest.raises(Refused, match="cannot be kept at the moment"):
        intake.store.files.new(max_bytes=10)
    intake.store.files.check()
    assert (await keep(intake, part10(a_ct()))).new


def test_a_disk_that_is_nearly_full_is_told(tmp_path, monkeypatch):
    from imaging_source.store.files import ContentFiles

    files = ContentFiles(tmp_path)
    monkeypatch.setattr(
        "imaging_source.store.incoming.space_of", lambda _: Space(free_bytes=4, total_bytes=100)
    )
    with pytest.raises(StoreUnusable, match="of the disk are free"):
        files.check()


def test_what_is_announced_to_be_longer_than_the_disk_is_refused_at_once(tmp_path):
    from imaging_source.store.files import ContentFiles

    with pytest.raises(Refused, match="no space"):
        ContentFiles(tmp_path).admit(2**62)


# --- crashes -------------------------------------------------------------------------------------------


async def test_a_file_without_row_is_invisible_and_gone_after_the_next_start(tmp_path, database_place):
    async with an_intake(tmp_path, database_place) as intake:
        spooled = intake.spooled(part10(a_ct()))
        intake.store.files.place(spooled)
        assert await intake.store.find_study("2.25.11") == []

    async with an_intake(tmp_path, database_place) as intake:
        await intake.store.recover(intake.trail.record)

        assert (intake.kept, intake.incoming) == ([], [])
        assert (await keep(intake, part10(a_ct()))).new


async def test_a_file_with_row_outlives_a_crash_before_its_name_aside_is_gone(tmp_path, database_place):
    octets = part10(a_ct())
    async with an_intake(tmp_path, database_place) as intake:
        await keep(intake, octets)
        intake.spooled(octets)
        intake.spooled(octets[:300])

    async with an_intake(tmp_path, database_place) as intake:
        await intake.store.recover(intake.trail.record)

        (found,) = await intake.store.find_study("2.25.11")
        assert found.path.read_bytes() == octets
        assert intake.incoming == []


async def test_what_came_before_a_crash_stands_in_the_trail_after_it(tmp_path, database_place):
    async with an_intake(tmp_path, database_place) as intake:
        came_by = a_transfer()
        await keep(intake, part10(a_ct()), came_by)
        await keep(intake, part10(a_ct(SOPInstanceUID="2.25.15")), came_by)

    async with an_intake(tmp_path, database_place) as intake:
        await intake.store.recover(intake.trail.record)
        await intake.store.recover(intake.trail.record)

    (event,) = intake.trail.events
    assert event.participants[0].user_id == "CT1"
    assert event.objects[0].sop_classes == (("1.2.840.10008.5.1.4.1.1.2", 2),)


@pytest.mark.parametrize(
    ("named", "told"),
    [({}, "P1^^^&1.2.8&ISO"), ({"IssuerOfPatientID": "HIS"}, "P1^^^HIS")],
)
async def test_a_patient_id_without_issuer_is_told_as_one_of_the_department(intake, tmp_path, named, told):
    issuer = Issuer("", "1.2.8", "ISO")
    intake.store = InstanceStore(
        intake.database, intake.store.files, patient_id_issuer=issuer, workers=CODECS
    )
    came_by = a_transfer()

    await keep(intake, part10(a_ct(**named)), came_by)
    await intake.store.conclude(came_by, intake.trail.record)

    (event,) = intake.trail.events
    assert told in [each.object_id for each in event.objects]


async def test_events_that_cannot_be_recorded_wait(intake):
    came_by = a_transfer()
    await keep(intake, part10(a_ct()), came_by)
    intake.trail.full = True
    with pytest.raises(Exception, match="the spool is full"):
        await events_of(intake, came_by)

    intake.trail.full = False

    assert await events_of(intake, came_by) == [(Fate.CREATED, 0)]


# --- finding -------------------------------------------------------------------------------------------


async def test_instances_are_found_in_the_order_of_series_and_number(intake):
    for series, number in ((2, 10), (2, 9), (1, 1), (None, 1)):
        data_set = a_ct(
            SOPInstanceUID=f"2.25.{series or 7}{number}",
            SeriesInstanceUID=f"2.25.{series or 7}",
            InstanceNumber=number,
            SeriesNumber=series,
        )
        await keep(intake, part10(data_set))

    found = await intake.store.find_study("2.25.11")

    assert [instance.sop_instance_uid for instance in found] == ["2.25.11", "2.25.29", "2.25.210", "2.25.71"]
    of_series = await intake.store.find_series("2.25.11", "2.25.2")
    assert [instance.instance_number for instance in of_series] == [9, 10]
    assert await intake.store.find_series("2.25.99", "2.25.2") == []


@pytest.mark.parametrize("place", [("2.25.99", "2.25.12", "2.25.13"), ("2.25.11", "2.25.99", "2.25.13")])
async def test_an_instance_is_found_in_its_own_study_and_series_alone(intake, place):
    await keep(intake, part10(a_ct()))

    assert await intake.store.find_instance("2.25.11", "2.25.12", "2.25.13") is not None
    assert await intake.store.find_instance(*place) is None


async def test_everything_that_is_noted_of_an_instance_is_read_back(intake):
    stored = await keep(intake, part10(a_ct(IssuerOfPatientID="HIS")))

    found = (await intake.store.find_instances(["2.25.13", "2.25.99"])).values()

    assert list(found) == [stored.instance]
    assert stored.instance.issuer_of_patient_id == Issuer("HIS")


async def test_studies_are_summed_up(intake):
    await keep(intake, part10(a_ct()))
    await keep(intake, part10(an_sr(SeriesInstanceUID="2.25.16")))
    await keep(
        intake,
        part10(a_ct(StudyInstanceUID="2.25.21", SOPInstanceUID="2.25.22", PatientID="P2")),
    )

    first, second = await intake.store.find_studies()

    assert (first.study_instance_uid, first.number_of_series, first.number_of_instances) == ("2.25.11", 2, 2)
    assert [study.study_instance_uid for study in await intake.store.find_studies(patient_id="P2")] == [
        "2.25.21"
    ]
    assert await intake.store.find_studies(after="2.25.11") == [second]
    assert await intake.store.find_studies(limit=1) == [first]


async def test_the_header_looks_at_the_first_instance_of_each_series(intake):
    for series, number, description in ((2, 2, "no"), (2, 1, "second"), (1, 1, "")):
        data_set = a_ct(
            SOPInstanceUID=f"2.25.{series}{number}",
            SeriesInstanceUID=f"2.25.{series}",
            SeriesNumber=series,
            InstanceNumber=number,
            StudyDescription=description,
        )
        await keep(intake, part10(data_set))

    assert (await intake.store.header(await intake.store.find_study("2.25.11"))).study_description == "second"


async def test_metadata_come_in_the_order_of_the_instances(intake):
    uids = [f"2.25.{number}" for number in range(1000, 1205)]
    for number, uid in enumerate(uids):
        await keep(intake, part10(a_ct(SOPInstanceUID=uid, InstanceNumber=number)))
    instances = await intake.store.find_study("2.25.11")

    metadata = json.loads(b"".join([piece async for piece in intake.store.metadata_array(instances)]))

    assert [one["00080018"]["Value"][0] for one in metadata] == uids


async def test_the_place_of_pixels_is_kept(intake):
    octets = part10(a_multi_frame(3), RLE)
    await keep(intake, octets)
    await keep(intake, part10(an_sr()))

    found = await intake.store.pixels("2.25.13")

    assert [fragment.frame for fragment in found.fragments] == [1, 2, 3]
    assert await intake.store.pixels("2.25.14") is None


async def test_readiness_looks_at_database_and_files(intake):
    await intake.store.check()


async def test_one_instance_in_another_transfer_syntax_is_the_one_that_is_kept(intake, studies: Studies):
    compressed = studies.variant("1.2.840.10008.1.2.4.80")[0]
    plain = studies.plain_twin(compressed)
    first = await keep(intake, plain.read_bytes())

    again = await keep(intake, compressed.read_bytes())

    assert (again.instance, again.new) == (first.instance, False)
