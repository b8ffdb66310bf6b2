"""What consent withholds looks like absence to who asks, and is told as a refusal to the patient (14.7)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from audit_repository.domain.accesses import Manner, accesses
from consumer.imaging_document_consumer import Via
from shared.errors import Rejected
from tests.support.community import (
    CLERK,
    StudyFiles,
    consumer_for,
    make_known,
    permit,
    publish,
    running,
    store,
    studies_in,
    trail_until,
)
from xdsi.builtin_study import write_study
from xdsi.stage import Stage

pytestmark = [pytest.mark.heavy]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with running(tmp_path_factory.mktemp("community")) as stage:
        yield stage


@pytest.fixture(scope="module")
def study(stage: Stage) -> StudyFiles:
    write_study(stage.folder / "built-in")
    (study,) = studies_in(stage.folder / "built-in")
    asyncio.run(_published(stage, study))
    return study


async def _published(stage: Stage, study: StudyFiles) -> None:
    await make_known(stage, study.patient)
    await store(stage, [study])
    await publish(stage, study.uid)
    await permit(stage, study.patient)


async def told(stage: Stage, study: StudyFiles) -> list[dict[str, Any]]:
    """The records about the patient that name the clerk, once those of both sides are there."""

    def of_the_clerk(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [
            record
            for record in records
            if any(CLERK.name_id in one["user_name"] for one in record["participants"])
        ]

    def whole(records: list[dict[str, Any]]) -> bool:
        sides = {(record["types"][-1]["code"], record["source"]) for record in of_the_clerk(records)}
        return sides >= {*SERVERS.items(), *((transaction, "xdsi-consumer") for transaction in SERVERS)}

    return of_the_clerk(await trail_until(stage, whole, patient=study.patient_id))


SERVERS = {
    "ITI-18": "xdsi-registry",
    "ITI-43": "xdsi-repository",
    "RAD-69": "xdsi-imaging-source",
    "RAD-107": "xdsi-imaging-source",
}


@pytest.fixture(scope="module")
def records(
    stage: Stage, study: StudyFiles, tmp_path_factory: pytest.TempPathFactory
) -> list[dict[str, Any]]:
    """What the trail tells of a clerk who may see nothing and tries everything."""
    folder = tmp_path_factory.mktemp("clerk")

    async def tried() -> list[dict[str, Any]]:
        async with consumer_for(stage) as consumer:
            (entry,) = await consumer.find(study.patient_id)
            manifest = await consumer.manifest(entry)
        async with consumer_for(stage, CLERK) as clerk:
            assert await clerk.find(study.patient_id) == ()
            with pytest.raises(Rejected, match="not available"):
                await clerk.manifest(entry)
            for via in Via:
                got = await clerk.retrieve(manifest, folder / via, patient_id=study.patient_id, via=via)
                assert got.instances == 0
        return await told(stage, study)

    return asyncio.run(tried())


@pytest.mark.parametrize("transaction", SERVERS)
def test_who_withheld_something_tells_it_as_a_refusal_with_the_patient_and_the_reason(
    records: list[dict[str, Any]], study: StudyFiles, transaction: str
):
    of_server = [
        record
        for record in records
        if record["source"] == SERVERS[transaction] and record["types"][-1]["code"] == transaction
    ]

    assert of_server
    for record in of_server:
        assert (record["outcome"], record["refused"]) == (8, True)
        assert record["patients"] == [study.patient_id]
        assert record["description"].startswith("refused by consent: ")


async def test_refusals_are_found_as_such(stage: Stage, records: list[dict[str, Any]]):
    found = await trail_until(stage, bool, outcome="refused")

    assert {record["types"][-1]["code"] for record in found} == set(SERVERS)
    assert all(record["refused"] for record in found)


async def test_the_patient_s_report_shows_each_as_refused_once(
    stage: Stage, records: list[dict[str, Any]], study: StudyFiles
):
    whole = await trail_until(stage, bool, patient=study.patient_id)
    of_clerk = [access for access in accesses(whole) if CLERK.name_id in access.who]

    assert {access.manner for access in of_clerk} == {Manner.REFUSED}
    assert {access.transaction for access in of_clerk} == set(SERVERS)
    assert all("xdsi-consumer" in access.reported_by for access in of_clerk)
