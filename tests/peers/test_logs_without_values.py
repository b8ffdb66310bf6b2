"""Odd and hostile values on every way in and out: none of them stands in a log of a service, or in what a
command says beside its answer."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pynetdicom import AE
from pynetdicom.sop_class import CTImageStorage

from shared.dicom.multipart import closing, content_type, new_boundary, part_head
from shared.dicom.uids import EXPLICIT_LE, IMPLICIT_LE, RLE
from tests.support.community import (
    c_store,
    consumer_for,
    cx,
    http_of,
    make_known,
    publish,
    running,
    settings_of,
)
from tests.support.dicom import a_ct, part10
from tests.support.forked import run
from xdsi.services import Service
from xdsi.stage import Stage

pytestmark = [pytest.mark.heavy]

CANARY = "Kanarienvogel"
STUDY = "2.25.990011"
PATIENT = "P990011"

#: What pydicom and pynetdicom warn about, in their texts or by quoting the value.
ODD = {
    "a name of too many groups": ("PatientName", "PN", f"{CANARY}=A=B=C=D"),
    "a name that is too long": ("PatientName", "PN", f"{CANARY}^" + "x" * 80),
    "no date": ("PatientBirthDate", "DA", CANARY),
    "two dates": ("StudyDate", "DA", f"20260101\\{CANARY}"),
    "no time": ("StudyTime", "TM", CANARY),
    "no number": ("SeriesNumber", "IS", CANARY),
    "no decimal": ("SliceThickness", "DS", CANARY),
    "a code in small letters": ("PatientSex", "CS", f"{CANARY} {CANARY}"),
    "an identifier that is none": ("FrameOfReferenceUID", "UI", f"1.2.{CANARY}"),
    "an accession number that is too long": ("AccessionNumber", "SH", CANARY * 3),
    "an age that is none": ("PatientAge", "AS", CANARY),
    "an unknown character set": ("SpecificCharacterSet", "CS", CANARY),
    "a title of a node that is too long": ("RetrieveAETitle", "AE", CANARY * 2),
    "a patient id that is too long": ("OtherPatientNames", "PN", CANARY * 20),
}


def an_odd_one(number: int, keyword: str, vr: str, value: str, syntax: str) -> Dataset:
    odd = a_ct(
        StudyInstanceUID=STUDY,
        SeriesInstanceUID=f"{STUDY}.1",
        SOPInstanceUID=f"{STUDY}.1.{number}",
        PatientID=PATIENT,
        PatientName=f"{CANARY}^Otto",
    )
    octets = value.encode() + b" " * (len(value) % 2)
    # Raw, so that nothing on the way into the file minds.
    tag = Tag(keyword)
    odd[tag] = RawDataElement(tag, vr, len(octets), octets, 0, syntax == IMPLICIT_LE, True)
    return odd


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("odd")
    for number, what in enumerate(ODD, 1):
        for syntax in (EXPLICIT_LE, IMPLICIT_LE):
            odd = an_odd_one(number * 2 + (syntax == IMPLICIT_LE), *ODD[what], syntax)
            (folder / f"{odd.SOPInstanceUID}.dcm").write_bytes(part10(odd, syntax))
    return sorted(folder.glob("*.dcm"))


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with running(tmp_path_factory.mktemp("community"), tls=False) as stage:
        asyncio.run(make_known(stage, PATIENT))
        yield stage


def logs(stage: Stage) -> str:
    return "".join(path.read_text("utf-8", "replace") for path in stage.folder.rglob("*.log"))


def said(stage: Stage, *words: object) -> str:
    """What a command says, whatever it ends with."""
    ran = run(*words, "--config", stage.folder / "north.toml")
    return ran.stdout + ran.stderr


def test_a_c_store_of_odd_values_leaves_none_in_the_logs(stage: Stage, files: list[Path]):
    statuses = c_store(stage, files)

    assert len(statuses) == len(files)
    assert CANARY not in logs(stage)


def test_an_association_of_odd_names_and_uids_leaves_none_in_the_logs(stage: Stage, tmp_path: Path):
    odd = a_ct(StudyInstanceUID=STUDY)
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID", "SOPClassUID"):
        tag, octets = Tag(keyword), f"1.2.{CANARY}".encode() + b"\0"
        odd[tag] = RawDataElement(tag, "UI", len(octets), octets, 0, False, True)
    (tmp_path / "odd.dcm").write_bytes(part10(odd))
    entity = AE(CANARY.upper())
    entity.add_requested_context(f"1.2.{CANARY}")
    entity.add_requested_context(CTImageStorage)
    association = entity.associate("127.0.0.1", stage.ports["dimse"], ae_title=f"NOT{CANARY[:13]}")
    if association.is_established:
        association.release()
    statuses = c_store(stage, [tmp_path / "odd.dcm"])

    assert 0 not in statuses.values()
    assert CANARY.lower() not in logs(stage).lower()


async def test_a_stow_of_odd_values_leaves_none_in_the_logs(stage: Stage, files: list[Path]):
    boundary = new_boundary()
    head = part_head(boundary, [("Content-Type", "application/dicom")])
    body = b"".join(head + path.read_bytes() for path in files) + closing(boundary)
    url = settings_of(stage, Service.IMAGING_SOURCE).dicomweb_url
    async with http_of(stage) as http:
        answer = await http.post(
            f"{url}/studies", content=body, headers={"content-type": content_type(boundary)}
        )

    assert answer.status_code in (200, 202, 409)
    assert CANARY not in logs(stage)


def test_import_and_publish_say_none_and_leave_none(stage: Stage, files: list[Path]):
    imported = said(stage, "import", files[0].parent)
    published = said(stage, "publish", STUDY)

    assert STUDY in imported
    assert STUDY in published
    assert CANARY not in imported + published
    assert CANARY not in logs(stage)


@pytest.mark.parametrize("syntax", [EXPLICIT_LE, RLE])
async def test_what_came_so_is_given_in_any_syntax_without_a_trace(stage: Stage, syntax: str):
    url = settings_of(stage, Service.IMAGING_SOURCE).dicomweb_url
    accept = f'multipart/related; type="application/dicom"; transfer-syntax={syntax}'
    async with http_of(stage) as http:
        given = await http.get(f"{url}/studies/{STUDY}", headers={"accept": accept})
        described = await http.get(f"{url}/studies/{STUDY}/metadata")

    assert given.status_code in (200, 206)
    assert described.status_code == 200
    assert CANARY not in logs(stage)


async def test_a_manifest_of_odd_values_is_found_and_read_without_a_trace(stage: Stage):
    await publish(stage, STUDY)
    async with consumer_for(stage, None) as consumer:
        (entry,) = await consumer.find(cx(PATIENT))
        manifest = await consumer.manifest(entry)
        retrieved = await consumer.retrieve(manifest, stage.folder / "fetched", patient_id=entry.patient_id)

    assert retrieved.instances
    assert CANARY not in logs(stage)
