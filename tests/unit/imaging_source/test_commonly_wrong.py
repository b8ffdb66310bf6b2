"""What publishers of manifests commonly get wrong: where each thing stands, and where it must not."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from imaging_source.domain.manifest import Issuers
from shared.ebrim.codec import encode_submission
from shared.ebrim.identifiers import CXi
from shared.imaging.instance import Issuer
from shared.xml import NS, parse
from tests.support.studies import (
    CT_IMAGE,
    GRAYSCALE_PRESENTATION_STATE,
    IDENTITY,
    PLACE,
    SERIES,
    STUDY,
    a_study_header,
    an_instance,
)
from tests.unit.imaging_source.test_manifest import a_manifest, as_read
from tests.unit.imaging_source.test_publishing import a_submission, an_entry

SEVERAL = (
    an_instance(series_instance_uid="2.25.101", sop_instance_uid="2.25.1011"),
    an_instance(series_instance_uid="2.25.101", sop_instance_uid="2.25.1012"),
    an_instance(
        series_instance_uid="2.25.102",
        sop_instance_uid="2.25.1021",
        sop_class_uid=GRAYSCALE_PRESENTATION_STATE,
        modality="PR",
    ),
)


def test_every_series_and_nothing_else_says_where_its_instances_are():
    [study] = as_read(a_manifest(given_instances=SEVERAL)).CurrentRequestedProcedureEvidenceSequence

    for series in study.ReferencedSeriesSequence:
        assert series.RetrieveAETitle == PLACE.ae_title
        assert series.RetrieveLocationUID == PLACE.location_uid
        for instance in series.ReferencedSOPSequence:
            assert "RetrieveAETitle" not in instance
            assert "RetrieveLocationUID" not in instance
    assert "RetrieveAETitle" not in study
    assert "RetrieveLocationUID" not in study


def test_the_study_is_the_same_in_manifest_evidence_and_entry():
    manifest = as_read(a_manifest())
    [evidence] = manifest.CurrentRequestedProcedureEvidenceSequence

    assert manifest.StudyInstanceUID == evidence.StudyInstanceUID == STUDY
    assert any(one.startswith(f"{STUDY}^") for one in an_entry().reference_ids)


def test_the_manifest_is_a_key_object_in_a_series_that_it_does_not_reference():
    manifest = as_read(a_manifest())

    assert manifest.Modality == "KO"
    assert manifest.SeriesInstanceUID == IDENTITY.series_instance_uid != SERIES


def test_what_is_required_though_empty_and_the_template_are_there():
    manifest = as_read(a_manifest())
    [template] = manifest.ContentTemplateSequence

    assert manifest["ReferencedPerformedProcedureStepSequence"].value == []
    assert (template.MappingResource, template.TemplateIdentifier) == ("DCMR", "2010")


def test_the_issuer_of_the_patient_id_is_in_its_qualifiers_and_no_time():
    header = a_study_header(issuer_of_patient_id=Issuer("", "1.2.3.9", "ISO"))
    manifest = as_read(a_manifest(header, issuers=Issuers(patient_id="1.2.3.9")))
    [qualifiers] = manifest.IssuerOfPatientIDQualifiersSequence

    assert qualifiers.UniversalEntityID == "1.2.3.9"
    assert 0x00400032 not in manifest, "at the top it would be no issuer"
    assert 0x00100032 not in manifest, "that is the time of birth"


@pytest.mark.parametrize("modality", ["KO", "PR", "SR", "SEG", "REG", "DOC", "OT", "RTSTRUCT"])
def test_no_event_is_of_a_modality_that_acquires_nothing(modality: str):
    events = an_entry(modalities=("CT", modality), body_parts=(), anatomic_regions=()).event_codes

    assert [(one.value, one.scheme) for one in events] == [("CT", "1.2.840.10008.2.16.4")]
    assert all(one.display_name for one in events), "in the order of the codes"


def test_references_stand_in_one_slot_of_the_right_name_and_have_five_components():
    root = parse(
        encode_submission(a_submission()).replace(
            b"<rim:RegistryObjectList", f'<rim:RegistryObjectList xmlns:rim="{NS["rim"]}"'.encode(), 1
        )
    )

    values = root.xpath(
        "//rim:Slot[@name='urn:ihe:iti:xds:2013:referenceIdList']//rim:Value/text()", namespaces=NS
    )

    assert list(map(str, values)) == list(an_entry().reference_ids)
    for value in map(str, values):
        assert value == str(CXi.parse(value))
        assert value.count("^") == 4, "the type is the fifth component"
        assert ";" not in value


def test_a_time_of_the_entry_has_no_fraction_and_is_in_utc():
    entry = an_entry(study_date="20260301", study_time="101500.000000", timezone_offset="+0100")

    assert str(entry.service_start_time) == "20260301091500"
    assert str(entry.creation_time) == f"{datetime(2026, 3, 1, 9, 15, tzinfo=UTC):%Y%m%d%H%M%S}"


def test_the_value_type_of_a_reference_follows_its_sop_class():
    manifest = as_read(a_manifest(given_instances=SEVERAL))
    kinds = {
        one.ReferencedSOPSequence[0].ReferencedSOPClassUID: one.ValueType
        for one in manifest.ContentSequence
        if "ReferencedSOPSequence" in one
    }

    assert kinds == {CT_IMAGE: "IMAGE", GRAYSCALE_PRESENTATION_STATE: "COMPOSITE"}
