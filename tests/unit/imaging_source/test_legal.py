"""Whatever a source holds, what is sent is legal (PS3.5 6.2) and of use to a clinician."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from io import BytesIO

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from imaging_source.domain.header import study_header
from imaging_source.domain.instance import RequestReference, StudyHeader
from imaging_source.domain.manifest import build, encode
from imaging_source.domain.publishing import event_codes, source_patient_info, start_time, title
from imaging_source.settings.publishing import PublishingSettings
from shared.ebrim.model import Code
from shared.imaging import legal
from shared.imaging.instance import Issuer
from tests.support.dicom import a_ct, changed
from tests.support.studies import IDENTITY, PLACE, STUDY, a_study_header, an_instance

DCIODVFY = shutil.which("dciodvfy")

FORMS = {
    "CS": r"[A-Z0-9_ ]{0,16}",
    "SH": r"[^\x00-\x1f\x7f\\]{0,16}",
    "LO": r"[^\x00-\x1f\x7f\\]{0,64}",
    "PN": r"(?:[^\x00-\x1f\x7f\\=]{0,64}=){0,2}[^\x00-\x1f\x7f\\=]{0,64}",
    "DA": r"(?:\d{8})?",
    "TM": r"(?:\d{2}(?:\d{2}(?:\d{2}(?:\.\d{1,6})?)?)?)?",
    "UI": r"[0-9.]{0,64}",
}


def faults(data_set: Dataset) -> Iterator[str]:
    """What PS3.5 6.2 and PS3.3 8.8 forbid in a data set."""
    for element in data_set.iterall():
        form = FORMS.get(element.VR)
        if form and (element.VM > 1 or not re.fullmatch(form, str(element.value or ""))):
            yield f"{element.keyword} {element.VR}"
        if element.VR == "SQ" and element.keyword.endswith("CodeSequence"):
            yield from (fault for item in element.value for fault in faults_of_code(item))


def faults_of_code(item: Dataset) -> Iterator[str]:
    if not any(item.get(keyword) for keyword in ("CodeValue", "LongCodeValue", "URNCodeValue")):
        yield "no code value"
    if not item.get("CodingSchemeDesignator") and "URNCodeValue" not in item:
        yield "no coding scheme"
    if not item.get("CodeMeaning"):
        yield "no meaning"


def read_back(header: StudyHeader) -> Dataset:
    return pydicom.dcmread(BytesIO(encode(build(header, [an_instance()], identity=IDENTITY, place=PLACE))))


anything = st.text(max_size=140) | st.text("ABCabc0123456789^=\\ -./:\t\n", max_size=140)
issuers = st.builds(Issuer, anything, anything, anything)
codes = st.builds(Code, *[anything.map(legal.plain)] * 3)
requests = st.builds(
    RequestReference,
    study_instance_uid=st.just(STUDY),
    accession_number=anything,
    accession_issuer=issuers,
    placer_order_number=anything,
    placer_issuer=issuers,
    filler_order_number=anything,
    filler_issuer=issuers,
    requested_procedure_id=anything,
    requested_procedure_description=anything,
    requested_procedure_codes=st.lists(codes, max_size=2).map(tuple),
)
headers = st.builds(
    StudyHeader,
    study_instance_uid=st.just(STUDY),
    patient_id=anything,
    issuer_of_patient_id=issuers,
    other_patient_ids=st.lists(st.tuples(anything, issuers), max_size=2).map(tuple),
    patient_name=anything,
    patient_birth_date=anything,
    patient_sex=anything,
    study_date=anything,
    study_time=anything,
    other_dates=st.lists(st.tuples(anything, anything), max_size=2).map(tuple),
    timezone_offset=anything,
    referring_physician=anything,
    study_id=anything,
    study_description=anything,
    procedure_codes=st.lists(codes, max_size=2).map(tuple),
    accession_numbers=st.lists(st.tuples(anything, issuers), max_size=2).map(tuple),
    requests=st.lists(requests, max_size=2).map(tuple),
    institution=anything,
    modalities=st.lists(anything, max_size=2).map(tuple),
)


@given(header=headers)
def test_a_manifest_is_legal_whatever_the_study_holds(header):
    assert list(faults(read_back(header))) == []


@given(header=headers)
def test_a_title_is_never_empty_and_one_line(header):
    found = title(header)

    assert found.strip() == found != ""
    assert len(found) <= 128
    assert found.isprintable() or not re.search(r"[\x00-\x1f\x7f]", found)


@pytest.mark.peer
@pytest.mark.skipif(DCIODVFY is None, reason="dicom3tools are not installed")
@pytest.mark.parametrize(
    "changes",
    [
        {"patient_sex": "MALE", "patient_birth_date": "1960-01-02", "study_date": "2024/03/05"},
        {
            "accession_numbers": (("ACCESSION-NUMBER-OF-24-CH", Issuer()),),
            "study_id": "STUDY-ID-OF-22-CHARACT",
        },
        {"patient_name": "X" * 200, "study_description": "Y" * 200, "institution": "Z" * 200},
        {"procedure_codes": (Code("12", "", "no scheme"), Code("P" * 40, "L", "M" * 100))},
        {"patient_name": "A^B^C^D^E^F=G=H=I", "referring_physician": "DR\\OTHER"},
    ],
)
def test_dciodvfy_finds_no_error_whatever_the_study_holds(tmp_path, changes):
    path = tmp_path / "manifest.dcm"
    path.write_bytes(
        encode(build(a_study_header(**changes), [an_instance()], identity=IDENTITY, place=PLACE))
    )

    told = subprocess.run([DCIODVFY, path], capture_output=True, text=True, check=False)

    assert [line for line in told.stderr.splitlines() if line.startswith("Error")] == []


def test_an_identifier_that_fits_no_value_is_left_out_and_not_cut():
    number = "ACCESSION-NUMBER-OF-24-C"

    manifest = read_back(a_study_header(accession_numbers=((number, Issuer("", "1.2.3", "ISO")),)))

    assert manifest.AccessionNumber == ""
    assert "IssuerOfAccessionNumberSequence" not in manifest


@pytest.mark.parametrize(
    ("value", "sex"),
    [
        ("M", "M"),
        ("MALE", "M"),
        ("m", "M"),
        ("female ", "F"),
        ("W", "F"),
        ("OTHER", "O"),
        ("?", ""),
        ("", ""),
    ],
)
def test_a_sex_is_one_of_three_or_none(value, sex):
    header = a_study_header(patient_sex=value)

    assert read_back(header).get("PatientSex", "") == sex
    assert [one for one in source_patient_info(header, "P") if one.startswith("PID-8")] == (
        [f"PID-8|{sex}"] if sex else []
    )


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("08:30:00", "083000"),
        ("0830", "0830"),
        ("083000.5", "083000.5"),
        ("083000.123456789", "083000.123456"),
        ("2530", ""),
        ("noon", ""),
        ("", ""),
    ],
)
def test_a_time_from_before_dicom_is_written_as_dicom_spells_it(value, expected):
    assert legal.time(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("20240305", "20240305"),
        ("2024.03.05", "20240305"),
        ("2024-03-05", "20240305"),
        ("2024/3/5", "20240305"),
        ("2024-03-05T10:15:00", "20240305"),
        ("20240305101500.000000", "20240305"),
        ("20240305-20240307", "20240305"),
        ("20240230", ""),
        ("2024", ""),
        ("unknown", ""),
        ("05/03/2024", ""),
        ("202403051", ""),
    ],
)
def test_a_date_is_read_where_it_can_be_no_other(value, expected):
    assert legal.date(value) == expected


# --- what a clinician sees when the source says little -------------------------------------------------


def header_of(**changes) -> StudyHeader:
    import json

    data_set = changed(a_ct(StudyDescription="", StudyDate="", StudyTime=""), **changes)
    return study_header(STUDY, [json.loads(data_set.to_json())])


def a_code(meaning: str) -> Dataset:
    return changed(Dataset(), CodeValue="1", CodingSchemeDesignator="99X", CodeMeaning=meaning)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"StudyDescription": "CT chest", "SeriesDescription": "axial"}, "CT chest"),
        ({"ProcedureCodeSequence": [a_code("Chest CT")], "SeriesDescription": "axial"}, "Chest CT"),
        ({"RequestedProcedureDescription": "Chest", "SeriesDescription": "axial"}, "Chest"),
        ({"SeriesDescription": "axial", "ProtocolName": "thorax"}, "axial"),
        ({"ProtocolName": "thorax"}, "thorax"),
        ({"BodyPartExamined": "CHEST"}, "Computed Tomography CHEST"),
        ({"Modality": "ct"}, "Computed Tomography"),
        ({"Modality": "SEG"}, "SEG"),
        ({"Modality": ""}, "Imaging study"),
    ],
)
def test_a_study_without_description_has_a_title_all_the_same(changes, expected):
    if "RequestedProcedureDescription" in changes:
        changes = {"RequestAttributesSequence": [changed(Dataset(), **changes)], "SeriesDescription": "axial"}

    assert title(header_of(**changes)) == expected


@pytest.mark.parametrize(
    ("changes", "digits"),
    [
        ({"SeriesDate": "20240305", "SeriesTime": "101500"}, "20240305101500"),
        ({"AcquisitionDate": "2024-03-05"}, "20240305"),
        ({"ContentDate": "20240305", "ContentTime": "10"}, "202403051000"),
        ({"AcquisitionDateTime": "20240305101500.12"}, "20240305101500"),
        ({"PerformedProcedureStepStartDate": "20240305"}, "20240305"),
        ({"SeriesDate": "20240306", "AcquisitionDate": "20240305"}, "20240305"),
        ({"StudyDate": "20240301", "SeriesDate": "20240305"}, "20240301"),
    ],
)
def test_a_study_without_date_begins_with_the_first_of_its_series(changes, digits):
    from datetime import UTC

    assert str(start_time(header_of(TimezoneOffsetFromUTC="+0000", **changes), UTC)) == digits


def test_a_code_with_control_characters_is_read_without_them():
    header = header_of(ProcedureCodeSequence=[a_code("Chest\x08 CT")])

    assert title(header) == "Chest  CT"


def test_a_modality_in_lower_case_is_that_modality():
    assert [code.value for code in event_codes(header_of(Modality="ct"), PublishingSettings().coding)] == [
        "CT"
    ]
