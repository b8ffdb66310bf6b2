"""The manifest as a consumer and a validator see it (imaging dossier 3 and 22)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from io import BytesIO
from itertools import pairwise
from zoneinfo import ZoneInfo

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from imaging_source.domain.coding import Issuers
from imaging_source.domain.instance import RequestReference, SeriesHeader
from imaging_source.domain.manifest import (
    Identity,
    NothingToShare,
    build,
    content,
    digest,
    encode,
    evidence,
    new_uid,
    utc_offset,
)
from shared.dicom.kos import read_manifest
from shared.dicom.uids import is_uid
from shared.ebrim.model import Code
from shared.imaging.instance import Issuer
from tests.support.studies import (
    CT_IMAGE,
    GRAYSCALE_PRESENTATION_STATE,
    IDENTITY,
    PLACE,
    SERIES,
    STUDY,
    TWELVE_LEAD_ECG,
    a_study_header,
    an_instance,
)

uids = st.integers(1, 10**6).map(lambda number: f"2.25.{number}")
instances = st.builds(
    lambda series, instance, sop_class: an_instance(
        series_instance_uid=series, sop_instance_uid=instance, sop_class_uid=sop_class
    ),
    st.integers(1, 4).map(lambda number: f"2.25.{number}"),
    uids,
    st.sampled_from([CT_IMAGE, GRAYSCALE_PRESENTATION_STATE, TWELVE_LEAD_ECG, "1.2.3"]),
)


ONE = (an_instance(),)


def a_manifest(header=None, given_instances=ONE, **options):
    return build(header or a_study_header(), given_instances, identity=IDENTITY, place=PLACE, **options)


def as_read(manifest):
    return pydicom.dcmread(BytesIO(encode(manifest)))


def items(octets):
    """What octets that are items say, as pydicom reads them."""
    data_set = Dataset()
    tag = Tag(0x00081115)
    data_set[tag] = RawDataElement(tag, "SQ", len(octets), octets, 0, False, True)
    return data_set.ReferencedSeriesSequence


# --- laws --------------------------------------------------------------------------------------------


def key(instance):
    return (instance.study_instance_uid, instance.series_instance_uid, instance.sop_instance_uid)


def referenced_in(studies):
    return [
        (study.StudyInstanceUID, series.SeriesInstanceUID, sop.ReferencedSOPInstanceUID)
        for study in studies
        for series in study.ReferencedSeriesSequence
        for sop in series.ReferencedSOPSequence
    ]


@given(st.lists(instances))
def test_every_instance_is_referenced_once_and_only_once(given_instances):
    studies = items(evidence(given_instances, place=PLACE))

    assert sorted(referenced_in(studies)) == sorted(set(map(key, given_instances)))


@given(st.lists(instances, min_size=1, unique_by=key))
def test_the_order_of_the_instances_does_not_matter(given_instances):
    forwards = encode(a_manifest(given_instances=given_instances))
    backwards = encode(a_manifest(given_instances=given_instances[::-1]))

    assert forwards == backwards


@given(st.lists(instances))
def test_the_content_tree_names_what_the_evidence_names(given_instances):
    in_tree = [
        item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for item in items(content(given_instances))
    ]

    assert in_tree == [sop for _, _, sop in referenced_in(items(evidence(given_instances, place=PLACE)))]


@given(st.lists(instances, min_size=1, unique_by=key))
def test_a_consumer_reads_what_was_written(given_instances):
    manifest = read_manifest(encode(a_manifest(given_instances=given_instances)))

    assert sorted(
        (study.study_instance_uid, series.series_instance_uid, one.sop_instance_uid, one.sop_class_uid)
        for study, series, one in manifest.instances
    ) == sorted((*key(instance), instance.sop_class_uid) for instance in given_instances)
    assert {
        (series.retrieve_ae_title, series.retrieve_location_uid, series.retrieve_url)
        for _, series, _ in manifest.instances
    } == {("ARCHIVE1", "1.2.3.77", "https://pacs.example.org/dicomweb")}


@given(
    st.lists(instances, min_size=1, unique_by=key),
    st.text(st.characters(codec="utf-8"), max_size=80),
    st.text(st.characters(codec="utf-8"), max_size=80),
    st.sampled_from(["CT", "", "OPT", "no code at all, which is left out"]),
    st.none() | st.integers(-5, 10**6),
)
def test_pydicom_writes_the_same_octets_of_what_it_reads(
    given_instances, description, name, modality, number
):
    given_instances = [one._replace(modality=modality, series_number=number) for one in given_instances]
    series = {one.series_instance_uid for one in given_instances}
    header = a_study_header(
        patient_name=name,
        series=tuple(SeriesHeader(series_instance_uid=uid, description=description) for uid in series),
    )
    written = encode(a_manifest(header, given_instances))
    read = pydicom.dcmread(BytesIO(written))
    parsed = a_manifest(header, given_instances)
    for data_set in (read, parsed):
        data_set.walk(lambda _, element: element.value)
    again = BytesIO()
    read.set_original_encoding(None, None)
    pydicom.dcmwrite(again, read, enforce_file_format=True)

    assert again.getvalue() == written
    assert encode(parsed) == written
    assert digest(parsed) == digest(a_manifest(header, given_instances))


numbered = st.builds(
    lambda series, uid, number: an_instance(
        series_instance_uid=f"2.25.{series}", series_number=9 - series, sop_instance_uid=uid,
        instance_number=number,
    ),
    st.integers(1, 4),
    uids,
    st.none() | st.integers(0, 20),
)  # fmt: skip


@given(st.lists(numbered, min_size=1, unique_by=key))
def test_series_and_instances_are_in_the_order_of_their_numbers(given_instances):
    by_key = {key(instance): instance for instance in given_instances}
    found = [by_key[one] for one in referenced_in(items(evidence(given_instances, place=PLACE)))]

    assert all(
        (before.series_number, before.instance_number is None, before.instance_number or 0)
        <= (after.series_number, after.instance_number is None, after.instance_number or 0)
        for before, after in pairwise(found)
    )


def test_instances_of_equal_numbers_are_in_the_order_of_their_uids():
    given_instances = [an_instance(sop_instance_uid=uid, instance_number=7) for uid in ("2.25.3", "2.25.1")]

    found = referenced_in(items(evidence(given_instances, place=PLACE)))

    assert [uid for *_, uid in found] == ["2.25.1", "2.25.3"]


def test_a_series_is_described_for_whoever_shows_it():
    header = a_study_header(series=(SeriesHeader(series_instance_uid=SERIES, description="Thorax, größer"),))

    manifest = read_manifest(encode(a_manifest(header, [an_instance(series_number=3, modality="CT")])))

    [(_, series, _)] = manifest.instances
    assert (series.number, series.modality, series.description) == ("3", "CT", "Thorax, größer")


def test_a_series_of_which_nothing_is_known_says_nothing():
    manifest = as_read(a_manifest(given_instances=[an_instance(series_number=None, modality="")]))

    [study] = manifest.CurrentRequestedProcedureEvidenceSequence
    assert not {"Modality", "SeriesNumber", "SeriesDescription"} & {
        element.keyword for element in study.ReferencedSeriesSequence[0]
    }


# --- attributes --------------------------------------------------------------------------------------


def test_a_study_without_instances_has_no_manifest():
    with pytest.raises(NothingToShare):
        a_manifest(given_instances=())


def test_the_manifest_lies_in_its_study_in_a_series_of_its_own():
    manifest = as_read(a_manifest())

    assert manifest.StudyInstanceUID == STUDY
    assert (manifest.Modality, manifest.SeriesInstanceUID) == ("KO", "2.25.1000")
    assert (
        manifest.SOPClassUID == manifest.file_meta.MediaStorageSOPClassUID == "1.2.840.10008.5.1.4.1.1.88.59"
    )
    assert manifest.SOPInstanceUID == manifest.file_meta.MediaStorageSOPInstanceUID == "2.25.1001"


def test_patient_and_study_are_those_of_the_instances():
    manifest = as_read(a_manifest())

    assert (manifest.PatientName, manifest.PatientID) == ("DOE^JANE^A^DR^PHD", "P1")
    assert (manifest.PatientBirthDate, manifest.PatientSex) == ("19700101", "F")
    assert (manifest.StudyDate, manifest.StudyTime) == ("20260228", "093000.123")
    assert (manifest.AccessionNumber, manifest.StudyDescription) == ("A123", "CT chest")


def test_attributes_of_type_2_are_present_though_empty():
    manifest = as_read(a_manifest(a_study_header(patient_name="", study_date="", accession_numbers=())))

    for keyword in (
        "PatientName",
        "StudyDate",
        "AccessionNumber",
        "ReferringPhysicianName",
        "StudyID",
        "ReferencedPerformedProcedureStepSequence",
    ):
        assert keyword in manifest
        assert not manifest[keyword].value


def test_the_title_is_manifest_of_template_2010():
    manifest = as_read(a_manifest())

    title = manifest.ConceptNameCodeSequence[0]
    assert (title.CodeValue, title.CodingSchemeDesignator, title.CodeMeaning) == ("113030", "DCM", "Manifest")
    assert manifest.ContentTemplateSequence[0].TemplateIdentifier == "2010"
    assert (manifest.ValueType, manifest.ContinuityOfContent) == ("CONTAINER", "SEPARATE")


@pytest.mark.parametrize(
    ("sop_class", "value_type"),
    [
        (CT_IMAGE, "IMAGE"),
        ("1.2.840.10008.5.1.4.1.1.66.4", "IMAGE"),
        (TWELVE_LEAD_ECG, "WAVEFORM"),
        (GRAYSCALE_PRESENTATION_STATE, "COMPOSITE"),
        ("1.2.840.10008.5.1.4.1.1.481.2", "COMPOSITE"),
        ("1.2.3.4.5", "COMPOSITE"),
    ],
)
def test_the_value_type_follows_from_the_sop_class(sop_class, value_type):
    item = items(content([an_instance(sop_class_uid=sop_class)]))[0]

    assert item.ValueType == value_type


def test_a_name_of_any_script_is_written_in_utf_8():
    header = a_study_header(
        patient_name="Yamada^Tarou=山田^太郎=やまだ^たろう", study_description="Knie – öffnen"
    )

    manifest = as_read(a_manifest(header))

    assert manifest.SpecificCharacterSet == "ISO_IR 192"
    assert str(manifest.PatientName) == "Yamada^Tarou=山田^太郎=やまだ^たろう"
    assert manifest.StudyDescription == "Knie – öffnen"


def test_an_issuer_that_is_known_stands_before_the_configured_one():
    issuers = Issuers(patient_id="1.2.3.9", accession_number="1.2.3.5")
    header = a_study_header(issuer_of_patient_id=Issuer("HOSP", "1.2.8", "ISO"))

    manifest = as_read(a_manifest(header, issuers=issuers))

    assert manifest.IssuerOfPatientID == "HOSP"
    assert manifest.IssuerOfPatientIDQualifiersSequence[0].UniversalEntityID == "1.2.8"
    assert manifest.IssuerOfAccessionNumberSequence[0].UniversalEntityID == "1.2.3.4"


def test_the_configured_issuers_complete_identifiers_without_one():
    issuers = Issuers(patient_id="1.2.3.9", accession_number="1.2.3.5")
    header = a_study_header(accession_numbers=(("A123", Issuer()),))

    manifest = as_read(a_manifest(header, issuers=issuers))

    patient = manifest.IssuerOfPatientIDQualifiersSequence[0]
    assert (patient.UniversalEntityID, patient.UniversalEntityIDType) == ("1.2.3.9", "ISO")
    assert manifest.IssuerOfAccessionNumberSequence[0].UniversalEntityID == "1.2.3.5"


def test_several_accession_numbers_stand_in_their_requests_alone():
    header = a_study_header(
        accession_numbers=(("A1", Issuer()), ("A2", Issuer())),
        requests=(
            RequestReference(study_instance_uid=STUDY, accession_number="A1", placer_order_number="O1"),
            RequestReference(study_instance_uid=STUDY, accession_number="A2"),
        ),
    )

    manifest = as_read(a_manifest(header, issuers=Issuers(placer_order_number="1.2.3.6")))

    assert manifest.AccessionNumber == ""
    first, second = manifest.ReferencedRequestSequence
    assert (first.AccessionNumber, second.AccessionNumber) == ("A1", "A2")
    assert first.OrderPlacerIdentifierSequence[0].UniversalEntityID == "1.2.3.6"
    assert "OrderPlacerIdentifierSequence" not in second
    assert "ReferencedStudySequence" in second
    assert "RequestedProcedureCodeSequence" in second


def test_a_series_number_of_the_study_is_not_used_again():
    numbered = [an_instance(sop_instance_uid=f"2.25.{number}", series_number=number) for number in (59, 60)]

    assert a_manifest(given_instances=numbered).SeriesNumber == 61


@pytest.mark.parametrize(
    ("code", "keyword"),
    [
        (Code("RPID16", "RADLEX", "CT CHEST"), "CodeValue"),
        (Code("12345678901234567", "99X", "long"), "LongCodeValue"),
        (Code("urn:example:a:long:code", "", "urn"), "URNCodeValue"),
    ],
)
def test_a_procedure_code_of_any_length_is_written_where_it_fits(code, keyword):
    manifest = as_read(a_manifest(a_study_header(procedure_codes=(code,))))

    item = manifest.ProcedureCodeSequence[0]
    assert item[keyword].value == code.value
    assert item.CodeMeaning == code.display_name


# --- time --------------------------------------------------------------------------------------------


def test_the_times_of_study_and_manifest_share_the_offset_of_the_study():
    manifest = as_read(a_manifest())

    assert manifest.TimezoneOffsetFromUTC == "+0100"
    assert (manifest.InstanceCreationDate, manifest.InstanceCreationTime) == ("20260301", "101500")
    assert (manifest.ContentDate, manifest.ContentTime) == ("20260301", "101500")


def test_a_study_without_offset_takes_that_of_the_site_on_its_day():
    summer = a_study_header(timezone_offset="", study_date="20250701")
    winter = a_study_header(timezone_offset="", study_date="20250101")

    assert utc_offset(summer, ZoneInfo("Europe/Vienna")) == timedelta(hours=2)
    assert utc_offset(winter, ZoneInfo("Europe/Vienna")) == timedelta(hours=1)


@pytest.mark.parametrize("unusable", ["", "0100", "+2500", "one hour"])
def test_an_unusable_offset_counts_as_absent(unusable):
    assert utc_offset(a_study_header(timezone_offset=unusable), UTC) == timedelta()


# --- identity ----------------------------------------------------------------------------------------


@given(st.sampled_from(["", "1.2.3", "1.2.826.0.1.3680043.10.9999"]))
def test_a_new_uid_is_a_uid_below_its_root(root):
    uid = new_uid(root)

    assert is_uid(uid)
    assert uid.startswith(f"{root or '2.25'}.")
    assert not any(part != "0" and part.startswith("0") for part in uid.split("."))
    assert new_uid(root) != uid


def test_the_digest_tells_whether_anything_but_the_identity_changed():
    other = Identity(
        sop_instance_uid="2.25.2", series_instance_uid="2.25.3", created=datetime(2026, 4, 1, tzinfo=UTC)
    )
    same = build(a_study_header(), [an_instance()], identity=other, place=PLACE)
    grown = a_manifest(given_instances=[an_instance(), an_instance(sop_instance_uid="2.25.503")])

    assert digest(same) == digest(a_manifest())
    assert digest(grown) != digest(a_manifest())
    assert digest(a_manifest(a_study_header(patient_id="P2"))) != digest(a_manifest())


def test_the_series_of_the_instances_count_for_the_digest():
    moved = a_manifest(given_instances=[an_instance(series_instance_uid="2.25.9")])

    assert SERIES != "2.25.9"
    assert digest(moved) != digest(a_manifest())
