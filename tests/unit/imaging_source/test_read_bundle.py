"""A Bundle read by a consumer says what the document of the same manifest says (RAD MADO; FHIR R4)."""

from __future__ import annotations

import json
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
import pytest
from hypothesis import given

from imaging_source.domain.described_manifest import of_data_set
from imaging_source.domain.mado_bundle import encode
from imaging_source.domain.manifest import encode as encode_document
from shared.dicom.kos import Manifest, ManifestError, ReferencedStudy, TooManyReferences, read_manifest
from shared.imaging.manifest_bundle import BundleError, read_bundle
from tests.support.studies import a_study_header, an_instance
from tests.unit.imaging_source.test_mado import a_manifest, headers, instances

SAMPLES = Path(__file__).parents[4] / "shared" / "samples" / "mado"
#: What a consumer follows: which instances there are, and where.
FOLLOWED = ("sop_instance_uid", "study_instance_uid", "patient_id")


def places(manifest: Manifest) -> set[tuple[str, ...]]:
    return {
        (
            study.study_instance_uid,
            series.series_instance_uid,
            one.sop_instance_uid,
            one.sop_class_uid,
            series.retrieve_location_uid,
            series.retrieve_url,
        )
        for study, series, one in manifest.instances
    }


def root_of(**changes: Any) -> dict[str, Any]:
    described = of_data_set(pydicom.dcmread(BytesIO(a_manifest(a_study_header(), an_instance()))))
    return {**json.loads(encode(described)), **changes}


def resource(root: dict[str, Any], kind: str) -> dict[str, Any]:
    return next(one["resource"] for one in root["entry"] if one["resource"]["resourceType"] == kind)


def read(root: Any, **options: Any) -> Manifest:
    return read_bundle(json.dumps(root).encode(), **options)


@given(headers, instances)
def test_both_encodings_lead_to_the_same_images(header, chosen):
    described = of_data_set(pydicom.dcmread(BytesIO(a_manifest(header, *chosen))))
    of_document = read_manifest(encode_document(described.data_set()))
    of_bundle = read_bundle(encode(described))

    assert places(of_bundle) == places(of_document)
    for name in FOLLOWED:
        assert getattr(of_bundle, name) == getattr(of_document, name), name
    # Of several requests a document has no number at its root.
    assert of_document.accession_number in ("", of_bundle.accession_number)
    assert of_bundle.patient_name.partition("=")[0] in of_document.patient_name


@pytest.mark.parametrize("number", ["101", "102"])
def test_published_bundles_are_read(number: str):
    path = SAMPLES / f"mado-1.2.250.1.59.40211.22756022.2.1.{number}-bundle.json"
    if not path.exists():
        pytest.skip("the samples are not at hand")
    root = json.loads(path.read_bytes())
    study = resource(root, "ImagingStudy")

    manifest = read(root)

    assert manifest.study_instance_uid == f"1.2.250.1.59.40211.22756022.2.1.{number}"
    assert (manifest.patient_id, manifest.patient_name) == ("UV59569735", "DOE^John")
    assert len(list(manifest.instances)) == study["numberOfInstances"]
    assert {series.retrieve_url for one in manifest.studies for series in one.series} == {
        "http://example.com/wado"
    }
    assert manifest.faults == ()


def test_instances_come_in_the_order_of_their_numbers():
    root = root_of()
    (series,) = resource(root, "ImagingStudy")["series"]
    series["instance"] = [{"uid": f"1.2.{number}", "number": number} for number in (3, 1, 2)]

    assert [one.sop_instance_uid for _, _, one in read(root).instances] == ["1.2.1", "1.2.2", "1.2.3"]


def test_what_names_nothing_is_left_out_and_told():
    root = root_of()
    (series,) = resource(root, "ImagingStudy")["series"]
    series["instance"].append({"number": 9})

    assert read(root).faults == ("1 references left out: no UID in the ImagingStudy",)


def test_a_study_may_have_the_endpoint_of_its_series():
    root = root_of()
    study = resource(root, "ImagingStudy")
    study["endpoint"] = study["series"][0].pop("endpoint")

    assert places(read(root)) == places(read(root_of()))


def test_of_several_studies_each_is_read():
    root = root_of()
    other = json.loads(json.dumps(resource(root, "ImagingStudy")))
    other["identifier"][0]["value"] = "urn:oid:1.2.3"
    root["entry"].append({"resource": other})

    assert [type(one) for one in read(root).studies] == [ReferencedStudy] * 2
    assert replace(read(root), studies=()).study_instance_uid == read(root_of()).study_instance_uid


def test_two_patients_are_refused():
    root = root_of()
    root["entry"].append({"resource": {"resourceType": "Patient", "identifier": [{"value": "another"}]}})

    with pytest.raises(BundleError, match="it names two patients, and a manifest is of one"):
        read(root)


def test_more_than_is_wanted_is_told_as_such():
    with pytest.raises(TooManyReferences, match="more than 0 instances"):
        read(root_of(), most=0)
    with pytest.raises(TooManyReferences):
        read_bundle(b"[" + b"[]," * 100_100 + b"0]", most=1)


@pytest.mark.parametrize(
    ("octets", "words"),
    [
        (b"", "no JSON"),
        (b"DICM", "no JSON"),
        (b"[" * 90_000, "no JSON"),
        (b"[]", "not as in a MadoFhirBundle"),
        (b"null", "not as in a MadoFhirBundle"),
        (b"{}", "no document Bundle"),
        (b'{"resourceType": "Bundle", "type": "searchset"}', "no document Bundle"),
        (b'{"resourceType": "Bundle", "type": "document"}', "no ImagingStudy"),
        (b'{"resourceType": "Bundle", "type": "document", "entry": [{}]}', "not as in a MadoFhirBundle"),
    ],
)
def test_what_is_no_bundle_of_a_manifest_is_told(octets: bytes, words: str):
    with pytest.raises(ManifestError, match=words):
        read_bundle(octets)


@pytest.mark.parametrize("kind", ["ImagingStudy", "Patient", "Endpoint"])
@pytest.mark.parametrize("value", [None, 7, "text", [], {}, [None], ["text"], {"a": 1}])
def test_whatever_stands_in_it_is_a_manifest_or_an_error_of_its_kind(kind: str, value: Any):
    for name in resource(root_of(), kind):
        root = root_of()
        resource(root, kind)[name] = value
        try:
            read(root)
        except ManifestError:
            continue
