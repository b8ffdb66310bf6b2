"""Sources that are gone, lie, or give a part: program and page learn which images are missing, and why, and
get no image of anybody else."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

import xdsi
from conformance.simulators.documents import (
    DocumentPart,
    DocumentReference,
    SimulatedImagingSource,
    SimulatedRepository,
)
from conformance.simulators.registry import SimulatedRegistry
from conformance.simulators.scripts import RIGHT, Cast
from conformance.simulators.server import http_simulator
from conformance.simulators.world import MANIFEST, SERIES, STUDY, World
from conformance.simulators.wrong_documents import no_dicom, other_document
from consumer.app import Consumer, build
from consumer.domain.study import Via
from consumer.front.ahead import fetch_first_series
from consumer.settings import ConsumerSettings
from shared.http.pieces import BodyBroken
from shared.http.raw_asgi import node_of
from shared.pages.visitors import Visitor
from shared.security.caller import Caller

DOMAIN = "1.3.6.1.4.1.21367.2005.13.20.1000"
OTHER_PATIENT = b"Other^Patient"
IMAGES = 3
SOURCE = "imaging-source"


@dataclass
class Hospital:
    """Simulated actors, and how they are reached."""

    cast: Cast
    url: str

    def published(self, via: Via | None = None) -> None:
        """A study whose manifest names the place for one transaction alone, or for both."""
        self.cast.world = World(
            DOMAIN,
            "" if via is Via.RAD69 else f"{self.url}/dicomweb",
            location="" if via is Via.WADO_RS else World(DOMAIN).location,
        )
        for actor in ("registry", "repository", SOURCE):
            self.cast.play(actor, RIGHT)

    def settings(self, folder: Path) -> dict[str, Any]:
        return {
            "data": folder,
            "registry_url": f"{self.url}{SimulatedRegistry.path}",
            "repository_url": f"{self.url}{SimulatedRepository.path}",
            "imaging_source_url": f"{self.url}{SimulatedImagingSource.path}",
            "dicomweb_peers": [self.url],
            "instances_per_request": 1,
            "parallel": 1,
            "max_instance_bytes": 4 * 1024**2,
            "audit": {"url": "tcp://127.0.0.1:9"},
        }


@pytest.fixture(scope="module")
def hospital() -> Iterator[Hospital]:
    actors = {"registry": RIGHT, "repository": RIGHT, SOURCE: RIGHT}
    cast = Cast(World(DOMAIN), actors)
    with http_simulator(cast.handle) as peers:
        yield Hospital(cast, peers.url)


NOT_THERE = "XDSDocumentUniqueIdError|not in the answer"
#: By script: how many images are missing by RAD-69 and by WADO-RS, and what is said of each.
WRONG = {
    "other-document": (3, 3, r"came instead of 2\.25\.|something else"),
    "other-patient": (3, 3, "it names another patient than its manifest"),
    "other-id": (3, 0, "not in the answer"),
    "last-image-lost": (1, 1, "not in the answer"),
    "nothing": (3, 3, "not in the answer|HTTP 404"),
    "no-dicom": (3, 3, "not a DICOM|something else|Part 10"),
    "closed": (3, 3, "closed the connection"),
    "truncated": (3, 3, "broke off|not a whole"),
    "too-short": (3, 3, "broke off|multipart|cannot be used"),
    "endless": (3, 3, "longer than 4194304 bytes"),
    "no-xml": (3, 3, "text/html|boundary"),
    "error": (3, 3, "HTTP 500"),
    "busy": (3, 3, "HTTP 503"),
    "redirects": (3, 3, "HTTP 307"),
}


@pytest.mark.parametrize("via", [Via.RAD69, Via.WADO_RS])
@pytest.mark.parametrize("script", WRONG)
async def test_a_program_learns_what_is_missing_and_why(
    hospital: Hospital, tmp_path: Path, script: str, via: Via
):
    by_rad69, by_wado_rs, words = WRONG[script]
    hospital.published(via)
    hospital.cast.play(SOURCE, script)

    async with xdsi.connect(**hospital.settings(tmp_path / "state")) as program:
        images = await program.fetch(MANIFEST, tmp_path / "to", via=via)

    missing = by_rad69 if via is Via.RAD69 else by_wado_rs
    assert (len(images.missing), images.instances) == (missing, IMAGES - missing)
    assert all(one.instance.sop_instance_uid in World(DOMAIN).images for one in images.missing)
    for one in images.missing:
        assert re.search(words, one.reason), one.reason
    kept = [path for path in (tmp_path / "to").rglob("*") if path.is_file()]
    assert sorted(kept) == sorted(images.files)
    assert not any(OTHER_PATIENT in path.read_bytes() for path in kept)


async def test_what_a_source_sends_beside_hides_nothing_of_what_was_asked_for(
    hospital: Hospital, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Strangers, and what is no instance, stand before the ones that were meant."""
    hospital.published(Via.WADO_RS)
    hospital.cast.play(SOURCE, RIGHT)

    def beside(actor: SimulatedImagingSource, references: list[DocumentReference]) -> list[DocumentPart]:
        right = delivered(actor, references)
        return [*no_dicom(right, actor.world), *other_document(right, actor.world), *right]

    delivered = SimulatedImagingSource.delivered
    monkeypatch.setattr(SimulatedImagingSource, "delivered", beside)
    async with xdsi.connect(**hospital.settings(tmp_path / "state")) as program:
        images = await program.fetch(MANIFEST, tmp_path / "to", via=Via.WADO_RS)

    assert (images.instances, images.missing) == (IMAGES, ())


async def test_what_changes_while_it_is_fetched_is_told_and_what_came_before_is_kept(
    hospital: Hospital, tmp_path: Path
):
    hospital.published()

    def change(_: Any) -> None:
        hospital.cast.play(SOURCE, "other-patient")

    async with xdsi.connect(**hospital.settings(tmp_path / "state")) as program:
        images = await program.fetch(MANIFEST, tmp_path / "to", on_delivery=change)
        hospital.cast.play(SOURCE, RIGHT)
        again = await program.fetch(MANIFEST, tmp_path / "to")

    assert images.instances == 1
    assert {one.reason for one in images.missing} == {"it names another patient than its manifest"}
    assert (again.already_there, again.instances, again.complete) == (1, IMAGES - 1, True)


# --- the same by the front ---------------------------------------------------------------------------


@asynccontextmanager
async def service_of(settings: dict[str, Any]) -> AsyncIterator[tuple[Consumer, httpx2.AsyncClient]]:
    """The consumer, and who calls it."""
    service = await build(ConsumerSettings.load(None, {}, **settings))
    await service.start()
    try:
        transport = httpx2.ASGITransport(app=service.asgi, client=("127.0.0.1", 50_000))
        async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:8040") as caller:
            yield service, caller
    finally:
        await service.stop()


@asynccontextmanager
async def viewer_of(settings: dict[str, Any]) -> AsyncIterator[httpx2.AsyncClient]:
    """A viewer at the consumer's DICOM web services, which has found the study."""
    async with service_of(settings) as (_, viewer):
        await viewer.get("/dicomweb/studies", params={"PatientID": World(DOMAIN).patient_id})
        yield viewer


#: By script: the status for the whole study, and what is said.
AT_THE_FRONT = {
    RIGHT: (200, ""),
    "last-image-lost": (206, "1 of these images are missing: there is no such"),
    "other-patient": (502, "it names another patient than its manifest"),
    "other-document": (502, "came instead of 2.25."),
    "closed": (502, "no answer that can be used"),
    "busy": (502, "no answer that can be used"),
}


@pytest.mark.parametrize("script", AT_THE_FRONT)
async def test_a_viewer_learns_what_is_missing_and_why(hospital: Hospital, tmp_path: Path, script: str):
    status, words = AT_THE_FRONT[script]
    hospital.published(Via.RAD69)
    hospital.cast.play(SOURCE, script)

    async with viewer_of(hospital.settings(tmp_path / "state")) as viewer:
        answer = await viewer.get(f"/dicomweb/studies/{STUDY}")
        told = answer.headers.get("warning", "") if answer.status_code in (200, 206) else answer.text

    assert (answer.status_code, words in told) == (status, True), told
    assert OTHER_PATIENT not in answer.content


async def test_a_series_that_comes_in_parts_is_broken_off_where_something_is_missing(
    hospital: Hospital, tmp_path: Path
):
    """Its answer begins before that is known; a whole one has an end."""
    hospital.published(Via.RAD69)
    (lost,) = SERIES["2.25.502"]
    hospital.cast.play(SOURCE, "last-image-lost")

    async with viewer_of(hospital.settings(tmp_path / "state")) as viewer:
        whole = await viewer.get(f"/dicomweb/studies/{STUDY}/series/2.25.501/pixeldata")
        nothing = await viewer.get(f"/dicomweb/studies/{STUDY}/series/2.25.502/pixeldata")
        alone = await viewer.get(f"/dicomweb/studies/{STUDY}/series/2.25.502/instances/{lost}/frames/1")
        hospital.cast.play(SOURCE, "other-patient")
    async with viewer_of(hospital.settings(tmp_path / "other")) as viewer:
        strangers = await viewer.get(f"/dicomweb/studies/{STUDY}/series/2.25.501/pixeldata")

    assert whole.status_code == 200
    assert whole.content.endswith(b"--\r\n")
    assert whole.content.count(b"Content-Location: ") == len(SERIES["2.25.501"])
    assert (nothing.status_code, alone.status_code) == (404, 404)
    assert nothing.json()["detail"] == alone.json()["detail"]
    assert strangers.status_code == 502
    assert OTHER_PATIENT not in strangers.content


async def test_a_series_of_which_a_part_is_lost_has_no_end(
    hospital: Hospital, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    hospital.published(Via.RAD69)
    delivered = SimulatedImagingSource.delivered
    _, lost = SERIES["2.25.501"]

    def one_less(actor: SimulatedImagingSource, references: list[DocumentReference]) -> list[DocumentPart]:
        return delivered(actor, [one for one in references if lost not in str(one)])

    monkeypatch.setattr(SimulatedImagingSource, "delivered", one_less)
    async with viewer_of(hospital.settings(tmp_path / "state")) as viewer:
        with pytest.raises(BodyBroken, match="1 of these images are missing"):
            await viewer.get(f"/dicomweb/studies/{STUDY}/series/2.25.501/pixeldata")


@pytest.mark.parametrize(("script", "status"), [(RIGHT, 200), ("other-patient", 502)])
async def test_the_first_series_is_fetched_while_the_viewer_is_on_its_way(
    hospital: Hospital, tmp_path: Path, script: str, status: int
):
    hospital.published(Via.RAD69)
    hospital.cast.play(SOURCE, script)
    patient = World(DOMAIN).patient_id
    visitor = Visitor.of(Caller(node=node_of({"client": ("127.0.0.1", 50_000)}), endpoint=""))

    async with service_of(hospital.settings(tmp_path / "state")) as (service, viewer):
        await fetch_first_series(service.reading_room, visitor, STUDY, patient)
        await fetch_first_series(service.reading_room, visitor, "2.25.1", patient)
        study = service.reading_room.at_hand(visitor, STUDY)
        assert study is not None
        first = next(iter(study.instances.values()))
        is_here = study.collection.arrived(first.sop_instance_uid) is not None
        await viewer.get("/dicomweb/studies", params={"PatientID": patient})
        answer = await viewer.get(
            f"/dicomweb/studies/{STUDY}/series/{first.series_instance_uid}"
            f"/instances/{first.sop_instance_uid}/metadata"
        )

    assert (is_here, answer.status_code) == (status == 200, status)
    assert OTHER_PATIENT not in answer.content


async def test_a_place_that_is_no_peer_is_told_and_asked_for_nothing(hospital: Hospital, tmp_path: Path):
    """The manifest names a host that nobody configured; it would be given the assertion of the user."""
    hospital.published(Via.WADO_RS)
    asked: list[str] = []
    hospital.cast.world = World(DOMAIN, "http://127.0.0.2:9/dicomweb", location="")
    for actor in ("registry", "repository"):
        hospital.cast.play(actor, RIGHT)
    settings = hospital.settings(tmp_path / "state")

    def assertion() -> bytes:
        asked.append("signed")
        return b"<Assertion/>"

    async with xdsi.connect(assertion=assertion, **settings) as program:
        (study,) = await program.find(World(DOMAIN).patient_id)
        await program.manifest(study)
        before = len(asked)
        images = await program.fetch(study, tmp_path / "to", via=Via.WADO_RS)

    assert images.instances == 0
    assert {one.reason.partition(" (")[0] for one in images.missing} == {
        f"the Retrieve URL of the manifest is not of {hospital.url}"
    }
    # Registry and repository are asked again, and nobody else.
    assert len(asked) - before == before - 1
