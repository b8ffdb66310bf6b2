"""Damage of stored documents: never served, recorded, repaired from the replica; and the scrub that looks."""

from __future__ import annotations

import asyncio
import os
import random
import time
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest

from repository.app import Repository
from repository.background.janitor import Janitor
from repository.maintenance.scrub import scrub
from repository.store.files import FileBlobs
from repository.store.integrity import Integrity
from repository.transactions import iti41, iti43
from shared.audit.events import AuditEvent, Outcome
from shared.audit.recorder import AuditUnavailable
from shared.errors import Actor
from shared.http.checked import StoreUnavailable
from shared.http.client import http_client
from shared.http.raw_asgi import BodyBroken
from shared.messages.documents import DocumentRequest
from shared.messages.iti43 import RetrieveDocumentSetRequest
from shared.store.scrub import Finding, RateLimit, Report
from tests.support.blobs import kept as kept_in
from tests.support.blobs import octets_of
from tests.support.metadata import a_document_entry, a_submission
from tests.support.waiting import until
from tests.transactions.repository.conftest import PROVIDER, House

LARGE = os.urandom(5 * 1024 * 1024)


class Trail:
    """Keeps events as a recorder does."""

    def __init__(self) -> None:
        self.events: list[AuditEvent] = []

    async def record(self, events) -> None:
        self.events += events


@pytest.fixture
def trail(house: House) -> Trail:
    trail = Trail()
    house.parts = replace(house.parts, integrity=Integrity(house.parts.blobs, None, trail))
    return trail


@pytest.fixture
def replica(house: House, trail: Trail, tmp_path: Path) -> FileBlobs:
    replica = FileBlobs(tmp_path / "replica")
    house.parts = replace(house.parts, integrity=Integrity(house.parts.blobs, replica, trail))
    return replica


async def kept(house: House, octets: bytes) -> str:
    entry = a_document_entry(hash="", size=None, repository_unique_id="")
    caller = replace(PROVIDER, message_id="")
    await iti41.handle(house.unit(caller), house.request(a_submission(entry), a=octets))
    return entry.unique_id


async def retrieve(house: House, unique_id: str):
    ours = house.parts.settings.repository_unique_id
    asked = DocumentRequest(repository_unique_id=ours, document_unique_id=unique_id)
    return await iti43.handle(house.unit(), RetrieveDocumentSetRequest(documents=(asked,)))


def blobs_of(house: House) -> list[Path]:
    return sorted(one for one in (house.parts.settings.folder / "blobs").rglob("*") if one.is_file())


def flip_a_bit(path: Path) -> None:
    octets = bytearray(path.read_bytes())
    octets[random.randrange(len(octets))] ^= 1 << random.randrange(8)
    path.write_bytes(octets)


async def test_damage_is_not_served_but_recorded_once(house: House, trail: Trail):
    unique_id = await kept(house, b"the bytes")
    [blob] = blobs_of(house)
    flip_a_bit(blob)

    for _ in range(3):
        response = await retrieve(house, unique_id)
        assert [error.code_for(Actor.REPOSITORY) for error in response.errors] == ["XDSRepositoryError"]

    [event] = trail.events
    assert (event.event_id.code, event.outcome) == ("110113", Outcome.SERIOUS_FAILURE)
    assert [one.object_id for one in event.objects] == [f"urn:sha256:{blob.name}"]


@pytest.mark.parametrize("harm", [flip_a_bit, Path.unlink, lambda path: path.write_bytes(b"")])
async def test_damage_is_repaired_from_the_replica_and_recorded(house: House, trail, replica, harm):
    unique_id = await kept(house, b"the bytes")
    await kept_in(replica, b"the bytes")
    [blob] = blobs_of(house)
    harm(blob)

    response = await retrieve(house, unique_id)

    assert octets_of(response.documents[0].content) == b"the bytes"
    assert blob.read_bytes() == b"the bytes"
    assert [event.outcome for event in trail.events] == [Outcome.MINOR_FAILURE]
    assert list(house.parts.blobs.incoming.glob("adopted-*")) == []


async def test_a_replica_that_is_damaged_too_repairs_nothing(house: House, trail, replica):
    unique_id = await kept(house, b"the bytes")
    await kept_in(replica, b"the bytes")
    for path in [*blobs_of(house), *(one for one in replica._root.rglob("*") if one.is_file())]:
        flip_a_bit(path)

    assert (await retrieve(house, unique_id)).documents == ()
    assert [event.outcome for event in trail.events] == [Outcome.SERIOUS_FAILURE]


async def test_damage_that_shows_while_it_is_sent_breaks_the_answer_and_is_mended(
    house: House, trail, replica
):
    unique_id = await kept(house, LARGE)
    await kept_in(replica, LARGE)
    flip_a_bit(blobs_of(house)[0])
    house.parts.integrity.watch(house.parts.database)

    first = await retrieve(house, unique_id)
    with pytest.raises(BodyBroken):
        await asyncio.to_thread(octets_of, first.documents[0].content)
    await until(lambda: bool(trail.events))
    await house.parts.integrity.close()

    second = await retrieve(house, unique_id)
    assert octets_of(second.documents[0].content) == LARGE
    assert [event.outcome for event in trail.events] == [Outcome.MINOR_FAILURE]


async def test_a_large_document_is_compared_when_its_file_was_touched_since_it_was_hashed(
    house: House, trail: Trail
):
    unique_id = await kept(house, LARGE)
    assert not isinstance((await retrieve(house, unique_id)).documents[0].content, tuple)

    blobs_of(house)[0].touch()
    assert isinstance((await retrieve(house, unique_id)).documents[0].content, tuple)
    assert octets_of((await retrieve(house, unique_id)).documents[0].content) == LARGE

    content = (await retrieve(house, unique_id)).documents[0].content
    assert not isinstance(content, tuple)

    flip_a_bit(blobs_of(house)[0])
    with pytest.raises(BodyBroken):
        octets_of((await retrieve(house, unique_id)).documents[0].content)


async def scrubbed(house: House) -> Report:
    report = Report()
    parts = house.parts
    async for sha256, size, finding in scrub(parts.database, parts.blobs, parts.integrity):
        report.add(sha256, size, finding)
    return report


async def test_the_scrub_finds_every_flipped_bit(house: House, trail: Trail, long: bool):
    number = 1_000 if long else 30
    for index in range(number):
        await kept(house, random.Random(index).randbytes(200))
    harmed = blobs_of(house)[::2]
    for blob in harmed:
        flip_a_bit(blob)

    report = await scrubbed(house)

    assert not report.clean
    assert report.counts[Finding.DAMAGED] == len(harmed)
    assert sorted(sha256 for sha256, _ in report.not_whole) == [blob.name for blob in harmed]
    assert report.counts[Finding.WHOLE] == number - len(harmed)
    assert len(trail.events) == len(harmed)


async def test_every_flipped_bit_is_found_when_its_document_is_asked_for(
    house: House, trail: Trail, long: bool
):
    number = 1_000 if long else 30
    unique_ids = [await kept(house, random.Random(index).randbytes(200)) for index in range(number)]
    for blob in blobs_of(house):
        flip_a_bit(blob)

    for unique_id in unique_ids:
        response = await retrieve(house, unique_id)
        assert response.documents == ()

    assert {one.object_id for event in trail.events for one in event.objects} == {
        f"urn:sha256:{blob.name}" for blob in blobs_of(house)
    }
    assert len(trail.events) == number


async def test_the_scrub_repairs_from_the_replica(house: House, trail, replica):
    for octets in (b"1", b"2", b"3"):
        await kept(house, octets)
        await kept_in(replica, octets)
    flip_a_bit(blobs_of(house)[1])

    assert (await scrubbed(house)).counts[Finding.REPAIRED] == 1
    assert (await scrubbed(house)).counts == {**dict.fromkeys(Finding, 0), Finding.WHOLE: 3}


async def test_the_service_scrubs_by_itself_and_shows_what_it_found(house: House, trail: Trail):
    for number in range(5):
        await kept(house, f"document {number}".encode())
    damaged = blobs_of(house)[2]
    flip_a_bit(damaged)
    settings = house.parts.settings.model_copy(update={"scrub_days": 30.0})
    house.parts = replace(house.parts, settings=settings)
    async with http_client(settings.tls, peers=()) as peers:
        service = Repository(house.parts, peers)
        [work] = service._scrubbing.works
        await service._scrubbing.start()
        await until(lambda: bool(work.last_success))
        await service._scrubbing.stop()
        async with httpx2.AsyncClient(
            transport=httpx2.ASGITransport(service.asgi), base_url="http://test"
        ) as http:
            metrics = (await http.get("/metrics")).text

    assert [one.object_id for event in trail.events for one in event.objects] == [
        f"urn:sha256:{damaged.name}"
    ]
    assert "xdsi_scrub_damaged 1.0" in metrics
    assert "xdsi_scrub_ended_timestamp_seconds 0.0" not in metrics


async def test_a_rate_is_kept():
    limit = RateLimit(1_000_000)
    began = time.monotonic()
    for _ in range(3):
        limit(100_000)
    assert time.monotonic() - began >= 0.29


@pytest.mark.parametrize(
    "failure", [StoreUnavailable("ab"), OSError("no"), AuditUnavailable("full"), ValueError("a mistake")]
)
async def test_the_sweep_goes_on_after_whatever_went_wrong(house: House, monkeypatch, failure: Exception):
    monkeypatch.setattr("repository.background.janitor._SWEEP_SECONDS", 0.01)
    swept = 0

    async def sweep(referenced, *, grace_seconds: float) -> int:
        nonlocal swept
        swept += 1
        if swept == 1:
            raise failure
        return 0

    monkeypatch.setattr(house.parts.blobs, "sweep", sweep)
    janitor = Janitor(house.parts)
    await janitor.start()
    try:
        await until(lambda: swept >= 2)
    finally:
        await janitor.stop()
