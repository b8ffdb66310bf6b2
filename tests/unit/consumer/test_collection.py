"""Sources that are gone, lie, or give a part: what is missing is known, and why; nothing else is shown."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from consumer.domain.study import Delivery, RequestedInstance
from consumer.front.collection import Collection, MissingInstance
from consumer.front.rad107 import warning_of
from consumer.settings import ConsumerSettings
from consumer.store.files import WrongInstance
from consumer.store.image_cache import ImageCache
from shared.http.client import EgressRefused
from shared.http.gate import Gate
from shared.soap.client import PeerUnclear, PeerUnreachable
from tests.support.dicom import a_ct, part10


def requested(number: int) -> RequestedInstance:
    return RequestedInstance(
        study_instance_uid="1.1",
        series_instance_uid="1.2",
        sop_instance_uid=f"1.3.{number}",
        retrieve_location_uid="1.5",
    )


class Source:
    """A consumer whose source gives what it is told to: octets, or a failure, by the last part of the UID."""

    def __init__(self, **gives: Any) -> None:
        self.gives = gives
        self.asked: list[str] = []

    async def deliveries(self, group: Sequence[RequestedInstance], folder: Path) -> AsyncIterator[Delivery]:
        for one in group:
            self.asked.append(one.sop_instance_uid)
            gives = self.gives.get(f"_{one.sop_instance_uid.rpartition('.')[2]}")
            if gives is None:
                gives = part10(
                    a_ct(StudyInstanceUID="1.1", SeriesInstanceUID="1.2", SOPInstanceUID=one.sop_instance_uid)
                )
            if isinstance(gives, RuntimeError):
                raise gives
            if isinstance(gives, Exception):
                yield Delivery(one, 0, str(gives), failure=gives)
            elif isinstance(gives, str):
                yield Delivery(one, 0, "why", gives)
            else:
                path = folder / one.file_name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(gives)
                yield Delivery(one, len(gives))


@pytest.fixture
def collection(tmp_path: Path) -> Collection:
    settings = ConsumerSettings.load(None, {}, data=tmp_path)
    cache = ImageCache(tmp_path / "images", max_bytes=2**26, max_seconds=60)
    (tmp_path / "incoming").mkdir()
    return Collection(cache, settings, tmp_path / "incoming", Gate(16), "somebody")


async def test_what_comes_is_given_in_order_and_asked_for_once(collection: Collection):
    source = Source()
    study = [requested(number) for number in range(10)]

    first, missing = await collection.fetched(source, study[3:5])
    everything, none = await collection.fetched(source, study)
    await collection.fetched(source, study)

    assert missing == none == []
    assert [one.instance.sop_instance_uid for one in first] == ["1.3.3", "1.3.4"]
    assert [one.instance.sop_instance_uid for one in everything] == [one.sop_instance_uid for one in study]
    assert sorted(source.asked) == sorted(one.sop_instance_uid for one in study)


@pytest.mark.parametrize(
    ("gives", "status", "word"),
    [
        (PeerUnreachable("http://h", "no"), 503, "cannot be reached"),
        (PeerUnclear("http://h", "no"), 502, "no answer that can be used"),
        (EgressRefused("the Retrieve URL is not of http://inside"), 502, "not among the configured peers"),
        (WrongInstance("it names another patient than its manifest"), 502, "another patient"),
        ("XDSDocumentUniqueIdError", 404, "XDSDocumentUniqueIdError"),
        ("Made-up\r\nSet-Cookie: x=http://y", 404, "not for you"),
        (b"no DICOM at all", 502, "cannot be read"),
        (RuntimeError("a mistake"), 502, "could not be fetched"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str | int) else None,
)
async def test_what_does_not_come_is_told_with_its_reason_and_the_others_are_given(
    collection: Collection, tmp_path: Path, gives: Any, status: int, word: str
):
    here, missing = await collection.fetched(Source(_1=gives), [requested(0), requested(1)])

    assert [one.instance.sop_instance_uid for one in here] == ["1.3.0"]
    ((one),) = missing
    assert one.requested == requested(1)
    assert word in one.reason
    assert "http://" not in one.reason
    assert one.problem.status == status
    await asyncio.gather(*asyncio.all_tasks() - {asyncio.current_task()})
    assert list((tmp_path / "incoming").iterdir()) == []


async def test_what_a_manifest_names_no_more_is_forgotten(collection: Collection, tmp_path: Path):
    here, _ = await collection.fetched(Source(), [requested(0)])

    collection.forget(["1.3.0"])

    assert here[0].is_gone
    assert list((tmp_path / "images").iterdir()) == []


async def test_a_warning_names_what_is_missing_and_why_in_one_line_of_a_header(collection: Collection):
    study = [requested(number) for number in range(40)]
    source = Source(**{f"_{number}": WrongInstance('it says "no"\r\nX: y') for number in range(30)})

    _, missing = await collection.fetched(source, study)
    warning = warning_of(missing)

    assert warning.startswith("30 of these images are missing: ")
    assert "1.3.0, 1.3.1" in warning
    assert warning.isprintable()
    assert '"' not in warning
    assert len(warning) < 2_000


async def test_what_arrives_is_told_as_soon_as_it_is_known(collection: Collection):
    source = Source(_1="XDSDocumentUniqueIdError", _2=PeerUnreachable("http://source", "refused"))
    study = [requested(number) for number in range(4)]
    await collection.fetched(source, study[3:])

    told = [one async for one in collection.arriving(source, study)]

    came = [one.instance.sop_instance_uid for one in told if not isinstance(one, MissingInstance)]
    missing = [one.requested.sop_instance_uid for one in told if isinstance(one, MissingInstance)]
    # What is at hand waits for nothing.
    assert came == ["1.3.3", "1.3.0"]
    assert sorted(missing) == ["1.3.1", "1.3.2"]
