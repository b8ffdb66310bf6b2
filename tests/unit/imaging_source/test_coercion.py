"""Images of others under local identifiers: what is replaced, what is kept beside, and what stays."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset, dcmread
from pydicom.sequence import Sequence
from pydicom.uid import DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

from consumer.domain.destination import Destination, Kind, WrongDestination
from shared.imaging.coerced_files import Uncoercible, write_coerced
from shared.imaging.coercion import coerce
from shared.imaging.local_identity import LocalIdentity, WrongIdentity
from xdsi.builtin_study import write_study

AT = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
LOCAL = LocalIdentity(
    patient_id="L-77", issuer="SOUTH", name="Roe^Rick", birth_date="19560527", sex="M", accession_number="S1"
)


def foreign() -> Dataset:
    image = Dataset()
    image.PatientID, image.IssuerOfPatientID, image.PatientName = "N-1", "NORTH", "Ro^R"
    image.PatientBirthDate, image.PatientSex, image.AccessionNumber = "1956", "O", "N-A1"
    image.StudyInstanceUID, image.SeriesInstanceUID, image.SOPInstanceUID = "2.25.1", "2.25.2", "2.25.3"
    image.StudyDate, image.InstitutionName, image.Manufacturer = "20260301", "Hospital North", "Maker"
    request = Dataset()
    request.RequestedProcedureID, request.ScheduledProcedureStepID = "R1", "S1"
    image.RequestAttributesSequence = Sequence([request])
    return image


def coerced(image: Dataset, local: LocalIdentity = LOCAL) -> Dataset:
    coerce(image, local, source="Hospital North", at=AT)
    return image


def test_local_identifiers_stand_in_the_place_of_foreign_ones_which_are_kept_beside():
    image = coerced(foreign())

    assert (image.PatientID, image.IssuerOfPatientID, image.PatientName) == ("L-77", "SOUTH", "Roe^Rick")
    assert (image.PatientBirthDate, image.PatientSex, image.AccessionNumber) == ("19560527", "M", "S1")
    assert "RequestAttributesSequence" not in image
    [item] = image.OriginalAttributesSequence
    assert (item.SourceOfPreviousValues, item.ReasonForTheAttributeModification) == (
        "Hospital North",
        "COERCE",
    )
    assert item.AttributeModificationDateTime == "20260302080000+0000"
    [old] = item.ModifiedAttributesSequence
    assert (old.PatientID, old.IssuerOfPatientID, old.PatientName) == ("N-1", "NORTH", "Ro^R")
    assert (old.PatientBirthDate, old.PatientSex, old.AccessionNumber) == ("1956", "O", "N-A1")
    assert old.RequestAttributesSequence[0].RequestedProcedureID == "R1"
    [other] = image.OtherPatientIDsSequence
    assert (other.PatientID, other.IssuerOfPatientID) == ("N-1", "NORTH")


def test_what_identifies_the_study_and_how_it_was_made_stays():
    before, after = foreign(), coerced(foreign())

    for keyword in (
        *("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"),
        *("StudyDate", "InstitutionName", "Manufacturer"),
    ):
        assert after[keyword] == before[keyword]


def test_what_was_not_changed_is_not_listed_and_what_is_not_known_here_stays():
    image = foreign()
    image.PatientID, image.IssuerOfPatientID = "L-77", "SOUTH"

    coerced(image, LocalIdentity(patient_id="L-77", issuer="SOUTH", accession_number="N-A1"))

    [old] = image.OriginalAttributesSequence[0].ModifiedAttributesSequence
    assert [one.keyword for one in old] == ["RequestAttributesSequence"]
    assert image.PatientName == "Ro^R"
    assert "OtherPatientIDsSequence" not in image


def test_a_foreign_issuer_never_stands_beside_a_local_id():
    image = coerced(foreign(), LocalIdentity(patient_id="L-77"))

    assert "IssuerOfPatientID" not in image
    assert image.AccessionNumber == ""


def test_what_was_coerced_before_keeps_its_history():
    image = coerced(coerced(foreign()), LocalIdentity(patient_id="E-9"))

    first, second = image.OriginalAttributesSequence
    assert first.ModifiedAttributesSequence[0].PatientID == "N-1"
    assert second.ModifiedAttributesSequence[0].PatientID == "L-77"
    assert [one.PatientID for one in image.OtherPatientIDsSequence] == ["N-1", "L-77"]


NAMES = st.text(st.characters(categories=("L",)), min_size=1, max_size=20)


@given(NAMES, NAMES)
def test_a_name_in_any_script_and_the_old_one_are_both_read_back(tmp_path_factory, old: str, new: str):
    folder = tmp_path_factory.mktemp("coerced")
    image = foreign()
    image.SpecificCharacterSet, image.PatientName = "ISO_IR 192", old
    image.file_meta = _meta()
    image.save_as(folder / "a.dcm", enforce_file_format=True)

    local = LocalIdentity(patient_id="L-77", name=new)
    write_coerced(folder / "a.dcm", folder / "b.dcm", local, origin="North", at=AT)

    read = dcmread(folder / "b.dcm")
    assert read.PatientName == new
    if old != new:
        assert read.OriginalAttributesSequence[0].ModifiedAttributesSequence[0].PatientName == old


def _meta():
    from pydicom.dataset import FileMetaDataset

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", "2.25.3"
    meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    return meta


@pytest.mark.parametrize(
    "syntax", [None, ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, RLELossless]
)
def test_pixels_are_the_same_octets_in_every_transfer_syntax(tmp_path: Path, syntax):
    first, *_ = write_study(tmp_path)
    image = dcmread(first)
    if syntax is RLELossless:
        image.compress(RLELossless)
    elif syntax is not None:
        image.file_meta.TransferSyntaxUID = syntax
    image.save_as(first, enforce_file_format=True)

    write_coerced(first, tmp_path / "out.dcm", LOCAL, origin="North", at=AT)

    after = dcmread(tmp_path / "out.dcm")
    assert after.PixelData == image.PixelData
    assert after.file_meta.TransferSyntaxUID == image.file_meta.TransferSyntaxUID
    assert after.PatientID == "L-77"


def test_a_file_that_cannot_be_read_leaves_nothing(tmp_path: Path):
    (tmp_path / "a.dcm").write_bytes(b"no DICOM")

    with pytest.raises(Uncoercible):
        write_coerced(tmp_path / "a.dcm", tmp_path / "b.dcm", LOCAL, origin="North", at=AT)

    assert [one.name for one in tmp_path.iterdir()] == ["a.dcm"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"patient_id": ""},
        {"patient_id": " "},
        {"patient_id": "a" * 65},
        {"patient_id": "a\\b"},
        {"patient_id": "a\nb"},
        {"patient_id": "1", "accession_number": "a" * 17},
        {"patient_id": "1", "birth_date": "1956-05-27"},
        {"patient_id": "1", "sex": "male"},
    ],
)
def test_local_identifiers_that_dicom_cannot_hold_are_refused(wrong: dict[str, str]):
    with pytest.raises(WrongIdentity):
        LocalIdentity(**wrong)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("dicom://PACS@127.0.0.1:4242", Kind.C_STORE),
        ("dicoms://PACS@pacs.example:11112", Kind.C_STORE),
        ("https://pacs.example/dicomweb/", Kind.STOW),
        ("./disc", Kind.FOLDER),
        ("/tmp/disc.ZIP", Kind.ZIP),
    ],
)
def test_destinations_are_read_as_they_are_written(text: str, kind: Kind):
    assert Destination.of(text).kind is kind


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "ftp://a/b", "dicom://127.0.0.1:4242", "dicom://PACS@127.0.0.1", "dicom://A B@h:1"),
        *(
            "dicom://PACS@:104",
            "dicom://PACS@h:99999",
            "dicom://PACS:secret@h:1",
            "https://",
            "https://u@h/x",
        ),
        *("https://h/x?y=1", "dicom://PACS@h:1/path", "dicom://SEVENTEEN_LETTERS@h:1"),
    ],
)
def test_what_is_no_destination_is_refused_with_how_one_is_written(text: str):
    with pytest.raises(WrongDestination, match="dicom://AETITLE@host:port"):
        Destination.of(text)
