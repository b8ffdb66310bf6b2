"""A Manifest with Description is one value in two encodings: what one says, the other does (RAD MADO)."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
import typer
from hypothesis import given
from typer.testing import CliRunner

from conformance.findings import Severity
from conformance.validation import validate, validate_together
from imaging_source.domain.described_manifest import DescribedManifest, NotDescribed, of_data_set
from imaging_source.domain.instance import KeyObjectHeader, RequestReference, SeriesHeader
from imaging_source.domain.mado_bundle import bundle, of_bundle
from imaging_source.domain.manifest import build
from shared.ebrim.model import Code
from shared.imaging.instance import Issuer
from tests.support.studies import IDENTITY, PLACE, SERIES, STUDY, a_study_header, an_instance
from tests.unit.imaging_source.test_mado import (
    BARE,
    ISSUERS,
    NOTE,
    a_manifest,
    completed_header,
    headers,
    instances,
)
from xdsi.convert import command

AE_TITLE = PLACE.ae_title
#: What FHIR has no place for, by keyword.
OF_DICOM_ALONE = ("StudyID", "ReferringPhysicianName", "SeriesInstanceUID")
RICH = a_study_header(
    study_id="S1",
    patient_name="DOE^JANE^A^DR^PHD=山田^花子",
    procedure_codes=(Code("169069000", "SCT", "CT of chest"),),
    requests=(
        RequestReference(
            study_instance_uid=STUDY,
            accession_number="A123",
            placer_order_number="O1",
            placer_issuer=Issuer("WARD", "1.2.3.11", "ISO"),
            filler_order_number="F1",
            filler_issuer=Issuer("LAB"),
            requested_procedure_id="R1",
            requested_procedure_description="CT of the chest",
            requested_procedure_codes=(Code("X1", "99LOCAL", "ours"),),
        ),
    ),
    series=(
        SeriesHeader(series_instance_uid=SERIES, description="thin", date="20260228", time="093100"),
        SeriesHeader(series_instance_uid=NOTE.series_instance_uid, body_parts=("TAIL",)),
    ),
    key_objects=(
        KeyObjectHeader(
            sop_instance_uid=NOTE.sop_instance_uid,
            title=Code("113000", "DCM", "Of Interest"),
            description="two nodules",
        ),
    ),
)
app = typer.Typer()
app.command()(command)


def read(document: bytes) -> pydicom.Dataset:
    return pydicom.dcmread(BytesIO(document))


def manifest(header=RICH, *chosen) -> DescribedManifest:
    return of_data_set(read(a_manifest(header, *(chosen or (an_instance(number_of_frames=40), NOTE)))))


def without(data_set: pydicom.Dataset, *keywords: str) -> pydicom.Dataset:
    for keyword in keywords:
        if keyword in data_set:
            del data_set[keyword]
    return data_set


def errors(root: dict, folder: Path) -> list[str]:
    path = folder / "bundle.json"
    path.write_text(json.dumps(root))
    return [f"{one.id} {one}" for one in validate(path).findings if one.severity is Severity.ERROR]


@given(headers, instances)
def test_what_a_document_says_makes_the_same_document(header, chosen):
    data_set = build(
        completed_header(header), chosen, identity=IDENTITY, place=PLACE, issuers=ISSUERS, library={}
    )
    assert of_data_set(data_set).data_set() == data_set


@given(headers, instances)
def test_what_a_bundle_says_makes_the_same_bundle(header, chosen):
    once = bundle(manifest(header, *chosen))
    assert bundle(of_bundle(json.loads(json.dumps(once)), ae_title=AE_TITLE)) == once


@given(headers, instances)
def test_a_bundle_is_right_whatever_the_study_tells(tmp_path_factory, header, chosen):
    assert errors(bundle(manifest(header, *chosen)), tmp_path_factory.getbasetemp()) == []


@pytest.mark.parametrize("header", [BARE, RICH, a_study_header()], ids=["bare", "rich", "usual"])
def test_by_way_of_fhir_a_document_loses_what_fhir_has_no_place_for_and_nothing_else(header):
    before = manifest(header)
    after = of_bundle(bundle(before), ae_title=AE_TITLE)

    data_sets = [without(one.data_set(), *OF_DICOM_ALONE) for one in (before, after)]
    for data_set in data_sets:
        for request in data_set.get("ReferencedRequestSequence", ()):
            without(request, "RequestedProcedureID")
    assert data_sets[1] == data_sets[0]


def test_both_encodings_together_say_the_same(tmp_path):
    (tmp_path / "manifest.dcm").write_bytes(a_manifest(RICH, an_instance(), NOTE))
    (tmp_path / "bundle.json").write_text(json.dumps(bundle(manifest(RICH, an_instance(), NOTE))))
    report = validate_together([tmp_path / "manifest.dcm", tmp_path / "bundle.json"])
    assert [one for one in report.findings if one.severity is Severity.ERROR] == []


def test_the_narrative_names_the_study_and_escapes_what_people_wrote():
    text = bundle(manifest(a_study_header(study_description="<b>CT & more")))["entry"][0]["resource"]["text"]
    assert STUDY in text["div"]
    assert "&lt;b&gt;CT &amp; more" in text["div"]


@pytest.mark.parametrize(
    "root",
    [{}, {"entry": []}, {"entry": [{"resource": {}}]}, {"entry": 5}, [], {"identifier": {"value": "x"}}],
)
def test_what_is_no_bundle_of_a_manifest_is_told(root):
    with pytest.raises(NotDescribed):
        of_bundle(root, ae_title=AE_TITLE)


def test_a_plain_manifest_is_none_with_description():
    data_set = build(a_study_header(), [an_instance()], identity=IDENTITY, place=PLACE)
    with pytest.raises(NotDescribed, match="131560"):
        of_data_set(data_set)


def test_a_manifest_is_converted_there_and_back(tmp_path):
    (tmp_path / "a.dcm").write_bytes(a_manifest(RICH, an_instance(), NOTE))
    for source, target in (("a.dcm", "b.json"), ("b.json", "c.dcm"), ("c.dcm", "d.json")):
        result = CliRunner().invoke(app, [str(tmp_path / source), "--output", str(tmp_path / target)])
        assert result.exit_code == 0, result.output

    first, second = (json.loads((tmp_path / name).read_text()) for name in ("b.json", "d.json"))
    assert second == first


def test_what_is_no_manifest_is_told(tmp_path):
    for content in (b"{}", b"{", b"text", b""):
        (tmp_path / "file").write_bytes(content)
        assert CliRunner().invoke(app, [str(tmp_path / "file")]).exit_code == 1
