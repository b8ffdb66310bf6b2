"""When a study was: as its source keeps it, which is what people and viewers know it by."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from consumer.front.reading_room import OpenStudy
from shared.dicom.kos import Manifest
from tests.support.metadata import Timestamp, a_document_entry

STUDY, ANOTHER = "2.25.1", "2.25.2"


def a_manifest(study: str, date: str, time: str = "") -> Manifest:
    return Manifest(sop_instance_uid="2.25.9", study_instance_uid=study, study_date=date, study_time=time)


def opened(*manifests: Manifest, start: str = "20240305233000") -> OpenStudy:
    collection: Any = SimpleNamespace()
    return OpenStudy(
        study_instance_uid=STUDY,
        patient_id="",
        entries=(a_document_entry(service_start_time=Timestamp(start)),),
        manifests=manifests,
        instances={},
        collection=collection,
        opened=0.0,
    )


def test_a_study_near_midnight_is_of_the_day_that_its_source_says():
    study = opened(a_manifest(STUDY, "20240306", "003000"))

    assert study.began == ("20240306", "003000")
    assert study.date == "20240306"


def test_a_manifest_that_is_of_a_study_of_its_own_says_nothing_of_this_one():
    study = opened(a_manifest(ANOTHER, "20250101"), a_manifest(STUDY, "20240306"))

    assert study.began == ("20240306", "")


def test_without_a_date_in_the_manifests_it_is_the_start_of_the_service_in_utc():
    assert opened(a_manifest(STUDY, "no date")).began == ("20240305", "233000")
    assert opened(start="2024").began == ("", "")
    assert opened().date == ""
