"""A source that fronts a real archive, Orthanc, by its DICOM web services."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import httpx2
import pydicom
import pytest
import pytest_asyncio

from imaging_source.store.archived_instances import ArchivedInstances
from imaging_source.store.publications import find_document
from imaging_source.transactions import rad68
from shared.dicom.kos import read_manifest
from tests.support.databases import DatabasePlace
from tests.support.dicom import a_ct, a_multi_frame, part10
from tests.support.imaging_source import Source, close_source, open_source
from tests.support.orthanc import DICOMWEB, ORTHANC, orthanc
from xdsi.stage import free_ports

pytestmark = [
    pytest.mark.peer,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(
        not (ORTHANC.exists() and DICOMWEB.exists()), reason="Orthanc or its DICOMweb plugin is not installed"
    ),
]

STUDY = "2.25.11"
DICOM = 'multipart/related; type="application/dicom"; transfer-syntax=*'
JSON = "application/dicom+json"
RLE = "1.2.840.10008.1.2.5"
IMAGES = {
    "2.25.13": part10(a_ct()),
    "2.25.14": part10(a_ct(SOPInstanceUID="2.25.14", InstanceNumber=2), RLE),
    "2.25.16": part10(a_multi_frame(SeriesInstanceUID="2.25.15", SOPInstanceUID="2.25.16")),
}


@dataclass
class Front:
    """Our source, and Orthanc behind it."""

    source: Source
    archive: httpx2.AsyncClient

    async def get(self, path: str, accept: str = JSON) -> httpx2.Response:
        async with self.source.client() as client:
            return await client.get(f"/dicomweb{path}", headers={"accept": accept})

    async def give(self, octets: bytes) -> None:
        """Let Orthanc have an instance."""
        answer = await self.archive.post("/instances", content=octets)
        assert answer.status_code == 200, answer.text

    async def drop_copies(self) -> None:
        """As time does."""
        store = self.source.parts.instances
        assert isinstance(store, ArchivedInstances)
        for one in await store.find_study(STUDY):
            await store.copies.forget(one.sha256)


def settings_of(way: str, base_url: str, dimse_port: int) -> dict[str, Any]:
    """Those by which Orthanc is fronted."""
    entity = {"host": "127.0.0.1", "port": dimse_port, "services": ["store"]}
    if way == "web":
        return {"archives": {"orthanc": {"url": f"{base_url.rstrip('/')}/dicom-web"}}}
    return {
        "archives": {"orthanc": {"ae_title": "ORTHANC", "retrieve": way}},
        "application_entities": {"ORTHANC": entity},
    }


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["web", "get", "move"])
async def front(request, tmp_path_factory) -> AsyncIterator[Front]:
    folder = tmp_path_factory.mktemp("front")
    web_port, dimse_port, own_port = free_ports(3)
    async with orthanc(folder / "orthanc", dimse_port=own_port, ports=(web_port, dimse_port)) as archive:
        place = DatabasePlace(url=None, folder=folder / "database", name="imaging_source")
        source = await open_source(
            place,
            folder / "data",
            archive_check_seconds=0,
            **{**settings_of(request.param, str(archive.base_url), dimse_port), "dimse_port": own_port},
        )
        await source.service.dimse.start()
        front = Front(source, archive)
        for octets in IMAGES.values():
            await front.give(octets)
        yield front
        await source.service.dimse.stop()
        await close_source(source)


def sent(response: httpx2.Response) -> dict[str, pydicom.Dataset]:
    """The instances of an answer, by UID."""
    boundary = response.headers["content-type"].partition("boundary=")[2].encode()
    parts = response.content.split(b"--" + boundary)[1:-1]
    files = [part.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n") for part in parts]
    data_sets = [pydicom.dcmread(BytesIO(octets)) for octets in files]
    return {one.SOPInstanceUID: one for one in data_sets}


async def test_every_instance_comes_as_it_was_given_to_the_archive(front):
    response = await front.get(f"/studies/{STUDY}", DICOM)

    assert response.status_code == 200
    images = sent(response)
    assert set(images) == set(IMAGES)
    for uid, octets in IMAGES.items():
        before = pydicom.dcmread(BytesIO(octets))
        assert images[uid] == before
        assert images[uid].file_meta.TransferSyntaxUID == before.file_meta.TransferSyntaxUID


async def test_it_is_found_described_framed_and_rendered(front):
    found = (await front.get("/studies?PatientID=P1")).json()
    series = (await front.get(f"/studies/{STUDY}/series")).json()
    metadata = (await front.get(f"/studies/{STUDY}/metadata")).json()
    frame = await front.get(
        f"/studies/{STUDY}/series/2.25.15/instances/2.25.16/frames/2", "multipart/related"
    )
    image = await front.get(f"/studies/{STUDY}/series/2.25.12/instances/2.25.13/rendered", "image/png")

    assert [one["0020000D"]["Value"] for one in found] == [[STUDY]]
    assert sorted(one["0020000E"]["Value"][0] for one in series) == ["2.25.12", "2.25.15"]
    assert {one["00080018"]["Value"][0] for one in metadata} == set(IMAGES)
    assert (frame.status_code, image.status_code) == (200, 200)
    assert image.content.startswith(b"\x89PNG")


async def test_a_study_is_found_by_what_the_archive_alone_knows(front):
    await front.give(
        part10(
            a_ct(
                StudyInstanceUID="2.25.31",
                SeriesInstanceUID="2.25.32",
                SOPInstanceUID="2.25.33",
                AccessionNumber="A-31",
                StudyDate="20240229",
            )
        )
    )
    for keys in ("AccessionNumber=A-31", "StudyDate=20240228-20240301", "StudyInstanceUID=2.25.31"):
        found = (await front.get(f"/studies?{keys}")).json()
        assert [one["0020000D"]["Value"] for one in found] == [["2.25.31"]], keys
    assert (await front.get("/studies?AccessionNumber=A-32")).json() == []


async def test_its_manifest_names_every_instance(front):
    enqueued = await rad68.publish(front.source.parts, STUDY)

    manifest = read_manifest(await find_document(front.source.parts.database, enqueued.publication_id))
    assert {one.sop_instance_uid for _, _, one in manifest.instances} == set(IMAGES)


async def test_it_is_retrieved_again_when_its_copies_are_gone(front):
    await front.get(f"/studies/{STUDY}", DICOM)
    await front.drop_copies()

    assert set(sent(await front.get(f"/studies/{STUDY}", DICOM))) == set(IMAGES)


async def test_what_comes_to_the_archive_and_leaves_it_is_noticed(front):
    path = f"/studies/{STUDY}/series/2.25.17/instances/2.25.18"
    await front.give(part10(a_ct(SeriesInstanceUID="2.25.17", SOPInstanceUID="2.25.18")))
    assert (await front.get(path, DICOM)).status_code == 200

    [known] = (await front.archive.post("/tools/lookup", content="2.25.18")).json()
    assert (await front.archive.delete(known["Path"])).status_code == 200
    assert (await front.get(path, DICOM)).status_code == 404
