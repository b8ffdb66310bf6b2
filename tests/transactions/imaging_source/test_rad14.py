"""C-FIND [RAD-14]: what is found, what is told of it and how, and who learns nothing."""

from __future__ import annotations

import asyncio
import fnmatch
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from shared.audit.recorder import AuditUnavailable
from shared.dicom.uids import EXPLICIT_LE, IMPLICIT_LE
from tests.support.databases import DatabasePlace
from tests.support.dicom import a_ct, an_sr
from tests.support.dimse import PATIENT_FIND, STUDY_FIND, associated, identifier, matched
from tests.support.imaging_source import Source, a_rejection_note, close_source, cx, open_source


@asynccontextmanager
async def serving(tmp_path: Path, **changes: Any) -> AsyncIterator[tuple[Source, int]]:
    place = DatabasePlace(url=None, folder=tmp_path / "database", name="imaging_source")
    table = {"WORKSTATION": {"services": ["find"]}, "MODALITY": {"services": ["store"]}}
    source = await open_source(place, tmp_path / "data", application_entities=table, **changes)
    await source.service.dimse.start()
    try:
        yield source, source.service.dimse.port
    finally:
        await source.service.dimse.stop()
        await close_source(source)


def of_study(number: int, **changes: Any) -> Dataset:
    uid = f"2.25.{100 + number}"
    values = {"StudyInstanceUID": uid, "SeriesInstanceUID": f"{uid}.1", "SOPInstanceUID": f"{uid}.1.1"}
    return a_ct(**values | changes)


async def test_a_match_tells_what_was_asked_for_its_unique_keys_and_where_it_is(tmp_path):
    async with serving(tmp_path) as (source, port):
        await source.keep(a_ct(), a_ct(SOPInstanceUID="2.25.131"), an_sr(SeriesInstanceUID="2.25.15"))
        keys = identifier(
            "STUDY",
            PatientID="P1",
            PatientName="",
            StudyDate="20260101-20261231",
            ModalitiesInStudy="",
            NumberOfStudyRelatedSeries="",
            NumberOfStudyRelatedInstances="",
            StudyDescription="",
        )
        source.recorder.taken()
        [match], statuses, last = await matched(port, "WORKSTATION", keys)
        [event] = source.recorder.taken()

    assert (statuses, last.Status) == ([0xFF00], 0x0000)
    assert {element.keyword: element.value for element in match} == {
        "SpecificCharacterSet": "ISO_IR 192",
        "StudyDate": "20260228",
        "QueryRetrieveLevel": "STUDY",
        "RetrieveAETitle": "XDSI",
        "InstanceAvailability": "ONLINE",
        "ModalitiesInStudy": ["CT", "SR"],
        "StudyDescription": "",
        "PatientName": "Müller^Jürgen",
        "PatientID": "P1",
        "StudyInstanceUID": "2.25.11",
        "NumberOfStudyRelatedSeries": 2,
        "NumberOfStudyRelatedInstances": 3,
    }
    assert (event.event_id.code, event.outcome.value) == ("110112", 0)
    patient, query = event.objects
    assert (patient.object_id, query.object_id, query.id_type.code) == (cx("P1"), STUDY_FIND, "110181")
    assert [one.user_id for one in event.participants] == ["WORKSTATION", "XDSI"]


async def test_every_level_is_asked_with_the_keys_above_it(tmp_path):
    async with serving(tmp_path) as (source, port):
        await source.keep(a_ct(), a_ct(SOPInstanceUID="2.25.131", InstanceNumber=2))
        await source.keep(
            an_sr(SeriesInstanceUID="2.25.15"), of_study(1, PatientID="P2", PatientName="Roe^R")
        )
        patients, _, _ = await matched(
            port,
            "WORKSTATION",
            identifier("PATIENT", PatientID="", PatientName="", NumberOfPatientRelatedInstances=""),
            PATIENT_FIND,
        )
        series, _, _ = await matched(
            port, "WORKSTATION", identifier("SERIES", StudyInstanceUID="2.25.11", Modality="CT")
        )
        images, _, _ = await matched(
            port,
            "WORKSTATION",
            identifier(
                "IMAGE",
                PatientID="P1",
                StudyInstanceUID="2.25.11",
                SeriesInstanceUID="2.25.12",
                InstanceNumber="",
                Rows=None,
            ),
            PATIENT_FIND,
        )

    assert [(str(one.PatientID), one.NumberOfPatientRelatedInstances) for one in patients] == [
        ("P1", 3),
        ("P2", 1),
    ]
    assert [(one.SeriesInstanceUID, one.StudyInstanceUID) for one in series] == [("2.25.12", "2.25.11")]
    assert [(one.SOPInstanceUID, one.InstanceNumber, one.Rows) for one in images] == [
        ("2.25.13", 1, 4),
        ("2.25.131", 2, 4),
    ]


REFUSALS = [
    ("WORKSTATION", identifier("SERIES", Modality="CT"), STUDY_FIND, 0xA900),
    ("WORKSTATION", identifier("SERIES", StudyInstanceUID=["2.25.11", "2.25.12"]), STUDY_FIND, 0xA900),
    ("WORKSTATION", identifier("PATIENT", PatientID="P1"), STUDY_FIND, 0xA900),
    ("WORKSTATION", identifier("STUDY", StudyInstanceUID="2.25.11"), PATIENT_FIND, 0xA900),
    ("WORKSTATION", identifier("STUDY", StudyDate="yesterday"), STUDY_FIND, 0xA900),
    ("WORKSTATION", identifier("STUDY", StudyInstanceUID="2.25.*"), STUDY_FIND, 0xA900),
    ("MODALITY", identifier("STUDY", PatientID="P1"), STUDY_FIND, 0x0124),
]


@pytest.mark.filterwarnings("ignore:Invalid value for VR")
async def test_what_is_no_query_of_its_sop_class_is_refused_and_recorded(tmp_path):
    async with serving(tmp_path) as (source, port):
        await source.keep(a_ct())
        for title, keys, model, status in REFUSALS:
            source.recorder.taken()
            matches, _, last = await matched(port, title, keys, model)
            await source.recorder.refusals.settle()
            [event] = source.recorder.taken()

            assert (last.Status, matches) == (status, []), keys
            assert last.ErrorComment
            assert event.outcome.value != 0


async def test_relational_queries_are_answered_where_they_were_negotiated_or_the_setting_says(tmp_path):
    keys = identifier("SERIES", Modality="CT")
    async with serving(tmp_path) as (source, port):
        await source.keep(a_ct())
        agreed, _, _ = await matched(port, "WORKSTATION", keys, negotiation=b"\1\1\1")
        association = await asyncio.to_thread(
            lambda: associated(port, "WORKSTATION", finding=(STUDY_FIND, EXPLICIT_LE), extended=b"\1\1\1\1")
        )
        answered = association.acceptor.sop_class_extended
        await asyncio.to_thread(association.release)
    async with serving(tmp_path / "other", relational_queries=True) as (source, port):
        await source.keep(a_ct())
        by_setting, _, _ = await matched(port, "WORKSTATION", keys)

    assert [one.SeriesInstanceUID for one in agreed] == ["2.25.12"]
    assert [one.SeriesInstanceUID for one in by_setting] == ["2.25.12"]
    assert answered == {STUDY_FIND: b"\1\0\1\0"}


async def test_names_are_matched_by_words_where_that_was_negotiated(tmp_path):
    keys = identifier("STUDY", PatientName="jurgen mull")
    async with serving(tmp_path) as (source, port):
        await source.keep(a_ct())
        fuzzy, _, _ = await matched(port, "WORKSTATION", keys, negotiation=b"\0\0\1")
        literal, _, _ = await matched(port, "WORKSTATION", keys)

    assert (len(fuzzy), len(literal)) == (1, 0)


async def test_keys_of_levels_below_are_neither_matched_nor_told_and_the_status_says_so(tmp_path):
    async with serving(tmp_path) as (source, port):
        await source.keep(a_ct())
        [match], statuses, _ = await matched(
            port, "WORKSTATION", identifier("STUDY", PatientID="P1", SeriesDescription="none has it")
        )

    assert statuses == [0xFF01]
    assert "SeriesDescription" not in match


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("syntax", [EXPLICIT_LE, IMPLICIT_LE])
@pytest.mark.parametrize(
    ("asked", "name", "told"),
    [
        ("ISO_IR 100", "Müller*", "ISO_IR 100"),
        ("ISO_IR 192", "Müller*", "ISO_IR 192"),
        ("ISO_IR 101", "Müller*", "ISO_IR 101"),
        (["", "ISO 2022 IR 100"], "Müller*", None),
        ("ISO_IR 144", "M*", "ISO_IR 192"),
        (None, "M*", "ISO_IR 192"),
    ],
)
async def test_text_is_read_and_told_in_the_character_set_of_the_request_where_that_can_say_it(
    shared_source, syntax, asked, name, told
):
    port = shared_source.service.dimse.port
    keys = identifier("STUDY", PatientID="UMLAUT")
    if asked is not None:
        keys.SpecificCharacterSet = asked
    keys.PatientName = name
    [match], _, _ = await matched(port, "WORKSTATION", keys, syntax=syntax)

    match.decode()
    assert str(match.PatientName) == "Müller^Jürgen"
    assert told is None or match.SpecificCharacterSet == told


async def test_a_match_that_is_all_ascii_names_no_character_set(tmp_path):
    async with serving(tmp_path) as (source, port):
        await source.keep(a_ct(PatientName="Roe^R"))
        [match], _, _ = await matched(port, "WORKSTATION", identifier("STUDY", PatientName="roe*"))

    assert "SpecificCharacterSet" not in match


async def test_a_refused_entity_learns_nothing_by_matches_or_counts(tmp_path):
    keys = identifier("STUDY", PatientName="", NumberOfStudyRelatedInstances="")
    async with serving(tmp_path) as (source, port):
        await source.keep(a_ct(), a_rejection_note("113037"))
        await source.keep(of_study(1, PatientID="P2"), of_study(2), of_study(2, SOPInstanceUID="2.25.9"))
        source.consent.refused = frozenset({cx("P2")})
        source.recorder.taken()
        matches, _, last = await matched(port, "WORKSTATION", keys)
        events = source.recorder.taken()
        patients, _, _ = await matched(
            port, "WORKSTATION", identifier("PATIENT", NumberOfPatientRelatedStudies=""), PATIENT_FIND
        )

    assert [(one.StudyInstanceUID, one.NumberOfStudyRelatedInstances) for one in matches] == [("2.25.102", 2)]
    assert last.Status == 0
    assert {(event.outcome.value, event.objects[0].object_id) for event in events} == {
        (0, cx("P1")),
        (8, cx("P2")),
    }
    assert [(one.PatientID, one.NumberOfPatientRelatedStudies) for one in patients] == [("P1", 1)]


async def test_more_matches_than_are_told_end_with_out_of_resources(tmp_path):
    async with serving(tmp_path, max_matches=2) as (source, port):
        await source.keep(*(of_study(number) for number in range(3)))
        matches, _, last = await matched(port, "WORKSTATION", identifier("STUDY"))

    assert (len(matches), last.Status) == (2, 0xA700)
    assert "narrow" in last.ErrorComment


async def test_a_query_that_is_cancelled_says_so(tmp_path):
    async with serving(tmp_path) as (source, port):
        await source.keep(*(of_study(number) for number in range(30)))

        def ask() -> list[int]:
            association = associated(port, "WORKSTATION", STUDY_FIND)
            statuses = []
            for status, _ in association.send_c_find(identifier("STUDY"), STUDY_FIND):
                if not statuses:
                    association.send_c_cancel(1, query_model=STUDY_FIND)
                statuses.append(status.Status)
            association.release()
            return statuses

        statuses = await asyncio.to_thread(ask)

    # All of them may have been on their way already.
    assert statuses[-1] in (0xFE00, 0x0000)
    assert set(statuses[:-1]) == {0xFF00}


async def test_nothing_is_told_that_cannot_be_recorded(tmp_path, monkeypatch):
    async def full(events: object) -> None:
        raise AuditUnavailable("the spool is full")

    async with serving(tmp_path) as (source, port):
        await source.keep(a_ct())
        monkeypatch.setattr(source.recorder, "record", full)
        matches, _, last = await matched(port, "WORKSTATION", identifier("STUDY"))
        monkeypatch.undo()

    assert (matches, last.Status) == ([], 0xC000)


# --- the law -------------------------------------------------------------------------------------------

NAMES = ["Roe^Rick", "Roe^Rita", "Doe^Jane", "Meyer^Anna", ""]
DATES = ["20240101", "20240229", "20250630", ""]
MODALITIES = ["CT", "MR", "US"]


def generated() -> list[Dataset]:
    return [
        of_study(
            1000 + number,
            PatientID=f"P{number % 7}",
            PatientName=NAMES[number % len(NAMES)],
            StudyDate=DATES[number % len(DATES)],
            Modality=MODALITIES[number % len(MODALITIES)],
            AccessionNumber=f"A{number % 11}",
        )
        for number in range(40)
    ]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_source(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Source]:
    async with serving(tmp_path_factory.mktemp("source")) as (source, _):
        await source.keep(a_ct(PatientID="UMLAUT"), *generated())
        yield source


def keys_of_a_query() -> st.SearchStrategy[dict[str, str]]:
    return st.fixed_dictionaries(
        {},
        optional={
            "PatientID": st.sampled_from(["P1", "P?", "P*", "Q1", "P1\\P2", ""]),
            "PatientName": st.sampled_from(["Roe*", "roe^rick", "*e*", "Doe^Jane", "?oe^*", "*"]),
            "StudyDate": st.sampled_from(["20240101", "20240101-20241231", "-20240229", "20250101-", ""]),
            "ModalitiesInStudy": st.sampled_from(["CT", "MR\\US", "XA", ""]),
            "AccessionNumber": st.sampled_from(["A1", "A*", "A1?", "B1", ""]),
        },
    )


def meets(data_set: Dataset, keyword: str, key: str) -> bool:
    """Whether an instance meets a key, as plainly as it can be said."""
    value = str(data_set.get("Modality" if keyword == "ModalitiesInStudy" else keyword, ""))
    if key in ("", "*"):
        return True
    if keyword == "StudyDate":
        first, _, last = key.partition("-") if "-" in key else (key, "", key)
        return bool(value) and (not first or first <= value) and (not last or value <= last)
    if keyword == "PatientName":
        value, key = value.casefold(), key.casefold()
    return any(fnmatch.fnmatchcase(value, one) for one in key.split("\\"))


@pytest.mark.asyncio(loop_scope="module")
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(keys=keys_of_a_query())
async def test_matches_are_those_that_a_plain_filter_finds(shared_source, keys):
    query = identifier("STUDY", **{"PatientID": "", **keys})
    matches, _, last = await matched(shared_source.service.dimse.port, "WORKSTATION", query)
    expected = {
        one.StudyInstanceUID
        for one in [*generated(), a_ct(PatientID="UMLAUT")]
        if all(meets(one, keyword, key) for keyword, key in keys.items())
    }

    assert last.Status == 0
    assert {one.StudyInstanceUID for one in matches} == expected
