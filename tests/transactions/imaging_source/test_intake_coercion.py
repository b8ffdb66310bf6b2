"""Instances of other hospitals' patients, kept under who they are here (RAD TF, Import Reconciliation).

Nothing of what came is lost, and nobody is guessed.
"""

from __future__ import annotations

import json
from io import BytesIO
from types import SimpleNamespace
from typing import Any

import httpx2
import pydicom
import pytest
from pydicom.dataset import Dataset

from imaging_source.domain.intake import COERCION, Refused
from imaging_source.domain.patient_table import WrongTable
from imaging_source.maintenance.scrub import Finding, scrub
from imaging_source.store.adoption import adopt
from imaging_source.store.kept_files import of_study
from imaging_source.store.local_patients import LocalPatients
from shared.dicom.content import content_digest
from shared.dicom.part10 import scan
from shared.dicom.uids import EXPLICIT_LE, IMPLICIT_LE, RLE
from shared.imaging.description import Claim
from shared.imaging.instance import Issuer
from shared.imaging.local_identity import LocalIdentity
from tests.support.databases import database_place, postgres_url
from tests.support.dicom import a_ct, a_multi_frame, an_sr, part10
from tests.support.intake import a_transfer, an_intake, stow_app
from tests.unit.imaging_source.test_coercion import LOCAL

__all__ = ["database_place", "postgres_url"]

STUDY = "2.25.11"
ENTRY = {
    "foreign_id": "N-1",
    "foreign_issuer": "NORTH",
    "patient_id": LOCAL.patient_id,
    "issuer": LOCAL.issuer,
    "name": LOCAL.name,
    "birth_date": LOCAL.birth_date,
    "sex": LOCAL.sex,
}


@pytest.fixture
async def intake(tmp_path, database_place):
    table = tmp_path / "patients.json"
    table.write_text(json.dumps({"patients": [ENTRY]}))
    settings = {"local_patients": table, "unlisted_patients": "refuse", "own_patient_issuers": ["OURS"]}
    async with an_intake(tmp_path, database_place, **settings) as made:
        yield made


def foreign(make: Any = a_ct, **changes: Any) -> Dataset:
    return make(**{"PatientID": "N-1", "IssuerOfPatientID": "NORTH", **changes})


async def keep(intake, octets: bytes, came_by: Any = None):
    return await intake.store.store_part10(intake.spooled(octets), came_by or a_transfer(), Claim())


async def only(intake):
    [instance] = await intake.store.find_study(STUDY)
    return instance


def read(instance) -> Dataset:
    return pydicom.dcmread(instance.path)


@pytest.mark.parametrize("syntax", [EXPLICIT_LE, IMPLICIT_LE, RLE])
async def test_an_instance_is_kept_under_who_its_patient_is_here(intake, syntax):
    octets = part10(foreign(a_multi_frame), syntax)

    stored = await keep(intake, octets)

    assert (stored.status, stored.coerced, len(stored.warnings)) == (COERCION, True, 1)
    kept = read(await only(intake))
    assert (kept.PatientID, kept.IssuerOfPatientID, kept.PatientName) == ("L-77", "SOUTH", "Roe^Rick")
    [history] = kept.OriginalAttributesSequence
    assert (history.SourceOfPreviousValues, history.ReasonForTheAttributeModification) == ("NORTH", "COERCE")
    [old] = history.ModifiedAttributesSequence
    assert (old.PatientID, old.IssuerOfPatientID, old.AccessionNumber) == ("N-1", "NORTH", "A123")
    assert [item.PatientID for item in kept.OtherPatientIDsSequence] == ["N-1"]
    came = pydicom.dcmread(BytesIO(octets))
    assert kept.PixelData == came.PixelData
    assert kept.file_meta.TransferSyntaxUID == syntax
    assert (await only(intake)).patient_id == "L-77"


async def test_what_came_is_kept_to_the_byte_and_proved(intake):
    octets = part10(foreign())

    await keep(intake, octets)

    files = intake.store.files
    contents = [files.path(sha256) for sha256, _ in await of_study(intake.database, STUDY)]
    assert len(contents) == 2
    assert octets in [path.read_bytes() for path in contents]
    findings = [finding async for _, _, finding in scrub(intake.database, files, intake.trail)]
    assert findings == [Finding.WHOLE] * 2
    assert intake.incoming == []


@pytest.mark.parametrize("syntax", [EXPLICIT_LE, IMPLICIT_LE])
@pytest.mark.parametrize("renamed", [False, True])
async def test_what_comes_again_is_what_it_was_in_whatever_encoding(intake, syntax, renamed):
    first = await keep(intake, part10(foreign()))
    if renamed:
        intake.store._patients._table = {("N-1", "NORTH"): LocalIdentity(patient_id="L-78")}

    again = await keep(intake, part10(foreign(), syntax))

    assert (again.instance, again.new, again.coerced) == (first.instance, False, True)
    assert len(await of_study(intake.database, STUDY)) == 2
    assert intake.incoming == []


async def test_another_data_set_under_its_uid_is_told(intake):
    await keep(intake, part10(foreign()))

    with pytest.raises(Refused, match="another data set"):
        await keep(intake, part10(foreign(StudyDescription="Corrected")))

    assert len(await of_study(intake.database, STUDY)) == 2
    assert len(intake.kept) == 2
    assert intake.incoming == []


async def test_a_coerced_file_that_was_damaged_is_made_again_of_what_comes_again(intake):
    first = await keep(intake, part10(foreign()))
    digest = content_digest(scan(first.instance.path))
    first.instance.path.write_bytes(b"\0" * first.instance.size)

    again = await keep(intake, part10(foreign()))

    assert again.instance.sop_instance_uid == first.instance.sop_instance_uid
    assert content_digest(scan(again.instance.path)) == digest


async def test_a_sender_over_the_web_is_told_that_elements_were_coerced(intake):
    async with httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app=stow_app(intake)), base_url="http://127.0.0.1:8030"
    ) as client:
        answer = await client.post(
            "/dicomweb/studies", content=part10(foreign()), headers={"content-type": "application/dicom"}
        )

    assert answer.status_code == 202
    [stored] = answer.json()["00081199"]["Value"]
    assert stored["00081196"]["Value"] == [0xB000]


async def test_the_trail_says_what_was_done(intake):
    came_by = a_transfer()
    await keep(intake, part10(foreign()), came_by)
    await intake.store.conclude(came_by, intake.trail.record)

    [event] = intake.trail.events
    assert "identifiers of their patient here" in str(event)
    assert "N-1" not in str(event)


async def test_whoever_is_not_listed_is_never_guessed(intake):
    with pytest.raises(Refused, match="nobody said who this patient is here"):
        await keep(intake, part10(foreign(PatientID="N-2")))
    with pytest.raises(Refused):
        await keep(intake, part10(foreign(PatientID="N-1", IssuerOfPatientID="EAST")))

    own = await keep(intake, part10(foreign(PatientID="P1", IssuerOfPatientID="OURS")))
    unnamed = await keep(intake, part10(a_ct(SOPInstanceUID="2.25.131", StudyInstanceUID="2.25.21")))

    assert not own.coerced
    assert not unnamed.coerced
    assert len(intake.kept) == 2


async def test_documents_of_the_patient_are_coerced_alike(intake):
    await keep(intake, part10(foreign()))
    await keep(intake, part10(foreign(an_sr)))

    assert {one.patient_id for one in await intake.store.find_study(STUDY)} == {"L-77"}


async def test_what_a_crash_left_is_taken_back_once(intake, monkeypatch):
    monkeypatch.setattr(intake.store.files, "settled_seconds", -5.0)
    octets = part10(foreign())
    spooled = intake.spooled(octets)
    await intake.store.files.keep(spooled)
    intake.store.files.release(spooled)

    await adopt(intake.store, intake.trail.record, node="XDSI")

    assert (await only(intake)).patient_id == "L-77"
    assert len(await of_study(intake.database, STUDY)) == 2


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        '{"patients": {}}',
        '{"patients": [{"foreign_id": "N-1"}]}',
        '{"patients": [{"foreign_id": "", "patient_id": "L"}]}',
        '{"patients": [{"foreign_id": "N", "patient_id": 1}]}',
        '{"patients": [{"foreign_id": "N", "patient_id": "L", "colour": "red"}]}',
        '{"patients": [{"foreign_id": "N", "patient_id": "L\\\\L"}]}',
        '{"patients": [{"foreign_id": "N", "patient_id": "L", "birth_date": "1956"}]}',
        '{"patients": [{"foreign_id": "N", "patient_id": "L"}, {"foreign_id": "N", "patient_id": "M"}]}',
        "[" * 100_000,
    ],
)
def test_a_table_that_cannot_be_used_is_refused_and_names_no_patient(tmp_path, content):
    path = tmp_path / "patients.json"
    path.write_text(content)

    with pytest.raises(WrongTable) as caught:
        LocalPatients(path)

    assert "N-1" not in str(caught.value)


def test_a_table_that_is_spoiled_later_leaves_the_one_before(tmp_path):
    path = tmp_path / "patients.json"
    path.write_text(json.dumps({"patients": [ENTRY]}))
    patients = LocalPatients(path)
    patients._watch._look_seconds = 0.0
    path.write_text("spoiled")
    named = SimpleNamespace(patient_id="N-1", issuer_of_patient_id=Issuer("NORTH"))

    assert patients.identity_of(named) is not None
    path.write_text('{"patients": []}')
    assert patients.identity_of(named) is None
