"""DICOM web services of the consumer in a whole community: real processes, mutual TLS, signed assertions.

What a source offers by RAD-69 is read as from an archive; `dicomweb-client` does so unchanged.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import Iterator
from email import message_from_bytes
from email.policy import HTTP
from pathlib import Path
from typing import Any

import httpx2
import pydicom
import pytest
import requests
from dicomweb_client import DICOMwebClient

from consumer import connect
from consumer.settings import ConsumerSettings
from shared.pages.visitors import token_of as bearer_of
from tests.peers.test_consumer_service import House, a_study, prepared
from tests.support.community import CLERK, RADIOLOGIST, assertion_of, cx, running, settings_of, studies_in
from tests.support.consumer import consumer_process
from xdsi.consent import ask_registry
from xdsi.services import Service

pytestmark = [pytest.mark.heavy]

AS_STORED = 'multipart/related; type="application/dicom"; transfer-syntax=*'
SEEN, HIDDEN, WITHDRAWN = "SEEN-1", "HIDDEN-1", "WITHDRAWN-1"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("studies")
    studies = {patient: a_study(folder / patient, patient) for patient in (SEEN, HIDDEN, WITHDRAWN)}
    for patient, study in studies.items():
        # The built-in study is one; here each patient has an own.
        for path in study.files.values():
            image = pydicom.dcmread(path)
            for name in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
                setattr(image, name, f"{getattr(image, name)}.{sum(patient.encode())}")
            image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
            image.save_as(path, enforce_file_format=True)
    studies = {patient: studies_in(folder / patient)[0] for patient in studies}
    with running(tmp_path_factory.mktemp("community"), consent={"max_age_seconds": 0}) as stage:
        asyncio.run(prepared(stage, studies, SEEN, WITHDRAWN))
        with consumer_process(stage) as consumer:
            yield House(stage, consumer, studies)


def bearer(house: House, clinician: Any = RADIOLOGIST) -> dict[str, str]:
    return {"authorization": f"Bearer {bearer_of(assertion_of(house.stage, clinician))}"}


async def found(viewer: httpx2.AsyncClient, patient: str, headers: dict[str, str]) -> list[dict[str, Any]]:
    answer = await viewer.get("/dicomweb/studies", params={"PatientID": patient}, headers=headers)
    assert answer.status_code == 200, answer.text
    studies: list[dict[str, Any]] = answer.json()
    return studies


def parts_of(answer: httpx2.Response) -> list[bytes]:
    head = f"Content-Type: {answer.headers['content-type']}\r\n\r\n".encode()
    return [
        part.get_payload(decode=True)
        for part in message_from_bytes(head + answer.content, policy=HTTP).iter_parts()
    ]


async def test_a_study_is_found_by_its_patient_and_read_in_every_form(house: House):
    headers, study = bearer(house), house.studies[SEEN]
    async with house.client() as viewer:
        (told_study,) = await found(viewer, SEEN, headers)
        chosen = {"PatientID": SEEN, "StudyInstanceUID": study.uid}
        (opened,) = (await viewer.get("/dicomweb/studies", params=chosen, headers=headers)).json()
        base = f"/dicomweb/studies/{study.uid}"
        series = (await viewer.get(f"{base}/series", headers=headers)).json()
        instances = (await viewer.get(f"{base}/instances", headers=headers)).json()
        metadata = (await viewer.get(f"{base}/metadata", headers=headers)).json()
        whole = await viewer.get(base, headers={**headers, "accept": AS_STORED})
        uid, path = next(iter(study.files.items()))
        image = pydicom.dcmread(path)
        one = f"{base}/series/{image.SeriesInstanceUID}/instances/{uid}"
        frame = await viewer.get(
            f"{one}/frames/1", headers={**headers, "accept": "application/octet-stream; transfer-syntax=*"}
        )
        shown = await viewer.get(f"{one}/rendered", headers={**headers, "accept": "image/png"})
        small = await viewer.get(
            f"{base}/thumbnail?viewport=64,64", headers={**headers, "accept": "image/jpeg"}
        )

    assert told_study["0020000D"]["Value"] == [study.uid]
    assert told_study["00100020"]["Value"] == [SEEN]
    assert opened["00201206"]["Value"] == [len(series)]
    assert opened["00201208"]["Value"] == [len(study.files)]
    assert {one["0020000E"]["Value"][0] for one in series} == {image.SeriesInstanceUID}
    assert {one["00080018"]["Value"][0] for one in instances} == study.files.keys()
    assert {one["00080018"]["Value"][0] for one in metadata} == study.files.keys()
    assert whole.status_code == 200
    came = {pydicom.dcmread(io.BytesIO(part)).SOPInstanceUID: part[128:] for part in parts_of(whole)}
    assert came == {uid: path.read_bytes()[128:] for uid, path in study.files.items()}
    assert frame.content == image.PixelData
    assert shown.headers["content-type"] == "image/png"
    assert small.content.startswith(b"\xff\xd8")


async def test_the_frames_of_a_series_come_by_one_request(house: House):
    headers, study = bearer(house), house.studies[SEEN]
    images = {uid: pydicom.dcmread(path) for uid, path in study.files.items()}
    (series,) = {one.SeriesInstanceUID for one in images.values()}
    base = f"/dicomweb/studies/{study.uid}/series/{series}"
    accept = {**headers, "accept": 'multipart/related; type="application/octet-stream"; transfer-syntax=*'}
    async with house.client() as viewer:
        await found(viewer, SEEN, headers)
        answer = await viewer.get(f"{base}/pixeldata", headers=accept)
        not_so = await viewer.get(f"{base}/pixeldata", headers={**headers, "accept": "image/png"})
        none = await viewer.get(f"{base}.1/pixeldata", headers=accept)

    head = f"Content-Type: {answer.headers['content-type']}\r\n\r\n".encode()
    parts = list(message_from_bytes(head + answer.content, policy=HTTP).iter_parts())
    assert answer.status_code == 200
    assert {str(part["content-location"]): part.get_payload(decode=True) for part in parts} == {
        f"{house.consumer.url}{base}/instances/{uid}/frames/1": image.PixelData
        for uid, image in images.items()
    }
    assert (not_so.status_code, none.status_code) == (406, 404)


async def test_who_may_not_see_a_study_learns_nothing_of_it(house: House):
    radiologist, clerk = bearer(house), bearer(house, CLERK)
    async with house.client() as viewer:
        assert await found(viewer, HIDDEN, radiologist) == []
        await found(viewer, SEEN, radiologist)
        assert await found(viewer, SEEN, clerk) == []
        for uid in (house.studies[HIDDEN].uid, "1.2.3"):
            assert (
                await viewer.get(f"/dicomweb/studies/{uid}/metadata", headers=radiologist)
            ).status_code == 404
        seen = f"/dicomweb/studies/{house.studies[SEEN].uid}/metadata"
        pixels = seen.replace("/metadata", "/series/1.2.3/pixeldata")
        assert {(await viewer.get(one, headers=clerk)).status_code for one in (seen, pixels)} == {404}
        assert (await viewer.get(seen)).status_code == 401
        assert (await viewer.get(seen, headers={"authorization": "Bearer study.AAAA"})).status_code == 401


async def test_what_is_at_hand_is_refused_as_soon_as_consent_is_withdrawn(house: House):
    headers, study = bearer(house), house.studies[WITHDRAWN]
    uid = next(iter(study.files))
    async with house.client() as viewer:
        await found(viewer, WITHDRAWN, headers)
        metadata = (await viewer.get(f"/dicomweb/studies/{study.uid}/metadata", headers=headers)).json()
        series = metadata[0]["0020000E"]["Value"][0]
        one = f"/dicomweb/studies/{study.uid}/series/{series}/instances/{uid}/frames/1"
        accept = {**headers, "accept": "application/octet-stream; transfer-syntax=*"}
        assert (await viewer.get(one, headers=accept)).status_code == 200
        settings = settings_of(house.stage, Service.REGISTRY)
        await ask_registry(settings, "set", {"patient_id": cx(WITHDRAWN), "effect": "deny"})
        refused = await viewer.get(one, headers=accept)

    assert refused.status_code == 404


def a_foreign_client(house: House) -> DICOMwebClient:
    tls = house.stage.load(ConsumerSettings, house.stage.south).tls
    session = requests.Session()
    session.cert = (str(tls.certificate), str(tls.key))
    session.verify = str(tls.trust)
    session.trust_env = False
    session.headers.update(bearer(house))
    return DICOMwebClient(f"{house.consumer.url}/dicomweb", session=session)


@pytest.mark.peer
async def test_dicomweb_client_finds_and_reads_a_study_unchanged(house: House):
    study = house.studies[SEEN]
    first = pydicom.dcmread(next(iter(study.files.values())))
    client = a_foreign_client(house)

    def journey() -> None:
        (match,) = client.search_for_studies(search_filters={"PatientID": SEEN}, fields=["StudyDescription"])
        assert match["0020000D"]["Value"] == [study.uid]
        (series,) = client.search_for_series(study.uid)
        assert series["0020000E"]["Value"] == [first.SeriesInstanceUID]
        found_instances = client.search_for_instances(study.uid, first.SeriesInstanceUID, limit=3)
        assert len(found_instances) == 3
        metadata = client.retrieve_series_metadata(study.uid, first.SeriesInstanceUID)
        assert {one["00080018"]["Value"][0] for one in metadata} == study.files.keys()
        instances = client.retrieve_study(study.uid, media_types=(("application/dicom", "*"),))
        assert {one.SOPInstanceUID for one in instances} == study.files.keys()
        names = (study.uid, first.SeriesInstanceUID, first.SOPInstanceUID)
        assert client.retrieve_instance(*names).PixelData == first.PixelData
        assert client.retrieve_instance_frames(*names, frame_numbers=[1]) == [first.PixelData]
        shown = client.retrieve_instance_rendered(*names, media_types=("image/png",))
        assert shown.startswith(b"\x89PNG")

    await asyncio.to_thread(journey)


#: What viewers ask for, as their documents and sources say; of one study, one series and one instance.
REQUESTS = [
    # OHIF 3.13, recorded: work list by MRN, the study that is opened, and the wadors data source
    (
        "studies?00100020=*{patient}*&limit=101&offset=0&fuzzymatching=false"
        "&includefield=00081030%2C00080060%2C00080090%2C00100030",
        "application/dicom+json",
    ),
    (
        "studies?limit=101&offset=0&fuzzymatching=false&includefield=00081030%2C00080060%2C00080090%2C00100030"
        "&StudyInstanceUID={study}",
        "application/dicom+json",
    ),
    (
        "studies?limit=101&offset=0&fuzzymatching=true&includefield=00081030%2C00080060&PatientID={patient}",
        "json",
    ),
    ("studies/{study}/series?includefield=00080021%2C00080031%2C0008103E%2C00200011", "json"),
    ("studies/{study}/series/{series}/metadata", "application/dicom+json"),
    (
        "studies/{study}/series/{series}/instances/{instance}/frames/1",
        "multipart/related; type=application/octet-stream; transfer-syntax=*",
    ),
    ("studies/{study}/series/{series}/instances/{instance}/thumbnail", "image/jpeg"),
    # 3D Slicer: by dicomweb-client, a series as files
    ("studies?PatientID={patient}&limit=100&offset=0", "application/dicom+json"),
    ("studies/{study}/series", "application/dicom+json"),
    ("studies/{study}/series/{series}", 'multipart/related; type="application/dicom"; transfer-syntax=*'),
    # WADO-RS as Weasis asks before it opens: a rendered first image
    ("studies/{study}/series/{series}/thumbnail?viewport=128,128", "image/jpeg"),
    # Weasis: the manifest of weasis-pacs-connector, then instances
    ("studies?PatientID={patient}&includefield=00080020,00080030,00081030", "application/dicom+json"),
    ("studies/{study}/series/{series}/instances?includefield=00080018,00200013", "application/dicom+json"),
    (
        "studies/{study}/series/{series}/instances/{instance}",
        'multipart/related;type="application/dicom";transfer-syntax=*,multipart/related;type="application/dicom"',
    ),
    # Cornerstone: frames in one part
    (
        "studies/{study}/series/{series}/instances/{instance}/frames/1",
        "application/octet-stream; transfer-syntax=*",
    ),
]


async def test_the_requests_of_viewers_are_answered(house: House):
    study = house.studies[SEEN]
    image = pydicom.dcmread(next(iter(study.files.values())))
    values = {
        "patient": SEEN,
        "study": study.uid,
        "series": image.SeriesInstanceUID,
        "instance": image.SOPInstanceUID,
    }
    answers = {}
    async with house.client() as viewer:
        await found(viewer, SEEN, bearer(house))
        for path, accept in REQUESTS:
            headers = {**bearer(house), "accept": "application/json" if accept == "json" else accept}
            answer = await viewer.get(f"/dicomweb/{path.format(**values)}", headers=headers)
            answers[path, accept] = (answer.status_code, len(answer.content) > len(b"[]"))

    assert answers == dict.fromkeys(answers, (200, True))


async def test_a_newcomers_ten_lines_find_fetch_and_show_a_slice(house: House, tmp_path: Path):
    role = str(RADIOLOGIST.roles[0])
    study = house.studies[SEEN]
    image = pydicom.dcmread(next(iter(study.files.values())))

    def notebook() -> list[int]:
        with connect(config=house.stage.folder / "south.toml", user="dr.roe", roles=[role]) as hospital:
            (found_study,) = hospital.find(SEEN, study_instance_uid=study.uid)
            assert hospital.find(SEEN, accession_number="none of ours") == ()
            images = hospital.fetch(found_study, tmp_path / "images", series=[image.SeriesInstanceUID])
        first = next(images.arrays())
        assert images.complete
        assert first.shape == (image.Rows, image.Columns)
        return [len(images.files), len(list(images.datasets()))]

    assert await asyncio.to_thread(notebook) == [len(study.files)] * 2


async def test_a_program_brings_its_own_provider_of_assertions(house: House):
    def signed() -> bytes:
        return assertion_of(house.stage)

    async with connect(config=house.stage.folder / "south.toml", assertion=signed) as hospital:
        assert [one.study_instance_uid for one in await hospital.find(SEEN)] == [house.studies[SEEN].uid]
    async with connect(
        config=house.stage.folder / "south.toml", assertion=lambda: assertion_of(house.stage, CLERK)
    ) as hospital:
        assert await hospital.find(SEEN) == ()
