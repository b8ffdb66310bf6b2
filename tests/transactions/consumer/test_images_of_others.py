"""An image that a source gives under another's name is given to nobody: to no program, and on no page."""

from __future__ import annotations

from pathlib import Path

import httpx2
import pytest

from conformance.simulators.documents import SimulatedImagingSource, SimulatedRepository
from conformance.simulators.registry import SimulatedRegistry
from conformance.simulators.scripts import RIGHT, Cast
from conformance.simulators.server import http_simulator
from conformance.simulators.world import MANIFEST, REPOSITORY, World
from consumer.app import build
from consumer.settings import ConsumerSettings

DOMAIN = "1.3.6.1.4.1.21367.2005.13.20.1000"


async def _fetched(base: str, folder: Path) -> list[httpx2.Response]:
    """What a program is given of each image of the study."""
    settings = ConsumerSettings.load(
        None,
        {},
        data=folder,
        registry_url=f"{base}{SimulatedRegistry.path}",
        repository_url=f"{base}{SimulatedRepository.path}",
        imaging_source_url=f"{base}{SimulatedImagingSource.path}",
        dicomweb_peers=[base],
        audit={"url": "tcp://127.0.0.1:9"},
    )
    service = await build(settings)
    await service.start()
    try:
        transport = httpx2.ASGITransport(app=service.asgi, client=("127.0.0.1", 50_000))
        async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:8040") as program:
            document = {"document_unique_id": MANIFEST, "repository_unique_id": REPOSITORY}
            manifest = (await program.post("/api/manifests", json=document)).json()
            hrefs = [one["href"] for series in manifest["series"] for one in series["instances"]]
            return [await program.get(href) for href in hrefs]
    finally:
        await service.stop()


@pytest.mark.parametrize(("script", "status"), [(RIGHT, 200), ("other-patient", 502)])
async def test_an_image_of_another_patient_than_the_manifest_names_is_not_given(
    tmp_path: Path, script: str, status: int
):
    actors = {"registry": RIGHT, "repository": RIGHT, "imaging-source": script}
    cast = Cast(World(DOMAIN), actors)
    with http_simulator(cast.handle) as peers:
        cast.world = World(DOMAIN, f"{peers.url}/dicomweb")
        for actor, played in actors.items():
            cast.play(actor, played)
        answers = await _fetched(peers.url, tmp_path)

    assert len(answers) == 3
    assert {one.status_code for one in answers} == {status}
    assert not any(b"Other^Patient" in one.content for one in answers)
