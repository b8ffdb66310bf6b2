"""Two imaging sources with data folders of their own at one PostgreSQL and one storage, as two hosts."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from imaging_source.background.publisher import StudyWatch
from imaging_source.store.publications import find_publications
from shared.ebrim.model import AvailabilityStatus
from tests.support.databases import DatabasePlace, database_place
from tests.support.dicom import a_ct, part10
from tests.support.imaging_source import close_source, open_source
from tests.support.postgres import fresh_database, postgres_url
from tests.support.publishing_rig import PublishingRig, a_publishing_rig
from tests.support.source_process import SourceProcess, running_sources
from tests.support.storages import Storage, object_access, storage, storages
from xdsi.community import NotReady

__all__ = ["database_place", "object_access", "postgres_url", "storage", "storages"]

pytestmark = pytest.mark.peer

STUDY = "2.25.11"
STATUSES = [str(AvailabilityStatus.APPROVED), str(AvailabilityStatus.DEPRECATED)]


@pytest.fixture
async def url(postgres_url: str) -> str:
    return await fresh_database(postgres_url)


@pytest.fixture
async def http() -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(trust_env=False, timeout=60) as client:
        yield client


def hosts(folder: Path, url: str, storage: Storage, **changes: Any) -> list[SourceProcess]:
    # Manifests name the address under which all of them are reached.
    address = {"public_url": "http://127.0.0.1:8030"}
    shared = storage.settings | address | {"database_url": url} | changes
    return [SourceProcess(folder / name, **shared) for name in ("one", "two")]


def an_image(number: int, study: str = STUDY, **changes: Any) -> bytes:
    pixels = random.Random(number).randbytes(20_000)
    uid = f"2.25.{number}"
    return part10(a_ct(StudyInstanceUID=study, SOPInstanceUID=uid, EncapsulatedDocument=pixels, **changes))


async def test_what_one_host_stores_the_other_gives(tmp_path: Path, url: str, storage: Storage, http):
    one, two = hosts(tmp_path, url, storage)
    with running_sources(one, two):
        images = [an_image(1000 + number) for number in range(10)]
        for number, octets in enumerate(images):
            assert await (one, two)[number % 2].store(http, octets)

        for host in (one, two):
            content = await host.study(http, STUDY)
            assert all(octets in content for octets in images)


async def test_the_death_of_one_host_loses_nothing_and_its_start_disturbs_nobody(
    tmp_path: Path, url: str, storage: Storage, http, long: bool
):
    one, two = hosts(tmp_path, url, storage)
    acknowledged: dict[int, bytes] = {}
    ends = asyncio.Event()
    refused_by_two = 0

    async def send(host: SourceProcess, first: int) -> None:
        nonlocal refused_by_two
        number = first
        while not ends.is_set():
            number += 1
            octets = an_image(number)
            if await host.store(http, octets):
                acknowledged[number] = octets
            elif host is two:
                refused_by_two += 1
            else:
                await asyncio.sleep(0.05)

    with running_sources(one, two):
        sending = asyncio.gather(*(send(host, first) for host, first in
                                   ((one, 10_000), (one, 20_000), (two, 30_000), (two, 40_000))))  # fmt: skip
        for _ in range(20 if long else 2):
            await asyncio.sleep(random.uniform(0.3, 1.0))
            await asyncio.to_thread(one.process.kill)
            await asyncio.to_thread(one.start)
        await asyncio.sleep(0.3)
        ends.set()
        await sending

        assert refused_by_two == 0
        assert len({number // 10_000 for number in acknowledged}) == 4
        for host in (one, two):
            content = await host.study(http, STUDY)
            assert [number for number, octets in acknowledged.items() if octets not in content] == []


async def test_each_study_is_published_once_whichever_hosts_received_it(
    tmp_path: Path, url: str, storages, http
):
    storage = storages.objects()
    async with a_publishing_rig(tmp_path / "rig") as rig:
        await rig.make_known("P1")
        shared = {
            "auto_publish": True,
            "publish_delay_seconds": 1.5,
            "registry_url": rig.registry_url,
            "repository_url": rig.repository_url,
        }
        one, two = hosts(tmp_path, url, storage, **shared)
        with running_sources(one, two):
            studies = [f"2.25.9{number}" for number in range(6)]
            for number in range(24):
                study = studies[number % 6]
                host = (one, two)[(number // 6) % 2]
                assert await host.store(http, an_image(2000 + number, study))
            while True:
                approved = await manifests(rig, STATUSES[:1])
                if approved == {key: [4] for key in studies}:
                    break
                await asyncio.sleep(0.1)
            await asyncio.sleep(2)

            # A study that grew meanwhile was published again; no state of it was published twice.
            assert await manifests(rig, STATUSES[:1]) == approved
            for sizes in (await manifests(rig, STATUSES)).values():
                assert len(sizes) == len(set(sizes))


async def manifests(rig: PublishingRig, statuses: list[str]) -> dict[str, list[int]]:
    """How many images each manifest of a study names, by study."""
    found: dict[str, list[int]] = {}
    for entry in await rig.entries("P1", statuses):
        [study] = [one.partition("^")[0] for one in entry.reference_ids if one.startswith("2.25.9")]
        found.setdefault(study, []).append(len(await rig.images_of(entry)))
    return found


async def test_what_a_host_that_is_gone_received_is_published_by_another(
    tmp_path: Path, database_place: DatabasePlace, storages
):
    settings = storages.files().settings | {"publish_delay_seconds": 0.0}
    gone = await open_source(database_place, tmp_path / "gone", **settings)
    await gone.keep(a_ct())
    await close_source(gone)
    left = await open_source(database_place, tmp_path / "left", **settings)
    watch = StudyWatch(left.parts, left.service.publisher)
    watch._remembered = True
    try:
        await watch._turn()
        assert await find_publications(left.parts.database, limit=10) == []

        await watch._take_over()
        await watch._turn()

        [publication] = await find_publications(left.parts.database, limit=10)
        assert publication.study_instance_uid == STUDY
    finally:
        await close_source(left)


# --- what one process has alone ----------------------------------------------------------------------


def ended(source: SourceProcess) -> str:
    """The words by which a source refuses to start."""
    source.process.start()
    with pytest.raises(NotReady):
        source.process.wait_ready()
    assert source.process.wait_stopped() == 1
    log = source.process.log.read_text("utf-8")
    assert "Traceback" not in log
    return source.process.last_words()


async def test_a_second_process_at_a_data_folder_is_refused(tmp_path: Path, url: str):
    one, two = (SourceProcess(tmp_path / "same", database_url=url) for _ in range(2))
    with running_sources(one):
        words = ended(two)
    assert words.startswith("XDSI_DATA: ")
    assert "is used by another process; stop that one, or give this one a folder of its own" in words


async def test_a_second_sqlite_at_a_folder_of_instances_is_refused(tmp_path: Path, storages):
    shared = storages.files().settings
    one, two = (SourceProcess(tmp_path / name, **shared) for name in ("one", "two"))
    with running_sources(one):
        words = ended(two)
    assert words.startswith("XDSI_STORAGE_URL: ")
    assert "several share one on PostgreSQL alone" in words


async def test_a_source_whose_instances_are_elsewhere_is_refused(tmp_path: Path, storages):
    before = await open_source(
        DatabasePlace(url=None, folder=tmp_path / "one" / "db", name="x"), tmp_path / "one" / "data"
    )
    await before.keep(a_ct())
    await close_source(before)

    words = ended(SourceProcess(tmp_path / "one", **storages.files().settings))

    assert words.startswith("XDSI_STORAGE_URL: instances are kept in ")
    assert "XDSI_IMAGING_SOURCE__STORAGE_URL" in words
