"""A source that fronts an archive of DCMTK, dcmqrscp, which knows C-FIND, C-GET and C-MOVE and no web."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
import pytest_asyncio
from PIL import Image

from imaging_source.store.archived_instances import ArchivedInstances
from tests.support.databases import DatabasePlace
from tests.support.dicom import a_ct, a_multi_frame, part10
from tests.support.dimse import Receiver, run
from tests.support.imaging_source import Source, close_source, open_source
from tests.support.waiting import until
from xdsi.stage import free_ports

DCMQRSCP, STORESCU = Path("/usr/bin/dcmqrscp"), Path("/usr/bin/storescu")
FINDSCU, MOVESCU = Path("/usr/bin/findscu"), Path("/usr/bin/movescu")

pytestmark = [
    pytest.mark.peer,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(not DCMQRSCP.exists(), reason="dcmqrscp is not installed"),
]

STUDY = "2.25.11"
IMAGES = {
    "2.25.13": part10(a_ct()),
    "2.25.14": part10(a_ct(SOPInstanceUID="2.25.14", InstanceNumber=2)),
    "2.25.16": part10(a_multi_frame(SeriesInstanceUID="2.25.15", SOPInstanceUID="2.25.16")),
}


def _listens(port: int) -> bool:
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) == 0


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sink() -> AsyncIterator[Receiver]:
    async with Receiver(title="SINK").listening() as receiver:
        yield receiver


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["get", "move"])
async def front(request, tmp_path_factory, sink) -> AsyncIterator[Source]:
    folder = tmp_path_factory.mktemp("dcmtk")
    port, own_port = free_ports(2)
    (folder / "archive").mkdir()
    (folder / "dcmqrscp.cfg").write_text(
        f"NetworkTCPPort = {port}\nMaxPDUSize = 16384\nMaxAssociations = 8\n"
        f"HostTable BEGIN\nus = (XDSI, localhost, {own_port})\nHostTable END\n"
        "VendorTable BEGIN\nVendorTable END\n"
        f"AETable BEGIN\nARCHIVE {folder / 'archive'} RW (9, 1024mb) ANY\nAETable END\n"
    )
    process = await asyncio.create_subprocess_exec(
        *(str(DCMQRSCP), "-c", str(folder / "dcmqrscp.cfg"), str(port)),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        await until(lambda: _listens(port))
        for uid, octets in IMAGES.items():
            (folder / f"{uid}.dcm").write_bytes(octets)
            status, output = await run(
                *(STORESCU, "-v", "-aec", "ARCHIVE", "127.0.0.1", port, folder / f"{uid}.dcm")
            )
            assert status == 0, output
        place = DatabasePlace(url=None, folder=folder / "database", name="imaging_source")
        entity = {"host": "127.0.0.1", "port": port, "services": ["store"]}
        source = await open_source(
            place,
            folder / "data",
            dimse_port=own_port,
            archive_check_seconds=0,
            archives={"dcmtk": {"ae_title": "ARCHIVE", "retrieve": request.param}},
            application_entities={
                "ARCHIVE": entity,
                "BENCH": {"services": ["find", "move"], "destinations": ["SINK"]},
                "SINK": {"host": "127.0.0.1", "port": sink.port},
            },
        )
        await source.service.dimse.start()
        yield source
        await source.service.dimse.stop()
        await close_source(source)
    finally:
        process.terminate()
        await process.wait()


async def get(front: Source, path: str, accept: str = "application/dicom+json"):
    async with front.client() as client:
        return await client.get(f"/dicomweb{path}", headers={"accept": accept})


async def test_it_is_found_and_described(front):
    found = (await get(front, "/studies?PatientID=P1")).json()
    metadata = (await get(front, f"/studies/{STUDY}/metadata")).json()

    assert [one["0020000D"]["Value"] for one in found] == [[STUDY]]
    assert {one["00080018"]["Value"][0] for one in metadata} == set(IMAGES)


async def test_every_image_comes_again_when_its_copy_is_gone(front):
    store = front.parts.instances
    assert isinstance(store, ArchivedInstances)
    await get(front, f"/studies/{STUDY}/metadata")
    for one in await store.find_study(STUDY):
        await store.copies.forget(one.sha256)

    response = await get(
        front, f"/studies/{STUDY}", 'multipart/related; type="application/dicom"; transfer-syntax=*'
    )
    assert response.status_code == 200
    assert response.content.count(b"DICM") == len(IMAGES)


async def test_a_study_that_it_has_not_is_not_there(front):
    assert (await get(front, "/studies/2.25.999/metadata")).status_code == 404


# --- in front of it ----------------------------------------------------------------------------------


async def test_who_asks_by_c_find_is_told_what_the_archive_has(front):
    command = (FINDSCU, "-S", "-aet", "BENCH", "-aec", "XDSI", "-k", "QueryRetrieveLevel=IMAGE")
    keys = ("-k", f"StudyInstanceUID={STUDY}", "-k", "SeriesInstanceUID=2.25.12", "-k", "SOPInstanceUID")
    study = (FINDSCU, "-S", "-aet", "BENCH", "-aec", "XDSI", "-k", "QueryRetrieveLevel=STUDY")

    status, studies = await run(*study, "-k", "PatientID=P1", "-k", "StudyInstanceUID", *at(front))
    assert (status, studies.count(f"[{STUDY}")) == (0, 1), studies
    status, images = await run(*command, *keys, *at(front))

    assert status == 0, images
    assert [uid for uid in IMAGES if f"[{uid}" in images] == ["2.25.13", "2.25.14"]


async def test_who_asks_by_c_move_has_every_image_sent(front, sink):
    command = (MOVESCU, "-v", "-S", "-aet", "BENCH", "-aec", "XDSI", "-aem", "SINK")
    keys = ("-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={STUDY}")
    sink.requests.clear()

    status, output = await run(*command, *keys, *at(front))

    assert status == 0, output
    assert sorted(str(one.AffectedSOPInstanceUID) for one in sink.requests) == sorted(IMAGES)


async def test_wado_uri_gives_an_image_of_the_archive(front):
    query = f"requestType=WADO&studyUID={STUDY}&seriesUID=2.25.12&objectUID=2.25.14"
    async with front.client() as client:
        file = await client.get(f"/wado?{query}&contentType=application/dicom")
        image = await client.get(f"/wado?{query}&contentType=image/png")

    assert (file.status_code, image.status_code) == (200, 200)
    assert pydicom.dcmread(BytesIO(file.content)).SOPInstanceUID == "2.25.14"
    assert Image.open(BytesIO(image.content)).size == (4, 4)


def at(front: Source) -> tuple[object, ...]:
    return "127.0.0.1", front.service.dimse.port
