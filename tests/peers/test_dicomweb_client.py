"""dicomweb-client against `/dicomweb`: every call that it has, over a socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pydicom
import pytest
import pytest_asyncio
from dicomweb_client import DICOMwebClient
from requests import HTTPError

from shared.http.server import start_server
from tests.support.databases import DatabasePlace
from tests.support.dicom import a_ct, a_multi_frame, part10
from tests.support.imaging_source import Source, close_source, open_source
from xdsi.stage import free_ports

pytestmark = [pytest.mark.peer, pytest.mark.asyncio(loop_scope="module")]

STUDY, SERIES, CT, FRAMES = "2.25.11", "2.25.12", "2.25.13", "2.25.15"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def source(tmp_path_factory) -> AsyncIterator[Source]:
    folder = tmp_path_factory.mktemp("dicomweb")
    [port] = free_ports(1)
    place = DatabasePlace(url=None, folder=folder / "database", name="imaging_source")
    opened = await open_source(place, folder / "data", port=port, public_url=f"http://127.0.0.1:{port}")
    await opened.keep(a_ct(), a_multi_frame(StudyInstanceUID=STUDY, SOPInstanceUID=FRAMES))
    server = await start_server(opened.service.asgi, opened.parts.settings)
    yield opened
    await server.stop(1)
    await close_source(opened)


@pytest.fixture
def called(source: Source) -> Callable[..., Any]:
    """Calls a method of the client, in a thread."""
    client = DICOMwebClient(source.parts.settings.dicomweb_url)

    def call(name: str, arguments: tuple[Any, ...], more: dict[str, Any]) -> Any:
        answer = getattr(client, name)(*arguments, **more)
        return list(answer) if name.startswith("iter_") else answer

    async def called(name: str, *arguments: Any, **more: Any) -> Any:
        return await asyncio.to_thread(call, name, arguments, more)

    return called


def uids(found: list[Any]) -> set[str]:
    return {str(pydicom.Dataset.from_json(one).SOPInstanceUID) for one in found}


async def series_of(called: Callable[..., Any], uid: str) -> str:
    [found] = [
        one for one in await called("search_for_instances", STUDY) if one["00080018"]["Value"] == [uid]
    ]
    return str(found["0020000E"]["Value"][0])


async def test_it_searches_at_every_level(called):
    [study] = await called("search_for_studies", search_filters={"StudyInstanceUID": STUDY}, limit=5)
    series = await called("search_for_series", STUDY)
    instances = await called("search_for_instances", fields=["Rows"], get_remaining=True)

    assert study["0020000D"]["Value"] == [STUDY]
    assert SERIES in {one["0020000E"]["Value"][0] for one in series}
    assert uids(instances) >= {CT, FRAMES}
    assert await called("search_for_studies", search_filters={"PatientID": "nobody"}) == []


async def test_it_retrieves_studies_series_and_instances(called, source):
    whole = await called("retrieve_study", STUDY)
    series = await called("retrieve_series", STUDY, SERIES)
    instance = await called("retrieve_instance", STUDY, SERIES, CT)

    assert {str(one.SOPInstanceUID) for one in whole} == {CT, FRAMES}
    assert CT in {str(one.SOPInstanceUID) for one in series}
    assert instance.PixelData == a_ct().PixelData
    assert len(await called("iter_study", STUDY)) == 2
    assert len(await called("iter_series", STUDY, SERIES)) == len(series)


async def test_it_retrieves_metadata_at_every_level(called):
    assert uids(await called("retrieve_study_metadata", STUDY)) == {CT, FRAMES}
    assert CT in uids(await called("retrieve_series_metadata", STUDY, SERIES))
    assert uids([await called("retrieve_instance_metadata", STUDY, SERIES, CT)]) == {CT}


async def test_it_retrieves_frames_and_bulk_data(called):
    series = await series_of(called, FRAMES)
    pixels = a_multi_frame().PixelData

    frames = await called("retrieve_instance_frames", STUDY, series, FRAMES, [1, 2])
    metadata = await called("retrieve_instance_metadata", STUDY, series, FRAMES)
    address = metadata["7FE00010"]["BulkDataURI"]

    assert b"".join(frames) == pixels[: len(frames[0]) * 2]
    assert await called("iter_instance_frames", STUDY, series, FRAMES, [1, 2]) == frames
    assert b"".join(await called("retrieve_bulkdata", address)) == pixels
    assert b"".join(await called("iter_bulkdata", address)) == pixels


async def test_it_retrieves_what_is_rendered(called):
    series = await series_of(called, FRAMES)
    png = b"\x89PNG"

    for name, arguments in (
        ("retrieve_instance_rendered", (STUDY, SERIES, CT)),
        ("retrieve_instance_frames_rendered", (STUDY, series, FRAMES, [1])),
    ):
        assert (await called(name, *arguments, media_types=("image/png",))).startswith(png)
    assert await called("retrieve_series_rendered", STUDY, SERIES, media_types=("image/png",))


async def test_it_stores_and_finds_what_it_stored(called):
    data_set = pydicom.dcmread(
        pydicom.filebase.DicomBytesIO(part10(a_ct(StudyInstanceUID="2.25.31", SOPInstanceUID="2.25.33")))
    )

    answer = await called("store_instances", [data_set], study_instance_uid="2.25.31")

    assert [str(one.ReferencedSOPInstanceUID) for one in answer.ReferencedSOPSequence] == ["2.25.33"]
    assert uids(await called("search_for_instances", "2.25.31")) == {"2.25.33"}


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("delete_study", (STUDY,)),
        ("delete_series", (STUDY, SERIES)),
        ("delete_instance", (STUDY, SERIES, CT)),
    ],
)
async def test_nothing_is_deleted_by_it(called, name, arguments):
    with pytest.raises(HTTPError) as refused:
        await called(name, *arguments)

    assert refused.value.response.status_code in (404, 405)
    assert uids(await called("retrieve_study_metadata", STUDY)) == {CT, FRAMES}
