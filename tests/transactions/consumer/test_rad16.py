"""The consumer has images sent to itself by C-MOVE (RAD-16), from an archive of pynetdicom's own, right and
wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pydicom
import pytest

from conformance.plans.dimse import EntityAddress
from consumer.domain.study import Via
from consumer.imaging_document_consumer import ImagingDocumentConsumer
from consumer.settings import ConsumerSettings
from shared.audit.events import Outcome
from shared.dicom.kos import Manifest
from shared.settings import SettingsError
from tests.support.dimse_archive import TITLE, Archive, an_archive
from tests.support.imaging_source import LOCATION_UID
from tests.transactions.consumer.test_retrieval import (
    NUMBER,
    Remembered,
    a_consumer,
    a_manifest,
    content,
    files,
    recorder,
)
from xdsi.stage import free_ports

__all__ = ["files", "recorder"]

OURS = "XDSI_CONSUMER"


@pytest.fixture
def moving(
    tmp_path: Path, recorder: Remembered, files: dict[str, bytes]
) -> Callable[..., AbstractContextManager[tuple[ImagingDocumentConsumer, Archive]]]:
    """A consumer, and an archive that has the images, errs in one way, and knows the consumer by `title`."""

    @contextmanager
    def started(wrong: str = "", title: str = OURS) -> Iterator[tuple[ImagingDocumentConsumer, Archive]]:
        (port,) = free_ports(1)
        archive = an_archive(EntityAddress(title=title, host="127.0.0.1", port=port), wrong)
        archive.instances = {uid: pydicom.dcmread(BytesIO(octets)) for uid, octets in files.items()}
        with archive.listening() as address:
            archives = {TITLE: f"dicom://{address}"}
            yield (
                a_consumer(tmp_path, recorder, move_archives=archives, move_ae_title=OURS, move_port=port),
                archive,
            )

    return started


def a_moved_manifest(*uids: str, **places: str) -> Manifest:
    manifest = a_manifest(*uids, **{"location_uid": "", "url": "", **places}, ae_title=TITLE)
    return replace(manifest, patient_id="P1", patient_name="Müller^Jürgen")


def pixels(folder: Path) -> dict[str, bytes]:
    return {uid: pydicom.dcmread(BytesIO(octets)).PixelData for uid, octets in content(folder).items()}


async def test_images_come_by_c_move_and_are_checked_and_recorded(
    moving, files, recorder: Remembered, tmp_path: Path
):
    with moving() as (consumer, _):
        images = await consumer.retrieve(a_moved_manifest(*files), tmp_path / "to", via=Via.C_MOVE)

    assert (images.instances, images.missing) == (NUMBER, ())
    assert pixels(tmp_path / "to") == {
        uid: pydicom.dcmread(BytesIO(octets)).PixelData for uid, octets in files.items()
    }
    assert {event.outcome for event in recorder.events} == {Outcome.SUCCESS}
    assert {code.code for event in recorder.events for code in event.event_types} == {"RAD-16"}
    assert not list((tmp_path / "to").rglob("*.part"))


async def test_what_comes_by_no_other_road_comes_by_c_move(moving, files, tmp_path: Path):
    with moving() as (consumer, _):
        manifest = a_moved_manifest(*files, location_uid=LOCATION_UID)
        images = await consumer.retrieve(manifest, tmp_path / "to")

    assert images.complete
    assert images.notes == (f"{NUMBER} instances came by C-MOVE: the other road did not bring them",)


async def test_an_archive_that_errs_gives_nothing_that_was_not_asked_for(moving, files, tmp_path: Path):
    """It sends all that it has, of which one image is another patient's, and has lost one."""
    *wanted, _ = files
    lost, stranger, *others = wanted
    with moving("gives everything that it has") as (consumer, archive):
        del archive.instances[lost]
        archive.instances[stranger].PatientID = "P2"
        images = await consumer.retrieve(a_moved_manifest(*wanted), tmp_path / "to", via=Via.C_MOVE)

    reasons = {one.instance.sop_instance_uid: one.reason for one in images.missing}
    assert reasons.keys() == {lost, stranger}
    assert reasons[stranger] == "it names another patient than its manifest"
    assert content(tmp_path / "to").keys() == set(others)


async def test_an_archive_that_does_not_know_us_is_told_by_its_answer(
    moving, files, recorder: Remembered, tmp_path: Path
):
    with moving(title="SOMEBODY") as (consumer, _):
        images = await consumer.retrieve(a_moved_manifest(*files), tmp_path / "to", via=Via.C_MOVE)

    assert {one.reason for one in images.missing} == {"the archive answers C-MOVE with A801H"}
    assert {event.outcome for event in recorder.events} == {Outcome.SERIOUS_FAILURE}


@pytest.mark.parametrize(
    "wrong", ["dicom://ARCHIVE@192.0.2.7:104", "https://archive.example/dicomweb", "/media", "ARCHIVE"]
)
def test_an_address_that_is_in_the_clear_or_no_archive_is_refused(tmp_path: Path, wrong: str):
    with pytest.raises(SettingsError, match="ARCHIVES"):
        ConsumerSettings.load(None, {}, data=tmp_path, move_archives={TITLE: wrong})
