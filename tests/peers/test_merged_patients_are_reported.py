"""After a merge the surviving patient's report tells of what the services still record under the old id."""

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
    RADIOLOGIST,
    StudyFiles,
    consumer_for,
    cx,
    make_known,
    permit,
    publish,
    running,
    settings_of,
    store,
    studies_in,
    trail_until,
)
from xdsi.builtin_study import write_study
from xdsi.patient import message, send
from xdsi.services import Service
from xdsi.stage import Stage

pytestmark = [pytest.mark.heavy]

SURVIVOR = "P-SURVIVES"
BY_SERVERS = {("ITI-43", "xdsi-repository"), ("RAD-69", "xdsi-imaging-source")}


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with running(tmp_path_factory.mktemp("community")) as stage:
        yield stage


@pytest.fixture(scope="module")
def study(stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> StudyFiles:
    """A study that was published for one id, merged into another, and then seen by one and refused to
    another.
    """
    write_study(stage.folder / "built-in")
    (study,) = studies_in(stage.folder / "built-in")
    asyncio.run(_merged_and_tried(stage, study, tmp_path_factory.mktemp("seen")))
    return study


async def _merged_and_tried(stage: Stage, study: StudyFiles, folder: Any) -> None:
    await make_known(stage, study.patient, SURVIVOR)
    await store(stage, [study])
    await publish(stage, study.uid)
    await permit(stage, study.patient, SURVIVOR)
    octets = message("A40", patient=cx(SURVIVOR), prior=study.patient_id)
    await send(settings_of(stage, Service.REGISTRY), "", octets)
    async with consumer_for(stage) as radiologist:
        (entry,) = await radiologist.find(cx(SURVIVOR))
        manifest = await radiologist.manifest(entry)
        got = await radiologist.retrieve(manifest, folder, patient_id=cx(SURVIVOR), via=Via.RAD69)
        assert got.instances == len(study.shared)
    async with consumer_for(stage, CLERK) as clerk:
        with pytest.raises(Rejected):
            await clerk.manifest(entry)
        got = await clerk.retrieve(manifest, folder / "clerk", patient_id=cx(SURVIVOR), via=Via.RAD69)
        assert got.instances == 0


def _reported(records: list[dict[str, Any]]) -> set[tuple[str, str, str]]:
    return {
        (record["types"][-1]["code"], record["source"], "refused" if record["refused"] else "seen")
        for record in records
    }


EXPECTED = {(*by, outcome) for by in BY_SERVERS for outcome in ("refused", "seen")}


async def test_retrievals_and_refusals_of_both_services_are_the_surviving_patient_s(
    stage: Stage, study: StudyFiles
):
    records = await trail_until(stage, lambda records: _reported(records) >= EXPECTED, patient=cx(SURVIVOR))

    assert _reported(records) >= EXPECTED


async def test_the_report_shows_each_with_the_id_under_which_it_was_recorded(stage: Stage, study: StudyFiles):
    records = await trail_until(stage, lambda records: _reported(records) >= EXPECTED, patient=cx(SURVIVOR))
    found = accesses(records)

    for manner, who in ((Manner.SAW, RADIOLOGIST), (Manner.REFUSED, CLERK)):
        for transaction, _ in BY_SERVERS:
            (access,) = [one for one in found if (one.manner, one.transaction) == (manner, transaction)]
            assert who.name_id in access.who
            assert study.patient_id in access.patients


async def test_the_report_of_the_merged_id_tells_nothing_of_the_surviving_one(
    stage: Stage, study: StudyFiles
):
    of_survivor = await trail_until(
        stage,
        lambda records: any(record["patients"] == [cx(SURVIVOR)] for record in records),
        patient=cx(SURVIVOR),
    )
    assert any(record["patients"] == [cx(SURVIVOR)] for record in of_survivor)

    of_merged = accesses(await trail_until(stage, bool, patient=study.patient_id))
    assert of_merged
    assert {patient for access in of_merged for patient in access.patients} == {study.patient_id}
