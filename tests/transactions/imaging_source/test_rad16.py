"""C-MOVE and C-GET [RAD-16]: what is sent, how it is counted and told, and who may not have it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from pydicom.dataset import Dataset
from pynetdicom import evt

from shared.audit.recorder import AuditUnavailable
from shared.dicom.uids import EXPLICIT_LE, IMPLICIT_LE, JPEG_BASELINE, JPEG_LS_LOSSLESS, RLE
from tests.support.databases import DatabasePlace
from tests.support.dicom import CT, a_ct, a_multi_frame, an_sr
from tests.support.dimse import (
    PATIENT_MOVE,
    STUDY_GET,
    STUDY_MOVE,
    Receiver,
    associated,
    counts,
    data_set_of,
    fetched,
    identifier,
    moved,
)
from tests.support.imaging_source import Source, a_rejection_note, close_source, cx, open_source
from tests.support.waiting import until

SR = "1.2.840.10008.5.1.4.1.1.88.11"
STUDY = identifier("STUDY", StudyInstanceUID="2.25.11")


@asynccontextmanager
async def serving(tmp_path: Path, receiver: Receiver, **table) -> AsyncIterator[tuple[Source, int]]:
    """A source that knows the receiver, and a workstation that may move to it."""
    place = DatabasePlace(url=None, folder=tmp_path / "database", name="imaging_source")
    entities = {
        "WORKSTATION": {"services": ["move", "get"], "destinations": [receiver.title]},
        "MODALITY": {"services": ["store"]},
        receiver.title: {"host": "127.0.0.1", "port": receiver.port or 1},
    }
    source = await open_source(place, tmp_path / "data", application_entities=entities | table)
    await source.service.dimse.start()
    try:
        yield source, source.service.dimse.port
    finally:
        await source.service.dimse.stop()
        await close_source(source)


def several(number: int, **changes) -> list[Dataset]:
    return [a_ct(SOPInstanceUID=f"2.25.{100 + at}", InstanceNumber=at, **changes) for at in range(number)]


def events(source: Source) -> list[tuple[str, int, str]]:
    """Code, outcome and patient of each event."""
    return [
        (
            event.event_id.code,
            event.outcome.value,
            next((one.object_id for one in event.objects if one.type_code == 1), ""),
        )
        for event in source.recorder.taken()
    ]


async def test_a_study_is_moved_byte_for_byte_in_the_order_of_its_instances(tmp_path):
    async with (
        Receiver().listening() as receiver,
        serving(tmp_path, receiver) as (source, port),
    ):
        kept = await source.keep(*several(5))
        source.recorder.taken()
        responses = await moved(port, "WORKSTATION", receiver.title, STUDY)
        told = events(source)

    *pending, (last, failed) = responses
    assert (last.Status, counts(last), failed) == (0x0000, (5, 0, 0), None)
    assert "NumberOfRemainingSuboperations" not in last
    assert all(
        status.Status == 0xFF00 and sum(counts(status)) + status.NumberOfRemainingSuboperations == 5
        for status, _ in pending
    )
    assert receiver.uids == [one.sop_instance_uid for one in kept]
    assert receiver.data_sets == [(EXPLICIT_LE, data_set_of(one.path)) for one in kept]
    assert {
        (one.MoveOriginatorApplicationEntityTitle, one.MoveOriginatorMessageID) for one in receiver.requests
    } == {("WORKSTATION", 1)}
    assert receiver.associations == 1
    assert told == [("110102", 0, cx("P1")), ("110104", 0, cx("P1"))]


ONE_SERIES = {"StudyInstanceUID": "2.25.11", "SeriesInstanceUID": "2.25.12"}
CHOICES = [
    (identifier("PATIENT", PatientID="P1"), PATIENT_MOVE, 4),
    (identifier("STUDY", PatientID="P1", StudyInstanceUID="2.25.11"), PATIENT_MOVE, 3),
    (identifier("STUDY", PatientID="OTHER", StudyInstanceUID="2.25.11"), PATIENT_MOVE, 0),
    (identifier("STUDY", StudyInstanceUID=["2.25.11", "2.25.50"]), STUDY_MOVE, 4),
    (identifier("SERIES", **ONE_SERIES), STUDY_MOVE, 2),
    (identifier("SERIES", StudyInstanceUID="2.25.50", SeriesInstanceUID="2.25.12"), STUDY_MOVE, 0),
    (
        identifier("IMAGE", **ONE_SERIES, SOPInstanceUID=["2.25.100", "2.25.101", "2.25.102", "2.25.999"]),
        STUDY_MOVE,
        2,
    ),
]


async def test_keys_choose_what_is_sent(tmp_path):
    async with Receiver().listening() as receiver, serving(tmp_path, receiver) as (source, port):
        await source.keep(*several(2))
        await source.keep(
            a_ct(SOPInstanceUID="2.25.102", SeriesInstanceUID="2.25.22"),
            a_ct(SOPInstanceUID="2.25.103", StudyInstanceUID="2.25.50", SeriesInstanceUID="2.25.51"),
        )
        for keys, model, number in CHOICES:
            receiver.requests.clear()
            [*_, (last, _)] = await moved(port, "WORKSTATION", receiver.title, keys, model)
            assert (last.Status, counts(last)) == (0, (number, 0, 0)), keys
            assert len(receiver.requests) == number


REFUSALS = [
    ("WORKSTATION", "NOBODY", STUDY, 0xA801),
    ("WORKSTATION", "MODALITY", STUDY, 0xA801),
    ("MODALITY", "DESTINATION", STUDY, 0x0124),
    ("WORKSTATION", "DESTINATION", identifier("SERIES", SeriesInstanceUID="2.25.12"), 0xA900),
    ("WORKSTATION", "DESTINATION", identifier("PATIENT", PatientID="P1"), 0xA900),
]


async def test_what_is_not_asked_rightly_is_refused_with_its_status_and_recorded(tmp_path):
    async with Receiver().listening() as receiver, serving(tmp_path, receiver) as (source, port):
        await source.keep(*several(2))
        for title, to, keys, status in REFUSALS:
            source.recorder.taken()
            [(last, _)] = await moved(port, title, to, keys)
            await source.recorder.refusals.settle()
            [told] = source.recorder.taken()

            assert last.Status == status
            assert last.ErrorComment
            assert told.outcome.value != 0
        assert receiver.requests == []


async def test_a_destination_that_is_away_fails_everything(tmp_path):
    receiver = Receiver()
    async with serving(tmp_path, receiver) as (source, port):
        await source.keep(*several(3))
        source.recorder.taken()
        [*_, (last, failed)] = await moved(port, "WORKSTATION", receiver.title, STUDY)
        told = events(source)

    assert (last.Status, counts(last)) == (0xA702, (0, 3, 0))
    assert receiver.title in last.ErrorComment
    assert failed is not None
    assert len(failed.FailedSOPInstanceUIDList) == 3
    assert told == [("110102", 0, cx("P1")), ("110104", 8, cx("P1"))]


async def test_what_the_destination_refuses_is_named_and_the_rest_is_sent(tmp_path):
    def status(receiver: Receiver) -> int:
        return {2: 0xA700, 3: 0xB007}.get(len(receiver.requests), 0)

    async with (
        Receiver(status=status).listening() as receiver,
        serving(tmp_path, receiver) as (source, port),
    ):
        kept = await source.keep(*several(4))
        [*_, (last, failed)] = await moved(port, "WORKSTATION", receiver.title, STUDY)

    assert (last.Status, counts(last)) == (0xB000, (2, 1, 1))
    assert failed is not None
    assert failed.FailedSOPInstanceUIDList == kept[1].sop_instance_uid
    assert len(receiver.requests) == 4


async def test_what_is_compressed_is_sent_as_it_is_or_decoded_for_who_cannot_read_it(tmp_path):
    async with (
        Receiver(syntaxes=(JPEG_LS_LOSSLESS, IMPLICIT_LE)).listening() as receiver,
        serving(tmp_path, receiver) as (source, port),
    ):
        [compressed] = await source.keep(a_multi_frame(SOPInstanceUID="2.25.1"), syntax=JPEG_LS_LOSSLESS)
        await source.keep(a_multi_frame(SOPInstanceUID="2.25.2"), syntax=RLE)
        [*_, (last, _)] = await moved(port, "WORKSTATION", receiver.title, STUDY)

    assert (last.Status, counts(last)) == (0, (2, 0, 0))
    assert {syntax for syntax, _ in receiver.data_sets} == {JPEG_LS_LOSSLESS, IMPLICIT_LE}
    assert (JPEG_LS_LOSSLESS, data_set_of(compressed.path)) in receiver.data_sets


async def test_an_association_that_ends_is_made_anew_from_where_it_ended(tmp_path):
    aborted: list[str] = []

    class Forgetful(Receiver):
        def store(self, event) -> int:
            uid = str(event.request.AffectedSOPInstanceUID)
            if len(self.requests) in (1, 3) and uid not in aborted:
                aborted.append(uid)
                event.assoc.abort()
                return 0
            return super().store(event)

    async with Forgetful().listening() as receiver, serving(tmp_path, receiver) as (source, port):
        kept = await source.keep(*several(5))
        [*_, (last, _)] = await moved(port, "WORKSTATION", receiver.title, STUDY)

    assert (last.Status, counts(last)) == (0, (5, 0, 0))
    assert receiver.uids == [one.sop_instance_uid for one in kept]
    assert receiver.associations == 3


async def test_what_is_rejected_or_refused_by_consent_is_as_if_it_were_not_there(tmp_path):
    async with Receiver().listening() as receiver, serving(tmp_path, receiver) as (source, port):
        await source.keep(a_ct(), a_rejection_note("113037"))
        await source.keep(a_ct(SOPInstanceUID="2.25.77", StudyInstanceUID="2.25.70", PatientID="P2"))
        source.consent.refused = frozenset({cx("P2")})
        source.recorder.taken()
        [(rejected, _)] = await moved(port, "WORKSTATION", receiver.title, STUDY)
        about_nothing = events(source)
        [(refused, _)] = await moved(
            port, "WORKSTATION", receiver.title, identifier("STUDY", StudyInstanceUID="2.25.70")
        )
        about_consent = events(source)
        [(unknown, _)] = await moved(
            port, "WORKSTATION", receiver.title, identifier("STUDY", StudyInstanceUID="2.25.999")
        )

    assert rejected == refused == unknown
    assert (rejected.Status, counts(rejected)) == (0, (0, 0, 0))
    assert about_nothing == [("110104", 4, "")]
    assert about_consent == [("110104", 8, cx("P2"))]
    assert receiver.associations == 0


async def test_nothing_is_sent_that_cannot_be_recorded(tmp_path, monkeypatch):
    async def full(events) -> None:
        raise AuditUnavailable("the spool is full")

    async with Receiver().listening() as receiver, serving(tmp_path, receiver) as (source, port):
        await source.keep(*several(2))
        monkeypatch.setattr(source.recorder, "record", full)
        [(last, _)] = await moved(port, "WORKSTATION", receiver.title, STUDY)
        monkeypatch.undo()

    assert last.Status == 0xC000
    assert receiver.associations == 0


async def test_a_file_that_is_damaged_is_sent_to_nobody(tmp_path):
    async with Receiver().listening() as receiver, serving(tmp_path, receiver) as (source, port):
        good, bad = await source.keep(*several(2))
        octets = bytearray(bad.path.read_bytes())
        octets[-1] ^= 1
        bad.path.chmod(0o600)
        bad.path.write_bytes(octets)
        [*_, (last, failed)] = await moved(port, "WORKSTATION", receiver.title, STUDY)

    assert (last.Status, counts(last)) == (0xB000, (1, 1, 0))
    assert failed is not None
    assert failed.FailedSOPInstanceUIDList == bad.sop_instance_uid
    assert receiver.uids == [good.sop_instance_uid]


async def test_a_study_is_fetched_by_the_same_association(tmp_path):
    async with serving(tmp_path, Receiver()) as (source, port):
        await source.keep(*several(3), an_sr())
        source.recorder.taken()
        responses, data_sets = await fetched(
            port, "WORKSTATION", STUDY, [(CT, EXPLICIT_LE), (SR, EXPLICIT_LE)]
        )
        told = events(source)

    last, failed = responses[-1]
    assert (last.Status, counts(last), failed) == (0, (4, 0, 0), None)
    assert sorted(one.SOPInstanceUID for one in data_sets) == ["2.25.100", "2.25.101", "2.25.102", "2.25.14"]
    assert told == [("110102", 0, cx("P1")), ("110104", 0, cx("P1"))]


async def test_what_was_not_negotiated_is_not_fetched_and_counts_as_failed(tmp_path):
    async with serving(tmp_path, Receiver()) as (source, port):
        await source.keep(a_ct(), an_sr())
        responses, data_sets = await fetched(port, "WORKSTATION", STUDY, [(CT, IMPLICIT_LE)])

    last, failed = responses[-1]
    assert (last.Status, counts(last)) == (0xB000, (1, 1, 0))
    assert failed is not None
    assert failed.FailedSOPInstanceUIDList == "2.25.14"
    assert [one.SOPInstanceUID for one in data_sets] == ["2.25.13"]


async def test_what_cannot_be_decoded_without_loss_is_not_given_in_a_lossy_syntax(tmp_path):
    async with serving(tmp_path, Receiver()) as (source, port):
        await source.keep(a_ct())
        responses, data_sets = await fetched(port, "WORKSTATION", STUDY, [(CT, JPEG_BASELINE)])

    last, _ = responses[-1]
    assert (last.Status, counts(last), data_sets) == (0xA702, (0, 1, 0), [])


async def test_a_cancelled_retrieval_stops_and_tells_what_remains(tmp_path):
    async with serving(tmp_path, Receiver()) as (source, port):
        await source.keep(*several(20))

        def ask():
            association = associated(port, "WORKSTATION", STUDY_GET, storage=[(CT, EXPLICIT_LE)])
            taken: list[str] = []

            def take(event) -> int:
                taken.append(event.request.AffectedSOPInstanceUID)
                if len(taken) == 3:
                    association.send_c_cancel(1, query_model=STUDY_GET)
                return 0

            association.bind(evt.EVT_C_STORE, take)
            responses = list(association.send_c_get(STUDY, STUDY_GET))
            association.release()
            return responses[-1][0], len(taken)

        last, number = await asyncio.to_thread(ask)

    assert last.Status == 0xFE00
    assert number < 20
    assert last.NumberOfRemainingSuboperations + sum(counts(last)) == 20


async def test_nothing_more_is_moved_for_who_has_gone(tmp_path):
    class Slow(Receiver):
        def store(self, event) -> int:
            time.sleep(0.05)
            return super().store(event)

    async with Slow().listening() as receiver, serving(tmp_path, receiver) as (source, port):
        await source.keep(*several(40))
        source.recorder.taken()

        def ask() -> None:
            association = associated(port, "WORKSTATION", STUDY_MOVE)
            for _ in association.send_c_move(STUDY, receiver.title, STUDY_MOVE):
                association.abort()
                break

        await asyncio.to_thread(ask)
        await until(lambda: source.service.dimse.open_associations == 0)
        told = events(source)

    assert 0 < len(receiver.requests) < 40
    assert told == [("110102", 0, cx("P1")), ("110104", 0, cx("P1")), ("110104", 8, cx("P1"))]
