"""Intake: what an instance must be, what is noted of it, where its frames lie."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate

from imaging_source.domain.header import study_header
from imaging_source.domain.intake import MISMATCH, Refused, identify, right_meta, tolerances
from shared.dicom.data_set import Tolerance
from shared.dicom.part10 import DicomError, scan
from shared.dicom.uids import DEFLATED_LE, MEDIA_STORAGE_DIRECTORY, RLE
from shared.ebrim.model import Code
from shared.imaging.description import Claim, describe
from shared.imaging.header_tags import HEADER_TAGS
from shared.imaging.instance import Issuer
from shared.imaging.pixels import UNKNOWN_FRAME, FrameFragments
from tests.support.dicom import a_color_image, a_ct, a_multi_frame, an_sr, changed, part10


@pytest.fixture
def scanned(tmp_path):
    def scan_bytes(octets: bytes):
        path = tmp_path / "file"
        path.write_bytes(octets)
        return scan(path)

    return scan_bytes


@pytest.fixture
def described(scanned):
    def describe_bytes(octets: bytes):
        found = scanned(octets)
        return describe(
            found,
            identify(found, Claim()),
            file="file",
            size=len(octets),
            sha256="aa",
            received_at=datetime(2026, 3, 1, tzinfo=UTC),
        )

    return describe_bytes


def test_an_instance_is_described_by_its_attributes(described):
    found = described(part10(a_ct())).instance

    assert (found.study_instance_uid, found.series_instance_uid, found.sop_instance_uid) == (
        "2.25.11",
        "2.25.12",
        "2.25.13",
    )
    assert (found.patient_id, found.accession_number, found.modality) == ("P1", "A123", "CT")
    assert (found.series_number, found.instance_number) == (3, 1)
    assert (found.rows, found.columns, found.bits_allocated, found.number_of_frames) == (4, 4, 16, 1)
    assert found.has_pixels
    assert found.decoded_size == 32


def test_a_report_has_no_pixels(described):
    found = described(part10(an_sr()))

    assert not found.instance.has_pixels
    assert found.instance.decoded_size == 0
    assert found.pixels is None


def test_the_decoded_size_counts_samples_and_frames(described):
    assert described(part10(a_color_image())).instance.decoded_size == 16 * 18 * 3
    assert described(part10(a_multi_frame(5))).instance.decoded_size == 16 * 16 * 2 * 5


@pytest.mark.parametrize("value", ["x", "", "99999999999"])
def test_a_number_that_is_none_is_absent(described, value):
    data_set = a_ct()
    data_set.add(pydicom.DataElement(0x00200013, "LO", value))

    assert described(part10(data_set)).instance.instance_number is None


def test_the_metadata_refer_to_pixels_below_the_instance(described):
    found = described(part10(a_ct()))

    metadata = json.loads(found.metadata)

    assert metadata["7FE00010"]["BulkDataURI"] == (
        "studies/2.25.11/series/2.25.12/instances/2.25.13/bulkdata/7FE00010"
    )
    assert found.instance.metadata_size == len(found.metadata)
    assert set(json.loads(found.header)) <= {f"{tag:08X}" for tag in HEADER_TAGS}


# --- identity ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data_set", "claim", "reason"),
    [
        (a_ct(StudyInstanceUID=None), Claim(), r"Study Instance UID \(0020,000D\) is absent"),
        (a_ct(SeriesInstanceUID=""), Claim(), r"Series Instance UID \(0020,000E\) is absent"),
        (a_ct(), Claim(study_instance_uid="2.25.9"), r"\(0020,000D\) differs from the request"),
        (a_ct(), Claim(sop_class_uid="1.2.3"), r"\(0008,0016\) differs from the request"),
        (a_ct(), Claim(sop_instance_uid="1.2.3"), r"\(0008,0018\) differs from the request"),
    ],
)
def test_an_instance_is_what_was_claimed_or_refused(scanned, data_set, claim, reason):
    with pytest.raises(Refused, match=reason) as refused:
        identify(scanned(part10(data_set)), claim)

    assert refused.value.status == MISMATCH
    assert refused.value.claim.sop_instance_uid == "2.25.13"


def test_of_two_names_that_of_the_data_set_counts_and_group_2_is_put_right(scanned):
    octets = part10(a_ct()).replace(b"2.25.13", b"2.25.99", 1)

    identity = identify(scanned(octets), Claim())

    assert identity.sop_instance_uid == "2.25.13"
    assert Tolerance.META_DIFFERS in tolerances(scanned(octets), identity)
    assert b"2.25.13" in right_meta(scanned(octets), identity)


@pytest.mark.parametrize("malformed", [b"2.25./1", b"2.25..1", b".......", b".2.25.1", b"2.25.1."])
@pytest.mark.parametrize(
    ("uid", "tag"), [(b"2.25.11", "0020,000D"), (b"2.25.12", "0020,000E"), (b"2.25.13", "0008,0018")]
)
def test_a_malformed_uid_is_refused(scanned, uid, tag, malformed):
    octets = part10(a_ct()).replace(uid, malformed)

    with pytest.raises(Refused, match=rf"\({tag}\) is not a UID"):
        identify(scanned(octets), Claim())


def test_a_dicomdir_is_no_instance(scanned):
    with pytest.raises(Refused, match="DICOMDIR"):
        identify(scanned(part10(a_ct(SOPClassUID=MEDIA_STORAGE_DIRECTORY))), Claim())


# --- frames --------------------------------------------------------------------------------------------


def test_native_pixels_are_one_run(described):
    octets = part10(a_multi_frame(3))

    found = described(octets).pixels

    assert found.fragments is None
    assert octets[found.offset : found.offset + found.length] == a_multi_frame(3).PixelData


def test_each_frame_of_compressed_pixels_is_located(described):
    data_set = a_multi_frame(3)
    octets = part10(data_set, RLE)

    fragments = described(octets).pixels.fragments

    assert [fragment.frame for fragment in fragments] == [1, 2, 3]
    frames = [octets[fragment.offset : fragment.offset + fragment.length] for fragment in fragments]
    assert frames == list(pydicom.encaps.generate_frames(data_set.PixelData, number_of_frames=3))


def fragmented(*, table: bool) -> bytes:
    """Three frames in two fragments each."""
    data_set = a_multi_frame(3)
    data_set.PixelData = encapsulate([b"ab" * 8] * 3, fragments_per_frame=2, has_bot=table)
    data_set["PixelData"].VR = "OB"
    data_set["PixelData"].is_undefined_length = True
    return part10(data_set, RLE, compress=False)


def test_fragments_go_to_frames_by_the_offset_table(described):
    fragments = described(fragmented(table=True)).pixels.fragments

    assert [fragment.frame for fragment in fragments] == [1, 1, 2, 2, 3, 3]


def test_without_an_offset_table_nobody_guesses_which_frame_a_fragment_is_of(described):
    fragments = described(fragmented(table=False)).pixels.fragments

    assert {fragment.frame for fragment in fragments} == {UNKNOWN_FRAME}
    assert FrameFragments(fragments.packed)[:6] == list(fragments)


def test_a_deflated_file_has_no_places_of_frames(described):
    assert described(part10(a_ct(), DEFLATED_LE)).pixels is None


# --- the header of a study -----------------------------------------------------------------------------


def header_of(*data_sets: Dataset):
    return study_header("2.25.11", [attributes_of(data_set) for data_set in data_sets])


def attributes_of(data_set: Dataset):
    return json.loads(data_set.to_json())


def item(**attributes) -> Dataset:
    return changed(Dataset(), **attributes)


def test_the_header_takes_the_first_value_and_collects_what_may_be_several():
    header = header_of(
        a_ct(StudyDescription="", BodyPartExamined="HEAD"),
        a_ct(StudyDescription="CT head", Modality="PT", BodyPartExamined="NECK"),
        a_ct(StudyDescription="later"),
    )

    assert header.study_description == "CT head"
    assert header.modalities == ("CT", "PT")
    assert header.body_parts == ("HEAD", "NECK")
    assert header.patient_name == "Müller^Jürgen"


def test_codes_are_read_in_their_three_forms():
    codes = [
        item(CodeValue="T-D1100", CodingSchemeDesignator="SRT", CodeMeaning="Head"),
        item(LongCodeValue="x" * 20, CodingSchemeDesignator="99L", CodeMeaning="Long"),
        item(URNCodeValue="urn:x", CodeMeaning="URN"),
        item(CodeMeaning="no value"),
    ]

    header = header_of(a_ct(ProcedureCodeSequence=codes))

    assert header.procedure_codes == (
        Code("T-D1100", "SRT", "Head"),
        Code("x" * 20, "99L", "Long"),
        Code("urn:x", "", "URN"),
    )


def test_a_request_of_the_series_is_read_with_its_issuers():
    authority = item(UniversalEntityID="1.2.9", UniversalEntityIDType="ISO")
    request = item(
        AccessionNumber="A9",
        IssuerOfAccessionNumberSequence=[authority],
        PlacerOrderNumberImagingServiceRequest="O1",
        OrderPlacerIdentifierSequence=[authority],
        RequestedProcedureID="RP1",
    )

    header = header_of(a_ct(RequestAttributesSequence=[request]), a_ct(RequestAttributesSequence=[request]))

    (found,) = header.requests
    assert (found.accession_number, found.accession_issuer) == ("A9", Issuer("", "1.2.9", "ISO"))
    assert (found.placer_order_number, found.placer_issuer) == ("O1", Issuer("", "1.2.9", "ISO"))
    assert found.requested_procedure_id == "RP1"
    assert header.accession_numbers == (("A123", Issuer()), ("A9", Issuer("", "1.2.9", "ISO")))


def test_without_a_request_the_study_level_stands_for_one():
    (found,) = header_of(a_ct()).requests

    assert (found.study_instance_uid, found.accession_number) == ("2.25.11", "A123")


def test_without_any_number_there_is_no_request():
    assert header_of(a_ct(AccessionNumber="")).requests == ()


def test_an_accession_number_is_listed_once_with_its_issuer():
    request = item(
        AccessionNumber="A123",
        IssuerOfAccessionNumberSequence=[item(LocalNamespaceEntityID="RIS")],
    )

    header = header_of(a_ct(RequestAttributesSequence=[request]))

    assert header.accession_numbers == (("A123", Issuer("RIS")),)


def test_the_issuer_of_the_patient_id_has_its_qualifiers():
    header = header_of(
        a_ct(),
        a_ct(
            IssuerOfPatientID="HIS",
            IssuerOfPatientIDQualifiersSequence=[
                item(UniversalEntityID="1.2.8", UniversalEntityIDType="ISO")
            ],
        ),
    )

    assert header.issuer_of_patient_id == Issuer("HIS", "1.2.8", "ISO")


def test_a_scan_that_fails_is_no_instance(scanned):
    with pytest.raises(DicomError):
        scanned(part10(a_ct())[:400])
