"""Manifests before programs of other makers: dicom3tools, DCMTK, highdicom, Orthanc (imaging dossier 3.5)."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from imaging_source.domain.coding import Issuers
from imaging_source.domain.instance import RequestReference
from imaging_source.domain.manifest import build, encode
from imaging_source.store.publications import publication
from imaging_source.transactions import rad68
from shared.ebrim.model import Code
from shared.imaging.instance import Issuer
from tests.support.databases import DatabasePlace
from tests.support.imaging_source import close_source, open_source
from tests.support.made_studies import Studies, studies
from tests.support.studies import (
    GRAYSCALE_PRESENTATION_STATE,
    IDENTITY,
    PLACE,
    STUDY,
    TWELVE_LEAD_ECG,
    a_study_header,
    an_instance,
)
from xdsi.stage import free_ports

__all__ = ["studies"]


pytestmark = pytest.mark.peer

DCIODVFY = shutil.which("dciodvfy")
DSRDUMP = shutil.which("dsrdump")
ORTHANC = shutil.which("Orthanc")

_DOCUMENTS = select(publication.c.study_instance_uid, publication.c.document)


def rich_manifest() -> bytes:
    """A manifest with everything that one can have, of no real study."""
    procedure = Code("RPID16", "RADLEX", "CT CHEST")
    header = a_study_header(
        patient_name="Yamada^Tarou=山田^太郎",
        study_time="093000",
        issuer_of_patient_id=Issuer("HOSP", "1.2.8", "ISO"),
        other_patient_ids=(("X1", Issuer("OTHER", "1.2.9", "ISO")),),
        procedure_codes=(procedure,),
        requests=(
            RequestReference(
                study_instance_uid=STUDY,
                accession_number="A123",
                placer_order_number="O1",
                filler_order_number="F1",
                requested_procedure_id="RP1",
                requested_procedure_description="CT chest",
                requested_procedure_codes=(procedure,),
            ),
        ),
    )
    instances = [
        an_instance(),
        an_instance(
            sop_instance_uid="2.25.503", sop_class_uid=TWELVE_LEAD_ECG, series_instance_uid="2.25.510"
        ),
        an_instance(
            sop_instance_uid="2.25.504",
            sop_class_uid=GRAYSCALE_PRESENTATION_STATE,
            series_instance_uid="2.25.511",
        ),
    ]
    issuers = Issuers(
        patient_id="1.2.3.9",
        accession_number="1.2.3.5",
        placer_order_number="1.2.3.6",
        filler_order_number="1.2.3.7",
    )
    return encode(build(header, instances, identity=IDENTITY, place=PLACE, issuers=issuers))


async def _published(folder: Path, studies: Studies) -> dict[str, bytes]:
    place = DatabasePlace(url=None, folder=folder / "database", name="imaging_source")
    opened = await open_source(place, folder / "data")
    try:
        await opened.keep(*studies.files)
        for study in studies.uids:
            await rad68.publish(opened.parts, study)
        rows = await opened.parts.database.fetch(_DOCUMENTS)
        return {study: bytes(document) for study, document in rows}
    finally:
        await close_source(opened)


@pytest.fixture(scope="module")
def manifests(tmp_path_factory: pytest.TempPathFactory, studies: Studies) -> dict[str, Path]:
    """A manifest of every study, and the rich one, as files by study."""
    folder = tmp_path_factory.mktemp("manifests")
    octets = {"rich": rich_manifest(), **asyncio.run(_published(folder, studies))}
    paths = {}
    for name, document in octets.items():
        paths[name] = folder / f"{name}.dcm"
        paths[name].write_bytes(document)
    return paths


@pytest.mark.skipif(DCIODVFY is None, reason="dicom3tools is not installed")
def test_dciodvfy_finds_no_error_in_any_manifest(manifests):
    for study, path in manifests.items():
        checked = subprocess.run([str(DCIODVFY), path], capture_output=True, text=True, check=False)
        said = checked.stdout + checked.stderr
        assert "KeyObjectSelectionDocument" in said, study
        assert [line for line in said.splitlines() if line.startswith("Error")] == [], study


@pytest.mark.skipif(DSRDUMP is None, reason="DCMTK is not installed")
def test_dsrdump_reads_every_manifest(manifests):
    for study, path in manifests.items():
        dumped = subprocess.run([str(DSRDUMP), path], capture_output=True, text=True, check=False)
        assert dumped.returncode == 0, (study, dumped.stderr)
        assert "Key Object Selection Document" in dumped.stdout
        assert "E:" not in dumped.stderr


def test_highdicom_reads_every_manifest(manifests):
    from highdicom.ko import KeyObjectSelectionDocument
    from pydicom import dcmread

    # Of the rich one it reads all but the reference to a waveform, a content item that it has no class for.
    for path in [path for study, path in manifests.items() if study != "rich"]:
        document = KeyObjectSelectionDocument.from_dataset(dcmread(path))
        (evidence,) = document.CurrentRequestedProcedureEvidenceSequence
        named = [
            sop.ReferencedSOPInstanceUID
            for series in evidence.ReferencedSeriesSequence
            for sop in series.ReferencedSOPSequence
        ]
        assert document.content.get_references()
        for uid in named:
            study, _, found = document.resolve_reference(uid)
            assert (study, found) == (evidence.StudyInstanceUID, uid)


@pytest.fixture
def orthanc(tmp_path: Path) -> Iterator[str]:
    """An Orthanc of its own, on a free port of loopback."""
    [port] = free_ports(1)
    configuration = {
        "Name": "peer",
        "HttpPort": port,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomServerEnabled": False,
        "StorageDirectory": str(tmp_path / "storage"),
        "IndexDirectory": str(tmp_path / "index"),
        "Plugins": [],
    }
    (tmp_path / "orthanc.json").write_text(json.dumps(configuration))
    with (tmp_path / "orthanc.log").open("wb") as log:
        process = subprocess.Popen([str(ORTHANC), tmp_path / "orthanc.json"], stdout=log, stderr=log)
    try:
        _await(f"http://127.0.0.1:{port}/system", process)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=20)


def _await(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError("Orthanc did not start")


@pytest.mark.skipif(ORTHANC is None, reason="Orthanc is not installed")
def test_orthanc_accepts_every_manifest_and_gives_it_back(manifests, orthanc):
    for path in manifests.values():
        sent = urllib.request.Request(f"{orthanc}/instances", data=path.read_bytes(), method="POST")
        with urllib.request.urlopen(sent, timeout=20) as response:
            stored = json.load(response)
        assert stored["Status"] == "Success"
        with urllib.request.urlopen(f"{orthanc}/instances/{stored['ID']}/file", timeout=20) as response:
            assert response.read() == path.read_bytes()
