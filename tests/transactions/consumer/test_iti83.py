"""Who a patient is in the own hospital is asked of its PIX manager (IHE PIXm 3.1.0, ITI-83)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from consumer.imaging_document_consumer import ImagingDocumentConsumer
from consumer.settings import ConsumerSettings
from shared.audit.events import Outcome
from shared.settings import SettingsError
from shared.soap.client import PeerError, PeerUnreachable
from tests.support.pix_manager import OTHER_SYSTEM, SYSTEM, PixManager, pix_manager
from tests.transactions.consumer.test_retrieval import Remembered, a_consumer, recorder

__all__ = ["recorder"]

PATIENT = "P-1001^^^&2.999.1.1&ISO"
SOURCE = "urn:oid:2.999.1.1|P-1001"
DOMAIN = SYSTEM.removeprefix("urn:oid:")


@pytest.fixture
def manager() -> Iterator[PixManager]:
    with pix_manager() as started:
        yield started


@pytest.fixture
def asking(tmp_path: Path, recorder: Remembered, manager: PixManager) -> ImagingDocumentConsumer:
    return a_consumer(tmp_path, recorder, peers=(manager.url,), pix_url=f"{manager.url}/", pix_domain=DOMAIN)


async def test_the_only_id_of_the_own_domain_is_told(asking: ImagingDocumentConsumer, manager: PixManager):
    manager.known[SOURCE] = [(OTHER_SYSTEM, "X-9"), (SYSTEM, "L-77")]

    assert await asking.local_ids(PATIENT) == ("L-77",)
    assert manager.asked == [{"sourceIdentifier": [SOURCE], "targetSystem": [SYSTEM]}]


async def test_several_ids_are_told_each_once(asking: ImagingDocumentConsumer, manager: PixManager):
    manager.known[SOURCE] = [(SYSTEM, "L-77"), (SYSTEM, "L-78"), (SYSTEM, "L-77")]

    assert await asking.local_ids(PATIENT) == ("L-77", "L-78")


@pytest.mark.parametrize("known", [None, [], [(OTHER_SYSTEM, "X-9")]])
async def test_whom_the_manager_does_not_know_here_has_no_id(
    asking: ImagingDocumentConsumer, manager: PixManager, known: list[tuple[str, str]] | None
):
    if known is not None:
        manager.known[SOURCE] = known

    assert await asking.local_ids(PATIENT) == ()


async def test_an_id_with_delimiters_is_asked_for_as_it_is(
    asking: ImagingDocumentConsumer, manager: PixManager
):
    manager.known["urn:oid:2.999.1.1|A&B+C"] = [(SYSTEM, "L-1")]

    assert await asking.local_ids("A\\T\\B+C^^^&2.999.1.1&ISO") == ("L-1",)


@pytest.mark.parametrize(
    "answer",
    [
        (200, b"no JSON"),
        (200, b"[" * 100_000),
        (200, b'{"resourceType": "Bundle"}'),
        (200, b'{"resourceType": "Parameters", "parameter": [], "x": "' + b"x" * 1024**2 + b'"}'),
        (302, b""),
        (400, b"{}"),
        (401, b"{}"),
        (403, b"{}"),
        (500, b""),
    ],
    ids=["no JSON", "deep", "another resource", "endless", "elsewhere", "400", "401", "403", "500"],
)
async def test_an_answer_that_cannot_be_used_is_no_id(
    asking: ImagingDocumentConsumer, manager: PixManager, recorder: Remembered, answer: tuple[int, bytes]
):
    manager.answer = answer

    with pytest.raises(PeerError):
        await asking.local_ids(PATIENT)
    assert [one.outcome for one in recorder.events] == [Outcome.SERIOUS_FAILURE]


@pytest.mark.parametrize(
    "parameter",
    [
        "text",
        ["text", None, {}, {"name": "targetIdentifier"}],
        [{"name": "targetIdentifier", "valueIdentifier": "L-1"}],
        [{"name": "targetIdentifier", "valueIdentifier": {"system": SYSTEM, "value": 7}}],
        [{"name": "targetIdentifier", "valueIdentifier": {"system": SYSTEM, "value": "  "}}],
        [{"name": "targetIdentifier", "valueIdentifier": {"value": "L-1"}}],
    ],
)
async def test_what_is_no_identifier_of_the_domain_is_no_id(
    asking: ImagingDocumentConsumer, manager: PixManager, parameter: object
):
    manager.answer = (200, json.dumps({"resourceType": "Parameters", "parameter": parameter}).encode())

    assert await asking.local_ids(PATIENT) == ()


async def test_the_question_stands_in_the_trail_with_whom_it_was_about(
    asking: ImagingDocumentConsumer, recorder: Remembered
):
    await asking.local_ids(PATIENT)

    (event,) = recorder.events
    assert [one.code for one in event.event_types] == ["ITI-83"]
    assert event.outcome is Outcome.SUCCESS
    assert PATIENT in {one.object_id for one in event.objects}


async def test_a_manager_that_is_away_is_told(tmp_path: Path, recorder: Remembered):
    with pix_manager() as gone:
        url = gone.url
    consumer = a_consumer(tmp_path, recorder, peers=(url,), pix_url=url, pix_domain=DOMAIN)

    with pytest.raises(PeerUnreachable):
        await consumer.local_ids(PATIENT)


async def test_without_a_manager_nobody_is_asked(tmp_path: Path, recorder: Remembered):
    with pytest.raises(SettingsError):
        await a_consumer(tmp_path, recorder).local_ids(PATIENT)


@pytest.mark.parametrize("half", [{"pix_url": "http://127.0.0.1:1/fhir"}, {"pix_domain": DOMAIN}])
def test_half_of_the_settings_is_refused(tmp_path: Path, half: dict[str, str]):
    with pytest.raises(SettingsError, match="set both"):
        ConsumerSettings.load(environ={}, data=tmp_path, **half)
