"""An object store that loses one of its servers while documents and images are written and read: nothing that
was acknowledged is lost, and every byte is what it was."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import httpx2
import pytest

from imaging_source.store.objects import ContentObjects
from tests.support.dicom import a_ct, part10
from tests.support.object_stores import SERVERS, ObjectStore, kill_and_start
from tests.support.publishing_rig import PublishingRig, a_publishing_rig

pytestmark = [pytest.mark.peer, pytest.mark.heavy]

PATIENT = "P1"
WRITERS = 3


@pytest.fixture(scope="module", params=["seaweedfs", "ceph"])
def server(request: pytest.FixtureRequest) -> Iterator[ObjectStore]:
    with SERVERS[request.param]() as store:
        yield store


@dataclass
class Round:
    """What was acknowledged: images by study and UID, studies that were published."""

    rig: PublishingRig
    http: httpx2.AsyncClient
    images: dict[str, dict[str, bytes]] = field(default_factory=dict)
    published: list[str] = field(default_factory=list)
    refused: int = 0

    async def write(self, writer: int, ends: asyncio.Event) -> None:
        """Studies of four images, published each, until the end is told."""
        source, number = random.Random(writer), 0
        while not ends.is_set():
            number += 1
            study = f"2.25.{writer}{number:05}"
            for image in range(4):
                uid = f"{study}.{image}"
                pixels = source.randbytes(source.randrange(1_000, 200_000) // 2 * 2)
                await self._store(study, uid, part10(a_ct(StudyInstanceUID=study, SOPInstanceUID=uid,
                                                          EncapsulatedDocument=pixels)))  # fmt: skip
            if study in self.images:
                await self.rig.publish(study, PATIENT)
                self.published.append(study)
            await self.read(study)

    async def _store(self, study: str, uid: str, octets: bytes) -> None:
        answer = await self.http.post(
            f"{self.rig.source_url}/dicomweb/studies",
            content=octets,
            headers={"content-type": "application/dicom"},
        )
        if answer.status_code == 200:
            self.images.setdefault(study, {})[uid] = octets
        else:
            self.refused += 1

    async def read(self, study: str) -> None:
        """Whatever comes is right; while a server is away it may be that nothing comes."""
        with suppress(httpx2.TransportError):
            answer = await self._study(study)
            if answer.status_code == 200:
                assert all(octets in answer.content for octets in self.images[study].values())

    async def _study(self, study: str) -> httpx2.Response:
        url = f"{self.rig.source_url}/dicomweb/studies/{study}"
        return await self.http.get(url, headers={"accept": "*/*"})

    async def check(self) -> None:
        """Everything that was acknowledged is there."""
        for study, images in self.images.items():
            answer = await self._study(study)
            assert answer.status_code == 200, study
            assert all(octets in answer.content for octets in images.values()), study
        await self.rig.settle()
        entries = await self.rig.entries(PATIENT, ["urn:oasis:names:tc:ebxml-regrep:StatusType:Approved"])
        by_study = {study: images for entry in entries for study, images in [await self._manifest(entry)]}
        for study in self.published:
            assert by_study[study] >= set(self.images[study]), study

    async def _manifest(self, entry) -> tuple[str, set[str]]:
        images = await self.rig.images_of(entry)
        return next(iter(images)).rpartition(".")[0], images


async def test_nothing_acknowledged_is_lost_when_one_that_keeps_the_bytes_dies(
    server: ObjectStore, tmp_path: Path, long: bool
):
    storage = {"storage_url": f"s3://{server.bucket}/{uuid4().hex}", "s3": server.settings.model_dump()}
    async with (
        a_publishing_rig(tmp_path, storage=storage) as rig,
        httpx2.AsyncClient(trust_env=False, timeout=120) as http,
    ):
        await rig.make_known(PATIENT)
        now, ends = Round(rig, http), asyncio.Event()
        writing = asyncio.gather(*(now.write(writer, ends) for writer in range(1, WRITERS + 1)))
        for number in range(12 if long else 1):
            kill, start = kill_and_start(server, number % 3)
            await asyncio.sleep(2)
            await asyncio.to_thread(kill)
            before = len(now.images)
            await asyncio.sleep(4)
            await asyncio.to_thread(start)
            assert not writing.done(), await writing
            await asyncio.sleep(4)
        ends.set()
        await writing

        assert isinstance(rig.source.parts.instances.files, ContentObjects)
        assert len(now.images) > before, "nothing was kept any more"
        await now.check()
        print(f"{sum(map(len, now.images.values()))} images, {len(now.published)} manifests, "
              f"{now.refused} refused meanwhile")  # fmt: skip
