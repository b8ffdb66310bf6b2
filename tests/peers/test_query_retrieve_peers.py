"""DCMTK and Orthanc query us and have instances sent: findscu, movescu, getscu; dcmqrscp and Orthanc as
destinations."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pydicom
import pytest

from shared.dicom.uids import JPEG_LS_LOSSLESS
from tests.support.databases import DatabasePlace
from tests.support.dicom import a_ct, a_multi_frame
from tests.support.dimse import run
from tests.support.imaging_source import Source, close_source, open_source
from tests.support.orthanc import ORTHANC, orthanc
from tests.support.waiting import until
from xdsi.stage import free_ports

FINDSCU, MOVESCU, GETSCU, DCMQRSCP = (
    Path("/usr/bin") / name for name in ("findscu", "movescu", "getscu", "dcmqrscp")
)

pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(not FINDSCU.exists(), reason="DCMTK is not installed"),
]

STUDY = ("-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID=2.25.11")


@asynccontextmanager
async def serving(tmp_path: Path, *, title: str = "PEER", port: int = 1) -> AsyncIterator[tuple[Source, int]]:
    """A source with a study of three images, which knows one peer that may do all."""
    place = DatabasePlace(url=None, folder=tmp_path / "database", name="imaging_source")
    peer = {"host": "127.0.0.1", "port": port, "services": ["store", "find", "move", "get"]}
    table = {title: {**peer, "destinations": [title]}}
    source = await open_source(place, tmp_path / "data", application_entities=table)
    await source.service.dimse.start()
    try:
        await source.keep(a_ct(), a_ct(SOPInstanceUID="2.25.131", InstanceNumber=2))
        await source.keep(a_multi_frame(SOPInstanceUID="2.25.132"), syntax=JPEG_LS_LOSSLESS)
        yield source, source.service.dimse.port
    finally:
        await source.service.dimse.stop()
        await close_source(source)


async def test_findscu_reads_our_matches(tmp_path):
    async with serving(tmp_path) as (_, port):
        status, output = await run(
            *(FINDSCU, "-v", "-S", "-aet", "PEER", "-aec", "XDSI", "127.0.0.1", port),
            *("-k", "QueryRetrieveLevel=STUDY", "-k", "PatientID=P?", "-k", "PatientName"),
            *("-k", "NumberOfStudyRelatedInstances", "-k", "StudyInstanceUID"),
        )

    assert status == 0, output
    assert "2.25.11" in output
    assert "(0020,1208) IS [3" in output
    assert "Success" in output


async def test_getscu_takes_what_it_negotiates(tmp_path):
    folder = tmp_path / "fetched"
    folder.mkdir()
    async with serving(tmp_path) as (_, port):
        status, output = await run(
            *(GETSCU, "-v", "-S", "-aet", "PEER", "-aec", "XDSI", "-od", folder, *STUDY, "127.0.0.1", port)
        )

    assert status == 0, output
    files = [pydicom.dcmread(path) for path in folder.iterdir()]
    assert sorted(one.SOPInstanceUID for one in files) == ["2.25.13", "2.25.131", "2.25.132"]
    of_frames = next(one for one in files if one.SOPInstanceUID == "2.25.132")
    assert of_frames.PixelData == a_multi_frame().PixelData


async def test_movescu_receives_at_its_own_listener(tmp_path):
    folder = tmp_path / "moved"
    folder.mkdir()
    [listening] = free_ports(1)
    async with serving(tmp_path, port=listening) as (_, port):
        status, output = await run(
            *(MOVESCU, "-v", "-S", "-aet", "PEER", "-aec", "XDSI", "-aem", "PEER", "--port", listening),
            *("-od", folder, *STUDY, "127.0.0.1", port),
        )

    assert status == 0, output
    assert len(list(folder.iterdir())) == 3


@pytest.mark.skipif(not DCMQRSCP.exists(), reason="dcmqrscp is not installed")
async def test_an_archive_of_dcmtk_is_a_destination(tmp_path):
    [listening] = free_ports(1)
    storage = tmp_path / "archive"
    storage.mkdir()
    configuration = tmp_path / "dcmqrscp.cfg"
    configuration.write_text(
        f"NetworkTCPPort = {listening}\nMaxPDUSize = 16384\nMaxAssociations = 8\n"
        "HostTable BEGIN\nHostTable END\nVendorTable BEGIN\nVendorTable END\n"
        f"AETable BEGIN\nARCHIVE {storage} RW (9, 1024mb) ANY\nAETable END\n"
    )
    process = await asyncio.create_subprocess_exec(
        *(str(DCMQRSCP), "-c", str(configuration), str(listening)),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        await until(lambda: _listens(listening))
        async with serving(tmp_path, title="ARCHIVE", port=listening) as (_, port):
            status, output = await run(
                *(MOVESCU, "-v", "-S", "-aet", "ARCHIVE", "-aec", "XDSI", "-aem", "ARCHIVE"),
                *(*STUDY, "127.0.0.1", port),
            )
    finally:
        process.terminate()
        await process.wait()

    assert status == 0, output
    stored = [pydicom.dcmread(path) for path in storage.iterdir() if path.name != "index.dat"]
    assert sorted(one.SOPInstanceUID for one in stored) == ["2.25.13", "2.25.131", "2.25.132"]


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=0.2).close()
    except OSError:
        return False
    return True


@pytest.mark.skipif(not ORTHANC.exists(), reason="Orthanc is not installed")
async def test_orthanc_finds_a_study_here_and_has_it_moved_to_itself(tmp_path):
    http_port, dicom_port = free_ports(2)
    async with (
        serving(tmp_path, title="ORTHANC", port=dicom_port) as (_, port),
        orthanc(tmp_path / "orthanc", dimse_port=port, ports=(http_port, dicom_port)) as client,
    ):
        query = {"Level": "Study", "Query": {"PatientID": "P1", "StudyInstanceUID": "", "PatientName": ""}}
        made = (await client.post("/modalities/us/query", content=json.dumps(query))).json()
        answers = (await client.get(f"{made['Path']}/answers?expand")).json()
        retrieved = await client.post(f"{made['Path']}/answers/0/retrieve", content="ORTHANC")
        instances = (await client.get("/instances?expand")).json()

    [answer] = answers
    assert answer["0020,000d"]["Value"] == "2.25.11"
    assert retrieved.status_code == 200, retrieved.text
    assert sorted(one["MainDicomTags"]["SOPInstanceUID"] for one in instances) == [
        "2.25.13",
        "2.25.131",
        "2.25.132",
    ]
