"""`xdsi take-over` in a community: into Orthanc by C-STORE and STOW-RS, onto media, after a kill too."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pydicom
import pytest

from shared.ebrim.identifiers import CX
from tests.peers.test_consumer_service import a_study, prepared
from tests.support.community import RADIOLOGIST, StudyFiles, consumer_for, cx, running, trail_until
from tests.support.forked import run
from tests.support.orthanc import DICOMWEB, ORTHANC, orthanc
from tests.support.pix_manager import SYSTEM, pix_manager
from tests.support.waiting import until
from xdsi.stage import Stage, free_ports

pytestmark = [pytest.mark.heavy, pytest.mark.peer]

PATIENT = "TAKEN-1"
LOCAL = ("--local-id", "L-77", "--local-issuer", "SOUTH", "--local-name", "Roe^Rick")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> StudyFiles:
    return a_study(tmp_path_factory.mktemp("study"), PATIENT, InstitutionName="Hospital North")


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory, study: StudyFiles) -> Iterator[Stage]:
    with running(tmp_path_factory.mktemp("community")) as stage:
        asyncio.run(prepared(stage, {PATIENT: study}, PATIENT))
        yield stage


@pytest.fixture(scope="module")
def manifest_id(stage: Stage) -> str:
    async def find() -> str:
        async with consumer_for(stage) as consumer:
            [entry] = await consumer.find(cx(PATIENT))
            return entry.unique_id

    return asyncio.run(find())


class Desk:
    """The command line of Hospital South, with a queue of its own."""

    def __init__(self, stage: Stage, data: Path) -> None:
        names = {name: value for name, value in os.environ.items() if not name.startswith("XDSI_")}
        self.environment = names | {"XDSI_DATA": str(data)}
        self.config = stage.folder / "south.toml"
        self.user = ["--user", RADIOLOGIST.name_id, "--role", str(RADIOLOGIST.roles[0])]
        self.user += ["--organization", RADIOLOGIST.organization_ids[0]]

    def words(self, *words: str, user: bool = True) -> list[str]:
        for_user = self.user if user else []
        return ["take-over", *words, *for_user, "--config", str(self.config)]

    def run(self, *words: str, user: bool = True) -> tuple[int, Any, str]:
        """Exit status, what was printed as JSON, and what was said beside."""
        ended = run(*self.words(*words, user=user), "--json", env=self.environment)
        return ended.returncode, json.loads(ended.stdout) if ended.stdout else None, ended.stderr


@pytest.fixture
def desk(stage: Stage, tmp_path: Path) -> Desk:
    return Desk(stage, tmp_path / "data")


def is_local(image: pydicom.Dataset, path: Path) -> None:
    """It is the instance of `path` under local identifiers, with the same pixels."""
    before = pydicom.dcmread(path)
    assert (image.PatientID, image.IssuerOfPatientID) == ("L-77", "SOUTH")
    assert image.PatientName == "Roe^Rick"
    assert image.PixelData == before.PixelData
    assert image.StudyInstanceUID == before.StudyInstanceUID
    [item] = image.OriginalAttributesSequence
    assert item.SourceOfPreviousValues == "Hospital North"
    assert item.ModifiedAttributesSequence[0].PatientID == PATIENT


@pytest.mark.skipif(not ORTHANC.exists() or not DICOMWEB.exists(), reason="Orthanc is not here")
@pytest.mark.parametrize("way", ["C-STORE", "STOW-RS"])
async def test_a_study_is_in_the_archive_under_local_identifiers(
    desk: Desk, stage: Stage, study: StudyFiles, manifest_id: str, tmp_path: Path, way: str
):
    http, dicom = free_ports(2)
    to = f"dicom://ORTHANC@127.0.0.1:{dicom}" if way == "C-STORE" else f"http://127.0.0.1:{http}/dicom-web"
    async with orthanc(tmp_path / "orthanc", ports=(http, dicom)) as client:
        status, told, said = await asyncio.to_thread(desk.run, "add", manifest_id, "--to", to, *LOCAL)
        archived = [
            (await client.get(f"/instances/{one}/file")).content
            for one in (await client.get("/instances")).json()
        ]
        again, _, _ = await asyncio.to_thread(desk.run, "add", manifest_id, "--to", to, *LOCAL)

    assert (status, again) == (0, 0), said
    assert (told["state"], told["there"], told["total"]) == ("done", len(study.files), len(study.files))
    images = {}
    for octets in archived:
        (tmp_path / "one.dcm").write_bytes(octets)
        image = pydicom.dcmread(tmp_path / "one.dcm")
        images[image.SOPInstanceUID] = image
    assert images.keys() == study.files.keys()
    for uid, path in study.files.items():
        is_local(images[uid], path)
    assert not list((tmp_path / "data" / "take-overs").rglob("*.dcm"))
    records = await trail_until(stage, lambda all_: _imports(all_) != [], patient=cx(PATIENT))
    assert _imports(records)


def _imports(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [one for one in records if "110107" in json.dumps(one) and "RAD-" in json.dumps(one)]


@pytest.mark.parametrize("name", ["disc", "disc.zip"])
def test_media_have_a_directory_that_others_read(
    desk: Desk, study: StudyFiles, manifest_id: str, tmp_path: Path, name: str
):
    status, told, said = desk.run("add", manifest_id, "--to", str(tmp_path / name), *LOCAL)

    assert (status, told["there"]) == (0, len(study.files)), said
    folder = tmp_path / name
    if name.endswith(".zip"):
        with ZipFile(folder) as archive:
            folder = tmp_path / "unpacked"
            archive.extractall(folder)
    records = pydicom.dcmread(folder / "DICOMDIR").DirectoryRecordSequence
    paths = [folder.joinpath(*one.ReferencedFileID) for one in records if one.DirectoryRecordType == "IMAGE"]
    images = {one.SOPInstanceUID: one for one in map(pydicom.dcmread, paths)}
    assert images.keys() == study.files.keys()
    for uid, image in images.items():
        is_local(image, study.files[uid])


def test_a_zip_that_was_incomplete_holds_everything_when_it_is_tried_again(
    desk: Desk, study: StudyFiles, manifest_id: str, tmp_path: Path
):
    """A ZIP takes the place of the one before: it is not of what was missing alone."""
    _, told, _ = desk.run("add", manifest_id, "--to", str(tmp_path / "disc.zip"))
    [outcomes] = (tmp_path / "data").rglob("outcomes.jsonl")
    with outcomes.open("a") as lines:
        lines.write(json.dumps({"uid": next(iter(study.files)), "reason": "it did not come"}) + "\n")

    status, done, said = desk.run("retry", told["number"])

    assert (status, done["there"]) == (0, len(study.files)), said
    with ZipFile(tmp_path / "disc.zip") as archive:
        images = [name for name in archive.namelist() if name != "DICOMDIR"]
    assert len(images) == len(study.files)


def test_an_archive_that_is_away_is_told_and_the_same_order_goes_on(
    desk: Desk, study: StudyFiles, manifest_id: str, tmp_path: Path
):
    (port,) = free_ports(1)
    status, told, _ = desk.run("add", manifest_id, "--to", f"dicom://PACS@127.0.0.1:{port}", *LOCAL)

    assert (status, told["state"], told["there"]) == (1, "incomplete", 0)
    assert "does not answer" in told["ended"]
    _, [listed], _ = desk.run("list", user=False)
    assert (listed["number"], listed["state"]) == (told["number"], "incomplete")

    async def with_archive() -> tuple[int, Any, str]:
        async with orthanc(tmp_path / "orthanc", ports=(free_ports(1)[0], port)):
            return await asyncio.to_thread(desk.run, "retry", told["number"])

    if not ORTHANC.exists():
        pytest.skip("Orthanc is not here")
    # Orthanc takes any called AE title.
    status, done, said = asyncio.run(with_archive())
    assert (status, done["state"], done["there"]) == (0, "done", len(study.files)), said


def test_whoever_may_not_see_a_study_takes_nothing_over(desk: Desk, manifest_id: str, tmp_path: Path):
    desk.user = ["--user", "clerk.south", "--role", "BILLING^^2.999.40.1"]

    status, told, said = desk.run("add", manifest_id, "--to", str(tmp_path / "disc"), *LOCAL)

    assert (status, told) == (1, None)
    assert "no document" in said
    assert not (tmp_path / "disc").exists()


def test_without_local_identifiers_no_archive_is_asked(desk: Desk, manifest_id: str):
    status, told, said = desk.run("add", manifest_id, "--to", "dicom://PACS@127.0.0.1:1")

    assert (status, told) == (2, None)
    assert "--local-id is needed" in said


@pytest.mark.skipif(not ORTHANC.exists(), reason="Orthanc is not here")
async def test_an_order_that_was_killed_goes_on_and_nothing_is_there_twice(
    desk: Desk, study: StudyFiles, manifest_id: str, tmp_path: Path
):
    http, dicom = free_ports(2)
    words = ("add", manifest_id, "--to", f"dicom://ORTHANC@127.0.0.1:{dicom}", *LOCAL)
    async with orthanc(tmp_path / "orthanc", ports=(http, dicom)) as client:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "xdsi", *desk.words(*words)),
            env=desk.environment,
            stderr=asyncio.subprocess.DEVNULL,
        )
        journals = tmp_path / "data" / "take-overs"
        # As soon as one instance is noted, or all were.
        await until(lambda: process.returncode is not None or _noted(journals), seconds=60)
        if process.returncode is None:
            process.kill()
        await process.wait()
        status, told, said = await asyncio.to_thread(desk.run, *words)
        archived = (await client.get("/instances")).json()

    assert (status, told["state"]) == (0, "done"), said
    assert len(archived) == len(study.files)


def _noted(journals: Path) -> bool:
    return any(b'"uid"' in path.read_bytes() for path in journals.glob("*/outcomes.jsonl"))


@pytest.mark.skipif(not ORTHANC.exists() or not DICOMWEB.exists(), reason="Orthanc is not here")
async def test_the_only_id_that_the_pix_manager_knows_is_taken_and_among_several_none(
    desk: Desk, manifest_id: str, tmp_path: Path
):
    source = f"urn:oid:{CX.parse(cx(PATIENT)).authority}|{PATIENT}"
    http, dicom = free_ports(2)
    add = ("add", manifest_id, "--to", f"dicom://ORTHANC@127.0.0.1:{dicom}")
    with pix_manager() as manager:
        desk.environment |= {
            "XDSI_CONSUMER__PIX_URL": manager.url,
            "XDSI_CONSUMER__PIX_DOMAIN": SYSTEM.removeprefix("urn:oid:"),
        }
        unknown = await asyncio.to_thread(desk.run, *add)
        manager.known[source] = [(SYSTEM, "L-77"), (SYSTEM, "L-78")]
        several = await asyncio.to_thread(desk.run, *add)
        ordered = await asyncio.to_thread(desk.run, "list", user=False)
        manager.known[source] = [(SYSTEM, "L-77")]
        async with orthanc(tmp_path / "orthanc", ports=(http, dicom)) as client:
            status, taken_over, told = await asyncio.to_thread(desk.run, *add)
            patients = [
                (await client.get(f"/patients/{one}")).json()["MainDicomTags"]["PatientID"]
                for one in (await client.get("/patients")).json()
            ]

    assert (unknown[0], several[0], ordered[1]) == (1, 1, [])
    assert "knows no id" in unknown[2]
    assert "L-77, L-78" in several[2]
    assert status == 0, told
    assert "as patient L-77" in told
    assert taken_over["there"] == taken_over["total"]
    assert patients == ["L-77"]
