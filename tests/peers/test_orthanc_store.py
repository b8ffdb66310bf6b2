"""Orthanc sends in: by C-STORE and by STOW-RS of its DICOMweb plugin, both from its own stored files."""

from __future__ import annotations

import json
from pathlib import Path

import httpx2
import pydicom
import pytest

from imaging_source.dimse.listener import DimseListener
from tests.support.dicom import real_files
from tests.support.http_server import serving
from tests.support.intake import an_intake, stow_app
from tests.support.made_studies import Studies, studies
from tests.support.orthanc import DICOMWEB, ORTHANC, orthanc

__all__ = ["studies"]


pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(not ORTHANC.exists(), reason="Orthanc is not installed"),
]


@pytest.fixture(params=["plain", "compressed"])
def folder(request: pytest.FixtureRequest, studies: Studies) -> Path:
    """A study."""
    return studies.study(studies.plain if request.param == "plain" else studies.jpeg)


async def give(client: httpx2.AsyncClient, folder: Path) -> list[str]:
    """Let Orthanc have a study; its own ids of the studies it has."""
    for path in real_files(folder):
        answer = await client.post("/instances", content=path.read_bytes())
        assert answer.status_code == 200, answer.text
    studies: list[str] = (await client.get("/studies")).json()
    return studies


async def assert_arrived(intake, folder: Path) -> None:
    files = real_files(folder)
    found = await intake.store.find_instances([path.stem for path in files])
    for path in files:
        arrived, sent = pydicom.dcmread(found[path.stem].path), pydicom.dcmread(path)
        assert arrived.PixelData == sent.PixelData if "PixelData" in sent else arrived == sent
        assert without_group_lengths(arrived) == without_group_lengths(sent)


def without_group_lengths(data_set: pydicom.Dataset) -> pydicom.Dataset:
    for element in [element for element in data_set if element.tag.element == 0]:
        del data_set[element.tag]
    return data_set


async def test_it_sends_a_study_by_c_store(tmp_path, folder):
    async with an_intake(tmp_path / "us") as intake:
        listener = DimseListener(intake.store, intake.trail, intake.settings, intake.unit)
        await listener.start()
        try:
            async with orthanc(tmp_path / "orthanc", dimse_port=listener.port) as client:
                assert (await client.post("/modalities/us/echo", content=b"{}")).status_code == 200
                studies = await give(client, folder)
                answer = await client.post("/modalities/us/store", content=json.dumps(studies))
                assert answer.json()["FailedInstancesCount"] == 0, answer.text
                await assert_arrived(intake, folder)
        finally:
            await listener.stop()

    assert {event.participants[0].user_id for event in intake.trail.events} == {"ORTHANC"}


@pytest.mark.skipif(not DICOMWEB.exists(), reason="Orthanc's DICOMweb plugin is not installed")
async def test_it_sends_a_study_by_stow_rs_byte_for_byte(tmp_path, folder):
    async with an_intake(tmp_path / "us") as intake:
        app = stow_app(intake)
        async with (
            serving(app) as server,
            orthanc(tmp_path / "orthanc", dicomweb_url=f"http://127.0.0.1:{server.port}/dicomweb/") as client,
        ):
            studies = await give(client, folder)
            request = {"Resources": studies, "Synchronous": True}
            answer = await client.post("/dicom-web/servers/us/stow", content=json.dumps(request))

            assert answer.status_code == 200, answer.text
        found = await intake.store.find_instances([path.stem for path in real_files(folder)])
        for path in real_files(folder):
            assert found[path.stem].path.read_bytes() == path.read_bytes(), path.stem
    assert {event.event_types[0].code for event in intake.trail.events} == {"RAD-108"}
