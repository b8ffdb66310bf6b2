"""A Manifest with Description (RAD MADO 1.0.0) describes what its evidence names, whatever the study says."""

from __future__ import annotations

from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.findings import Severity
from conformance.validation import validate
from imaging_source.domain import codes
from imaging_source.domain.coding import Issuers, ManifestForm
from imaging_source.domain.instance import KeyObjectHeader, RequestReference, SeriesHeader, StudyHeader
from imaging_source.domain.mado import completed
from imaging_source.domain.manifest import build, encode
from imaging_source.domain.publishing import event_codes, reference_ids, type_code
from imaging_source.settings.publishing import PublishingSettings
from shared.dicom.kos import read_manifest
from shared.dicom.uids import KEY_OBJECT_SELECTION
from shared.ebrim.model import Code
from shared.imaging.instance import Instance, Issuer
from tests.support.studies import CT_IMAGE, IDENTITY, PLACE, SERIES, STUDY, a_study_header, an_instance

ISSUERS = Issuers(
    patient_id="1.2.3.9", accession_number="1.2.3.10", placer_order_number="1.2.3.11", filler_order_number=""
)
CREATED = datetime(2026, 3, 1, 9, 15, tzinfo=UTC)
#: A study of which nothing is known.
BARE = StudyHeader(study_instance_uid=STUDY, patient_id="P1")
NOTE = an_instance(
    series_instance_uid="2.25.509",
    sop_instance_uid="2.25.5091",
    sop_class_uid=KEY_OBJECT_SELECTION,
    modality="KO",
    series_number=9,
)


def completed_header(header: StudyHeader) -> StudyHeader:
    return completed(header, ISSUERS, "", CREATED)


def a_manifest(header: StudyHeader, *instances: Instance, own: dict[str, Code] | None = None) -> bytes:
    return encode(
        build(
            completed_header(header),
            instances or (an_instance(),),
            identity=IDENTITY,
            place=PLACE,
            issuers=ISSUERS,
            library=own or {},
        )
    )


def errors(document: bytes, folder: Path) -> list[str]:
    path = folder / "manifest.dcm"
    path.write_bytes(document)
    return [f"{one.id} {one}" for one in validate(path).findings if one.severity is Severity.ERROR]


def concept(item: pydicom.Dataset) -> str:
    names = item.get("ConceptNameCodeSequence")
    return str(names[0].CodeValue) if names else ""


def library(document: bytes) -> pydicom.Dataset:
    tree = pydicom.dcmread(BytesIO(document)).ContentSequence
    (only,) = (item for item in tree if concept(item) == "111028")
    return only


def groups(document: bytes) -> list[pydicom.Dataset]:
    return [item for item in library(document).ContentSequence if concept(item) == "126200"]


def values(container: pydicom.Dataset, code: str) -> list[str]:
    children = [item for item in container.ContentSequence if concept(item) == code]
    return [_value(item) for item in children]


def _value(item: pydicom.Dataset) -> str:
    if item.ValueType == "CODE":
        return str(item.ConceptCodeSequence[0].CodeValue)
    if item.ValueType == "NUM":
        return str(item.MeasuredValueSequence[0].NumericValue)
    return str({"TEXT": "TextValue", "DATE": "Date", "TIME": "Time", "UIDREF": "UID"}[item.ValueType])


texts = st.text(st.characters(codec="utf-8"), max_size=80)
issuers = st.builds(Issuer, st.sampled_from(["", "HOSPITAL"]), st.sampled_from(["", "1.2.3.4"]))
# Who is told by a name alone has no OID, and none is made up.
patient_issuers = st.sampled_from([Issuer(), Issuer("HOSPITAL", "1.2.3.4"), Issuer("", "1.2.3.4", "ISO")])
named_issuers = st.sampled_from([Issuer("HOSPITAL", "1.2.3.4"), Issuer("", "1.2.3.4", "ISO")])
requests = st.builds(
    RequestReference,
    study_instance_uid=st.sampled_from([STUDY, "2.25.777"]),
    accession_number=st.sampled_from(["", "A1", "A2", "longer than a number of sixteen"]),
    accession_issuer=issuers,
    placer_order_number=st.sampled_from(["", "O1"]),
    placer_issuer=issuers,
)
headers = st.builds(
    a_study_header,
    study_date=st.sampled_from(["", "20260228", "nonsense"]),
    study_time=st.sampled_from(["", "0930", "nonsense"]),
    other_dates=st.lists(st.tuples(st.just("20260227"), st.sampled_from(["", "07"])), max_size=2).map(tuple),
    accession_numbers=st.lists(
        st.tuples(st.sampled_from(["A1", "A2"]), issuers), max_size=2, unique_by=lambda one: one[0]
    ).map(tuple),
    requests=st.lists(requests, max_size=3).map(tuple),
    other_patient_ids=st.lists(st.tuples(st.sampled_from(["P1", "N7"]), named_issuers), max_size=2).map(
        tuple
    ),
    issuer_of_patient_id=patient_issuers,
    institution=texts,
    study_description=texts,
    body_parts=st.lists(st.sampled_from(["CHEST", "WRIST", "TAIL"]), max_size=2).map(tuple),
    series=st.builds(
        SeriesHeader,
        series_instance_uid=st.just(SERIES),
        description=texts,
        date=st.sampled_from(["", "20260228"]),
        time=st.sampled_from(["", "093100"]),
        body_parts=st.lists(st.sampled_from(["CHEST", "TAIL"]), max_size=1).map(tuple),
    ).map(lambda one: (one,)),
)
instances = st.lists(
    st.builds(
        lambda series, number, frames, modality: an_instance(
            series_instance_uid=f"2.25.50{series}",
            sop_instance_uid=f"2.25.50{series}.{number}",
            series_number=series,
            instance_number=number or None,
            number_of_frames=frames,
            modality=modality,
        ),
        st.integers(1, 3),
        st.integers(0, 9),
        st.sampled_from([1, 40]),
        st.sampled_from(["CT", "SR", "ct ", "", "KAPUTT"]),
    ),
    min_size=1,
    max_size=6,
)


@given(headers, instances)
def test_whatever_a_study_tells_its_manifest_is_right(tmp_path_factory, header, chosen):
    assert errors(a_manifest(header, *chosen), tmp_path_factory.getbasetemp()) == []


def test_a_study_that_tells_nothing_has_a_manifest_without_errors(tmp_path: Path):
    assert errors(a_manifest(BARE), tmp_path) == []


@given(instances)
def test_every_instance_is_named_three_times_and_counted_rightly(chosen):
    document = a_manifest(a_study_header(), *chosen)
    data_set = pydicom.dcmread(BytesIO(document))
    evidence = {
        str(series.SeriesInstanceUID): [
            str(one.ReferencedSOPInstanceUID) for one in series.ReferencedSOPSequence
        ]
        for series in data_set.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    }
    described = {
        next(str(item.UID) for item in group.ContentSequence if concept(item) == "112002"): [
            str(item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID)
            for item in group.ContentSequence
            if "ReferencedSOPSequence" in item
        ]
        for group in groups(document)
    }
    flat = [
        str(item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID)
        for item in data_set.ContentSequence
        if "ReferencedSOPSequence" in item
    ]
    assert described == evidence
    assert flat == [uid for uids in evidence.values() for uid in uids]
    assert values(library(document), "131565") == [str(len(evidence))]
    assert [values(group, "131564") for group in groups(document)] == [
        [str(len(uids))] for uids in evidence.values()
    ]


def test_a_consumer_of_plain_manifests_reads_it():
    manifest = read_manifest(a_manifest(a_study_header(), an_instance(), NOTE))
    assert {one.sop_instance_uid for _, _, one in manifest.instances} == {"2.25.502", "2.25.5091"}


def test_a_key_image_note_tells_its_title_and_what_it_says():
    header = a_study_header(
        key_objects=(
            KeyObjectHeader(
                sop_instance_uid=NOTE.sop_instance_uid,
                title=Code("113000", "DCM", "Of Interest"),
                description="two nodules",
            ),
        )
    )
    entry = next(
        item
        for item in groups(a_manifest(header, an_instance(), NOTE))[1].ContentSequence
        if "ReferencedSOPSequence" in item
    )
    assert [(concept(item), item.ValueType) for item in entry.ContentSequence] == [
        ("113609", "TEXT"),
        ("121144", "CODE"),
        ("113012", "TEXT"),
    ]
    assert entry.ContentSequence[2].TextValue == "two nodules"


def test_the_accession_number_of_a_study_without_one_is_always_the_same_and_can_be_searched():
    first, again = completed_header(BARE), completed_header(BARE)
    other = completed_header(StudyHeader(study_instance_uid="2.25.501", patient_id="P1"))
    ((number, _),) = first.accession_numbers
    assert again.accession_numbers == first.accession_numbers != other.accession_numbers
    assert len(number) <= 16
    assert f"{number}^^^&1.2.3.10&ISO^urn:ihe:iti:xds:2013:accession" in reference_ids(first, ISSUERS)


def test_no_placer_order_number_is_made_up():
    (request,) = completed_header(BARE).requests
    assert request.placer_order_number == ""


@pytest.mark.parametrize("body_part", sorted(codes.BODY_PARTS))
def test_every_body_part_that_has_a_code_is_found_by_a_coarse_region(body_part: str):
    assert codes.target_regions([codes.BODY_PARTS[body_part]])


def test_a_study_of_an_unknown_region_is_found_by_the_widest():
    document = a_manifest(a_study_header(body_parts=("TAIL",)))
    assert values(library(document), "123014") == ["38266002"]


def test_the_regions_of_a_study_are_those_of_the_value_set_and_those_of_a_series_are_its_own():
    header = a_study_header(
        body_parts=("CHESTABDOMEN",),
        series=(SeriesHeader(series_instance_uid=SERIES, body_parts=("CHESTABDOMEN",)),),
    )
    document = a_manifest(header, an_instance(sop_class_uid=CT_IMAGE))
    assert values(library(document), "123014") == ["67734004", "63337009"]
    assert values(groups(document)[0], "123014") == ["416550000"]


def test_in_metadata_the_procedure_is_an_event_and_the_type_is_one_of_documents():
    procedure = Code("169069000", "SCT", "CT of chest")
    header = a_study_header(procedure_codes=(procedure,))
    coding = PublishingSettings(form=ManifestForm.MADO).coding
    found = {code.value for code in event_codes(header, coding)}
    assert {"CT", "816094009", "67734004", "169069000"} == found
    assert type_code(header, coding).value == "18748-4"
    assert type_code(header, PublishingSettings().coding).value == "169069000"
