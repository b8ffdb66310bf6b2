"""kill -9 of a source that withdraws and erases: what was answered holds, all else is done by asking again.

What nobody touched is published exactly once.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.support.dicom import a_ct, part10
from tests.support.publishing_rig import PublishingRig, a_publishing_rig
from tests.support.source_process import SourceProcess
from tests.support.waiting import until_true

pytestmark = pytest.mark.heavy

#: Each of the three ways by which something leaves; one of them, by chance, in the short form.
LONG_ROUNDS = 20
PATIENT = "P1"
IMAGES = 3


@dataclass
class Leaving:
    """A source as a process, beside a registry and a repository that live on, and what it was told."""

    rig: PublishingRig
    source: SourceProcess
    http: httpx2.AsyncClient
    choice: random.Random
    images: dict[str, dict[str, bytes]] = field(default_factory=dict)

    async def study(self) -> str:
        """One more study that is here and published."""
        study = f"2.25.9{len(self.images):03}"
        self.images[study] = {}
        for number in range(IMAGES):
            uid = f"{study}.1.{number}"
            octets = part10(
                a_ct(
                    StudyInstanceUID=study,
                    SeriesInstanceUID=f"{study}.1",
                    SOPInstanceUID=uid,
                    PatientID=PATIENT,
                )
            )
            assert await self.source.store(self.http, octets)
            self.images[study][uid] = octets
        await self.publish(study)
        return study

    async def publish(self, study: str) -> None:
        """Publish it, and wait for the registry."""
        await self.post("publish", study_instance_uid=study)
        await until_true(lambda: self.is_published(study))

    async def is_published(self, study: str) -> bool:
        return (await self.standing(study))["state"] == "published"

    async def standing(self, study: str) -> dict[str, Any]:
        """What the source tells of a study."""
        told = await self.post("publications", study_instance_uid=study, last=False, limit=20)
        return next(one for one in told["publications"] if one["state"] != "superseded")

    async def post(self, what: str, **question: Any) -> dict[str, Any]:
        answer = await self.http.post(f"{self.source.base}/api/{what}", json=question)
        assert answer.status_code in (200, 202), answer.text
        told: dict[str, Any] = answer.json()
        return told

    async def ask_and_kill(self, what: str, **question: Any) -> bool:
        """Ask, and kill while that is done or just after; whether it was answered."""
        asked = asyncio.create_task(self.http.post(f"{self.source.base}/api/{what}", json=question))
        await asyncio.sleep(self.choice.uniform(0.0, 0.08))
        self.source.process.kill()
        try:
            answer = await asked
        except httpx2.TransportError:
            answered = False
        else:
            assert answer.status_code == 200, answer.text
            answered = True
        await asyncio.to_thread(self.source.start)
        return answered

    async def approved(self, study: str) -> list[set[str]]:
        """The images in each manifest of a study that is found."""
        return [await self.rig.images_of(one) for one in await self.rig.approved(PATIENT, study)]


@pytest.fixture
def seed() -> int:
    seed = random.randrange(2**32)
    print(f"\nseed {seed}")
    return seed


async def withdrawn(work: Leaving) -> tuple[str, set[str]]:
    """The study that was withdrawn, and what of it is published still."""
    study = await work.study()
    answered = await work.ask_and_kill("publications/withdraw", study_instance_uid=study)
    if answered:
        assert await work.approved(study) == []
    else:
        await work.post("publications/withdraw", study_instance_uid=study)
    standing = await work.standing(study)
    assert standing["state"] == "withdrawn"
    assert "retry" in standing["explanation"]
    return study, set()


async def erased(work: Leaving) -> tuple[str, set[str]]:
    """A study that was erased."""
    study = await work.study()
    order = {"study_instance_uid": study, "reason": "the patient asked for it"}
    if not await work.ask_and_kill("erase", **order):
        # Withdrawn comes before gone: at no moment is something found that is not here.
        if not await work.source.study(work.http, study):
            assert await work.approved(study) == []
        else:
            await work.post("erase", **order)
    assert await work.source.study(work.http, study) == b""
    work.images[study] = {}
    return study, set()


async def erased_in_part(work: Leaving) -> tuple[str, set[str]]:
    """A study of which one image was erased."""
    study = await work.study()
    gone, *_ = work.images[study]
    order = {"study_instance_uid": study, "sop_instance_uids": [gone], "reason": "another patient's"}
    if not await work.ask_and_kill("erase", **order) and gone.encode() in await work.source.study(
        work.http, study
    ):
        await work.post("erase", **order)
    del work.images[study][gone]
    rest = set(work.images[study])

    async def is_true() -> bool:
        return await work.approved(study) == [rest]

    await until_true(is_true)
    return study, rest


@pytest.mark.timeout(3600)
async def test_what_was_withdrawn_or_erased_stays_so_and_all_else_is_published_once(
    tmp_path: Path, long: bool, seed: int
):
    async with (
        a_publishing_rig(tmp_path / "others") as rig,
        httpx2.AsyncClient(trust_env=False, timeout=60) as http,
    ):
        await rig.make_known(PATIENT)
        source = SourceProcess(
            tmp_path / "source",
            registry_url=rig.registry_url,
            repository_url=rig.repository_url,
            drift_checks_per_minute=6000,
            publish_delay_seconds=0,
        )
        await asyncio.to_thread(source.start)
        try:
            work = Leaving(rig, source, http, random.Random(seed))
            untouched = await work.study()
            expected = {untouched: set(work.images[untouched])}
            ways = (withdrawn, erased, erased_in_part)
            for leave in ways * LONG_ROUNDS if long else (work.choice.choice(ways),):
                study, images = await leave(work)
                expected[study] = images

            for study, images in expected.items():
                assert await work.approved(study) == ([images] if images else []), study
                given = await source.study(http, study)
                assert all(octets in given for octets in work.images[study].values()), study
        finally:
            source.process.kill()
