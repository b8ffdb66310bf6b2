"""Procedure Updated [RAD-13] and Patient Update [RAD-12]: what messages of the department lead to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace

import pytest

from imaging_source.background import publisher
from imaging_source.background.corrections import PatientCorrections
from imaging_source.background.department_messages import DepartmentMessages
from imaging_source.background.publisher import Publisher, StudyWatch
from imaging_source.background.report_publisher import ReportPublisher
from imaging_source.domain.drift import Drift
from imaging_source.domain.orders import OrderState
from imaging_source.domain.publishing_rules import Trigger
from imaging_source.store.drift import find_reports
from imaging_source.store.orders import find_corrected, find_order
from imaging_source.store.outbox import lease
from imaging_source.store.publications import find_publications
from imaging_source.transactions import unpublished
from imaging_source.transactions.rad13 import OrderReceiver
from imaging_source.transactions.rad68 import provide
from shared.audit.events import Outcome
from shared.hl7v2.mllp import framed
from shared.security.caller import Node
from shared.telemetry.metrics import Metrics
from tests.support.databases import database_place, postgres_url
from tests.support.dicom import a_ct
from tests.support.imaging_source import Source, cx, either_source, source
from tests.support.orders import adt, mdm, omi, orm, oru

__all__ = ["database_place", "either_source", "postgres_url", "source"]

STUDY = "2.25.11"
OURS = "P1^^^NORTH"
HERE = Node(address="127.0.0.1")


@dataclass
class Department:
    """A source that takes messages, and a study watch that is turned by hand."""

    source: Source
    watch: StudyWatch
    receiver: OrderReceiver
    corrected: list[str] = field(default_factory=list)

    async def says(self, octets: bytes, node: Node = HERE) -> str:
        return (await self.receiver.acknowledge(octets, node)).decode()

    async def published(self) -> set[str]:
        await self.watch._turn()
        found = await find_publications(self.source.parts.database)
        return {one.study_instance_uid for one in found}


def a_department(source: Source, **publishing) -> Department:
    settings = source.parts.settings
    changed = settings.publishing.model_copy(update=publishing)
    updates = {"publish_delay_seconds": 900.0, "auto_publish": True, "publishing": changed}
    source.service.parts = replace(source.parts, settings=settings.model_copy(update=updates))
    watch = StudyWatch(source.parts, Publisher(source.parts))
    receiver = OrderReceiver(parts=source.parts, host="source.example", completed=watch.completed)
    return Department(source, watch, receiver)


async def a_published_study(source: Source, department: Department) -> None:
    """A study whose manifest is registered, and that does not grow any more."""
    await source.keep(a_ct())
    await department.says(orm(patient=OURS))
    await department.published()
    [leased] = await lease(source.parts.database, most=1)
    await provide(source.parts, leased)
    settings = source.parts.settings.model_copy(update={"publish_delay_seconds": 0.0})
    source.service.parts = replace(source.parts, settings=settings)


async def test_a_completed_order_publishes_its_study_at_once(either_source):
    department = a_department(either_source)
    await either_source.keep(a_ct())
    assert await department.published() == set(), "it grows"

    assert "\rMSA|AA|C1\r" in await department.says(orm(patient=OURS))

    assert await department.published() == {STUDY}


async def test_a_study_is_found_by_its_accession_number_too(source):
    department = a_department(source)
    await source.keep(a_ct(AccessionNumber="ACC1001"))

    await department.says(omi(study="", patient=OURS))

    assert await department.published() == {STUDY}


async def test_of_two_studies_of_one_accession_number_the_one_that_is_named_is_meant(source):
    department = a_department(source)
    other = a_ct(StudyInstanceUID="2.25.21", SOPInstanceUID="2.25.23", AccessionNumber="ACC1001")
    await source.keep(a_ct(AccessionNumber="ACC1001"), other)

    await department.says(omi("CA", "CA", patient=OURS))

    assert await find_order(source.parts.database, STUDY) is OrderState.CANCELLED
    assert await find_order(source.parts.database, "2.25.21") is None


async def test_a_cancelled_order_keeps_its_study_from_being_published(source):
    department = a_department(source)
    source.service.parts = replace(
        source.parts, settings=source.parts.settings.model_copy(update={"publish_delay_seconds": 0.0})
    )
    watch = StudyWatch(source.parts, Publisher(source.parts))
    await source.keep(a_ct())
    await department.says(orm("CA", "CA", patient=OURS))

    await watch._turn()

    assert await find_publications(source.parts.database) == []
    assert "its order is cancelled; xdsi publish publishes it" in await unpublished.reason(
        source.parts, STUDY
    )


async def test_a_study_that_is_published_and_whose_order_is_cancelled_is_told_to_a_person(source):
    department = a_department(source)
    await a_published_study(source, department)

    await department.says(orm("CA", "CA", patient=OURS, control_id="C2"))
    await PatientCorrections(source.parts, Publisher(source.parts)).turn()

    reports = await find_reports(source.parts.database, [STUDY])
    assert reports[STUDY].kinds == (Drift.ORDER_CANCELLED,)
    assert reports[STUDY].needs_person
    assert "xdsi publish STUDY_UID --withdraw" in Drift.ORDER_CANCELLED.explanation


async def test_an_order_is_remembered_until_its_study_comes(source, monkeypatch):
    monkeypatch.setattr(publisher, "_PAUSE_SECONDS", 0.0)
    department = a_department(source, after=Trigger.ORDER)
    watch = StudyWatch(source.parts, Publisher(source.parts))
    watch._delay = 0.0

    assert "MSA|AA" in await department.says(orm(patient=OURS)), "a study that is not there yet is normal"
    await source.keep(a_ct())
    await watch._turn()

    assert {one.study_instance_uid for one in await find_publications(source.parts.database)} == {STUDY}


async def test_a_study_waits_for_its_order_where_it_shall(source):
    department = a_department(source, after=Trigger.ORDER)
    await source.keep(a_ct())
    await department.says(orm("NW", "SC", patient=OURS))

    told = await unpublished.awaited_event(source.parts, STUDY)

    assert told.startswith("no message said yet that its order is completed")


async def test_a_report_publishes_its_study_which_waits_for_nothing_less_where_it_shall(either_source):
    department = a_department(either_source, after=Trigger.REPORT)
    await either_source.keep(a_ct(AccessionNumber="ACC1001"))
    await department.says(orm(patient=OURS))
    assert await department.published() == set(), "it is completed, and not reported"
    told = await unpublished.awaited_event(either_source.parts, STUDY)
    assert told.startswith("no final report of it came yet")

    await department.says(mdm(patient=OURS, control_id="C2"))

    assert await department.published() == {STUDY}


async def test_a_status_that_comes_after_the_report_takes_nothing_back(source):
    department = a_department(source, after=Trigger.REPORT)
    await source.keep(a_ct())
    await department.says(oru(patient=OURS))
    await department.says(orm(patient=OURS, control_id="C2"))
    assert await find_order(source.parts.database, STUDY) is OrderState.REPORTED

    await department.says(orm("CA", "CA", patient=OURS, control_id="C3"))

    assert await find_order(source.parts.database, STUDY) is OrderState.CANCELLED


async def test_a_report_of_another_patient_publishes_nothing(source):
    department = a_department(source)
    await source.keep(a_ct())

    answer = await department.says(oru(patient="P2^^^NORTH"))

    assert "\rMSA|AA|C1\r" in answer, "it is kept, and set aside"
    assert await department.published() == set()


async def test_an_order_that_names_another_patient_is_refused(source):
    department = a_department(source)
    await source.keep(a_ct())

    answer = await department.says(orm(patient="P2^^^NORTH"))

    assert "\rMSA|AE|C1|the study is of another patient than PID-3 names" in answer
    assert "\rERR|PID-3^^^204&" in answer
    assert await department.published() == set()
    assert await find_order(source.parts.database, STUDY) is None


async def test_an_order_that_was_remembered_for_another_patient_says_nothing_of_a_study(source):
    department = a_department(source)
    await department.says(orm("CA", "CA", patient="P2^^^NORTH"))
    await source.keep(a_ct())

    assert await find_order(source.parts.database, STUDY) is None


async def test_the_last_message_counts(source):
    department = a_department(source)
    await source.keep(a_ct())
    await department.says(orm("CA", "CA", patient=OURS))
    await department.says(orm("XO", "SC", patient=OURS, control_id="C2"))

    assert await find_order(source.parts.database, STUDY) is OrderState.OPEN


async def test_a_message_that_comes_again_is_answered_as_before_and_does_nothing_twice(either_source):
    department = a_department(either_source)
    await either_source.keep(a_ct())
    first = await department.says(orm("CA", "CA", patient=OURS))
    await department.says(orm("XO", "SC", patient=OURS, control_id="C2"))

    assert await department.says(orm("CA", "CA", patient=OURS)) == first

    assert await find_order(either_source.parts.database, STUDY) is OrderState.OPEN


async def test_a_stranger_learns_nothing(source):
    department = a_department(source)
    await source.keep(a_ct())

    answers = {
        (await department.says(orm(patient=patient), Node(address="192.0.2.9"))).partition("\rMSA|")[2]
        for patient in (OURS, "P2^^^NORTH", "")
    }

    [answer] = answers
    assert answer.startswith("AR|C1|this node may not use RAD-13 here")
    assert await department.published() == set()


async def test_each_message_is_recorded(source):
    department = a_department(source)
    await source.keep(a_ct())
    source.recorder.taken()

    await department.says(orm(patient=OURS))
    [procedure] = source.recorder.taken()
    await department.says(adt("A40", patient=OURS, prior="P2^^^NORTH", control_id="C2"))
    subsumed, survivor = source.recorder.taken()
    await department.says(orm(patient="P2^^^NORTH", control_id="C3"))
    [refused] = source.recorder.taken()

    assert procedure.event_id.code == "110111"
    assert [one.object_id for one in procedure.objects] == ["P1^^^NORTH", STUDY]
    assert (subsumed.action, survivor.action) == ("D", "U")
    assert subsumed.objects[0].object_id == "P2^^^NORTH"
    assert refused.outcome is Outcome.SERIOUS_FAILURE


async def test_manifests_of_a_patient_who_was_merged_are_compared_with_the_registry_at_once(source):
    department = a_department(source)
    await source.keep(a_ct(StudyInstanceUID="2.25.21", SOPInstanceUID="2.25.23", PatientID="P3"))
    await a_published_study(source, department)

    await department.says(adt("A40", patient="P9^^^NORTH", prior=OURS, control_id="C2"))
    due = await find_corrected(source.parts.database, department.receiver.now())
    await PatientCorrections(source.parts, Publisher(source.parts)).turn()

    assert [study for study, _ in due] == [STUDY]
    assert {patient for patient, _ in source.registry.asked} == {cx("P1")}
    assert await find_corrected(source.parts.database, department.receiver.now()) == [], "looked at"


async def test_a_manifest_is_not_forgotten_while_the_registry_is_away(source):
    department = a_department(source)
    await a_published_study(source, department)
    source.registry.away = True

    await department.says(adt("A08", patient=OURS, control_id="C2"))
    await PatientCorrections(source.parts, Publisher(source.parts)).turn()

    assert len(await find_corrected(source.parts.database, department.receiver.now())) == 1


async def test_messages_come_by_mllp(source):
    parts = source.parts
    source.service.parts = replace(
        parts, settings=parts.settings.model_copy(update={"hl7_port": 0, "auto_publish": True})
    )
    await source.keep(a_ct())
    own = Publisher(source.parts)
    watch = StudyWatch(source.parts, own)
    reports = ReportPublisher(source.parts, Metrics("imaging_source"))
    messages = DepartmentMessages(source.parts, own, watch, reports, source.service.node_refused)
    await messages.start()
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", messages.port)
        writer.write(framed(orm(patient=OURS)) + framed(b"nonsense"))
        taken, refused = [await reader.readuntil(b"\x1c\r") for _ in range(2)]
        writer.close()
        await writer.wait_closed()
    finally:
        await messages.stop()

    assert b"\rMSA|AA|C1\r" in taken
    assert b"\rMSA|AR|" in refused
    await watch._turn()
    assert len(await find_publications(source.parts.database)) == 1


@pytest.fixture
async def silent(source) -> AsyncIterator[DepartmentMessages]:
    own = Publisher(source.parts)
    reports = ReportPublisher(source.parts, Metrics("imaging_source"))
    messages = DepartmentMessages(
        source.parts, own, StudyWatch(source.parts, own), reports, source.service.node_refused
    )
    await messages.start()
    yield messages
    await messages.stop()


async def test_nobody_listens_without_a_port(silent):
    assert (silent.port, silent.works) == (None, [])
