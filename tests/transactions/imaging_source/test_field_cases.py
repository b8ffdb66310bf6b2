"""Small inputs from the field which broke things, with the outcomes that they should have."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from dataclasses import dataclass
from io import BytesIO

import pydicom
import pytest

from imaging_source.domain.intake import Refused
from imaging_source.store import outbox
from imaging_source.transactions import rad68
from imaging_source.transactions.iti41 import frozen
from imaging_source.transactions.rad68 import shareable_instances
from shared.dicom.data_set import Tolerance
from shared.dicom.part10 import PREAMBLE, scan
from shared.dicom.uids import EXPLICIT_LE, IMPLICIT_LE
from tests.support.databases import DatabasePlace
from tests.support.field_cases import field_cases
from tests.support.imaging_source import Source, close_source, open_source, source
from tests.support.intake import a_transfer
from xdsi.import_ import dicom_files, left_out

__all__ = ["field_cases", "source"]

DCMDUMP = shutil.which("dcmdump", path="/usr/bin")


async def intake(source: Source, octets: bytes):
    incoming = source.parts.instances.files.new(max_bytes=10**9)
    incoming.write(octets)
    return await source.parts.instances.store_part10(incoming.finish(), a_transfer())


@dataclass
class Published:
    """A manifest and the entry that describes it."""

    manifest: pydicom.Dataset
    entry: object


async def published(source: Source, study_instance_uid: str) -> Published:
    await rad68.publish(source.parts, study_instance_uid, "P1")
    (leased,) = await outbox.lease(source.parts.database, most=1)
    (entry,) = frozen(leased.submission).document_entries
    return Published(pydicom.dcmread(BytesIO(leased.document)), entry)


BYTE_FOR_BYTE = {
    "01": Tolerance.STRAY_DELIMITER,
    "10": Tolerance.NO_VR,
    "34": Tolerance.WRONG_VR,
    "35": Tolerance.DUPLICATE,
    "39": Tolerance.UNDEFINED_LENGTH,
    "48": Tolerance.NO_CHARACTER_SET,
    "28": None,
    "29": None,
    "40": None,
    "42": None,
    "60": None,
    "61": None,
    "62": None,
    "65": None,
    "75": None,
}


@pytest.mark.parametrize(("number", "tolerance"), BYTE_FOR_BYTE.items())
async def test_it_is_kept_byte_for_byte_and_what_is_wrong_is_told(source, field_cases, number, tolerance):
    octets = field_cases.octets(number)

    stored = await intake(source, octets)

    assert stored.new
    assert stored.instance.path.read_bytes() == octets
    assert [warning.partition(": (")[0] for warning in stored.warnings] == (
        [tolerance.value] if tolerance else []
    )


@pytest.mark.parametrize(
    ("number", "tolerances"),
    [
        ("03", [Tolerance.META_REPEATED]),
        ("12", [Tolerance.OTHER_SYNTAX]),
        ("20", [Tolerance.NO_PREAMBLE, Tolerance.NO_META]),
        ("21", [Tolerance.META_DIFFERS]),
    ],
)
async def test_it_is_kept_with_a_right_group_0002_before_the_same_data_set(
    source, field_cases, number, tolerances
):
    octets = field_cases.octets(number)

    stored = await intake(source, octets)

    kept = stored.instance.path.read_bytes()
    read = pydicom.dcmread(BytesIO(kept))
    assert [warning.partition(": (")[0] for warning in stored.warnings] == [one.value for one in tolerances]
    assert octets.endswith(kept[scan(stored.instance.path).data_set_offset :])
    assert (
        read.file_meta.MediaStorageSOPInstanceUID == read.SOPInstanceUID == stored.instance.sop_instance_uid
    )


def test_every_file_of_a_folder_is_sent_or_told_by_name(field_cases):
    folder = field_cases.case("20")

    assert [path.name for path in dicom_files([folder])] == ["in.dcm", "whole.dcm"]
    assert list(left_out([folder])) == [str(folder / "README")]


@pytest.mark.parametrize("number", ["40", "42", "48"])
async def test_its_text_is_read_and_reaches_the_manifest(source, field_cases, number):
    name = "홍^길동" if number == "42" else "Müller^Jürgen"

    stored = await intake(source, field_cases.octets(number))
    made = await published(source, stored.instance.study_instance_uid)

    assert str(made.manifest.PatientName) == name
    assert f"PID-5|{name}" in made.entry.source_patient_info


async def test_the_dual_tiff_preamble_is_zeroed_unless_a_setting_keeps_it(source, field_cases, tmp_path):
    octets = field_cases.octets("76")

    zeroed = (await intake(source, octets)).instance.path.read_bytes()
    keeping = await open_source(
        DatabasePlace(url=None, folder=tmp_path / "other", name="imaging_source"),
        tmp_path / "keeping",
        keep_preamble=True,
    )
    try:
        kept = (await intake(keeping, octets)).instance.path.read_bytes()
    finally:
        await close_source(keeping)

    assert zeroed == bytes(PREAMBLE) + octets[PREAMBLE:]
    assert kept == octets


async def test_the_same_instance_in_another_encoding_is_a_duplicate_and_another_content_is_not(
    source, field_cases
):
    first = await intake(source, field_cases.octets("92", "a-explicit.dcm"))

    for other in ("b-implicit.dcm", "c-explicit-with-group-length.dcm"):
        again = await intake(source, field_cases.octets("92", other))
        assert (again.new, again.instance) == (False, first.instance)
    with pytest.raises(Refused, match="another data set"):
        await intake(source, field_cases.octets("92", "d-corrected-patient.dcm"))


async def test_an_accession_number_that_is_too_long_is_a_reference_of_the_entry(source, field_cases):
    stored = await intake(source, field_cases.octets("60"))

    made = await published(source, stored.instance.study_instance_uid)

    assert made.manifest.AccessionNumber == ""
    assert made.manifest.get("StudyID", "") == ""
    assert len(stored.instance.accession_number) > 16


async def test_a_sex_and_dates_as_people_write_them_are_legal_in_the_manifest(source, field_cases):
    stored = await intake(source, field_cases.octets("61"))

    made = await published(source, stored.instance.study_instance_uid)

    assert made.manifest.PatientSex == "M"
    assert "PID-8|M" in made.entry.source_patient_info
    assert made.entry.service_start_time is not None


async def test_a_study_has_a_date_where_only_its_series_has_one(source, field_cases):
    stored = await intake(source, field_cases.octets("62"))

    made = await published(source, stored.instance.study_instance_uid)

    assert made.entry.service_start_time is not None


async def test_a_study_has_a_title_without_description(source, field_cases):
    stored = await intake(source, field_cases.octets("65"))

    made = await published(source, stored.instance.study_instance_uid)

    assert made.entry.title


async def test_a_wrong_vr_never_leaves_without_vrs(source, field_cases):
    stored = await intake(source, field_cases.octets("34"))
    path = f"/dicomweb/studies/{stored.instance.study_instance_uid}"
    wanted = 'multipart/related; type="application/dicom"; transfer-syntax={}'

    async with source.client() as client:
        implicit = await client.get(path, headers={"accept": wanted.format(IMPLICIT_LE)})
        explicit = await client.get(path, headers={"accept": wanted.format(EXPLICIT_LE)})

    assert implicit.status_code == 406
    assert stored.instance.path.read_bytes() in explicit.content


@pytest.mark.peer
@pytest.mark.skipif(DCMDUMP is None, reason="DCMTK is not installed")
@pytest.mark.parametrize("number", ["01", "03", "12", "20", "21", "35", "61"])
async def test_what_leaves_is_read_by_dcmtk(source, field_cases, tmp_path, number):
    stored = await intake(source, field_cases.octets(number))

    told = await asyncio.create_subprocess_exec(
        DCMDUMP, "-q", stored.instance.path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )

    assert await told.wait() == 0
    assert await shareable_instances(source.parts, stored.instance.study_instance_uid)
    assert json.loads(
        (await source.parts.instances.metadata([stored.instance.sop_instance_uid])).popitem()[1]
    )
