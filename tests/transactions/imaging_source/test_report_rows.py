"""What is kept of reports, on either database: versions, cancellations, and what is looked at again."""

from __future__ import annotations

import pytest

from imaging_source.domain.imaging_reports import ReportObstacle, ReportState
from imaging_source.store import imaging_reports
from imaging_source.store.outbox import lease
from imaging_source.store.publications import find_publications, now_ms
from imaging_source.transactions import report_publishing
from imaging_source.transactions.rad13 import OrderReceiver
from imaging_source.transactions.rad68 import provide, publish
from shared.security.caller import Node
from tests.support.databases import database_place, postgres_url
from tests.support.dicom import a_ct
from tests.support.imaging_source import either_source, source
from tests.support.orders import encapsulated, mdm, oru
from tests.support.reports import a_pdf

__all__ = ["database_place", "either_source", "postgres_url", "source"]

STUDY, OURS = "2.25.11", "P1^^^NORTH"


async def says(source, *messages: bytes) -> None:
    receiver = OrderReceiver(parts=source.parts, host="source.example")
    for octets in messages:
        assert b"\rMSA|AA|" in await receiver.acknowledge(octets, Node(address="127.0.0.1"))


async def rows(source, **question):
    return await imaging_reports.find_reports(source.parts.database, **question)


async def look(source) -> None:
    for row in await imaging_reports.find_due(source.parts.database, now_ms()):
        await report_publishing.look(source.parts, row)


async def test_a_report_waits_is_sent_and_is_settled(either_source):
    await says(either_source, oru(patient=OURS))
    await look(either_source)
    assert [one.obstacle for one in await rows(either_source)] == [ReportObstacle.NO_STUDY]
    counted = await imaging_reports.count_open(either_source.parts.database)
    assert counted == imaging_reports.OpenReports(waiting=1)

    await either_source.keep(a_ct())
    await publish(either_source.parts, STUDY)
    [leased] = await lease(either_source.parts.database, most=1)
    await provide(either_source.parts, leased)
    for _ in range(3):
        await look(either_source)

    [row] = await rows(either_source, study_instance_uid=STUDY)
    assert (row.state, row.due, row.beside) == (ReportState.PUBLISHED, None, STUDY)
    [manifest] = await find_publications(either_source.parts.database, study_instance_uid=STUDY)
    assert row.appended_to == manifest.entry_uuid


async def test_what_a_person_has_to_decide_about_is_found_and_counted_apart(either_source):
    database = either_source.parts.database
    await says(
        either_source,
        *(
            oru(patient=OURS, study=f"2.25.{number}", control_id=f"C{number}", filler=f"FO-{number}")
            for number in range(6)
        ),
    )
    _waiting, passing, aside, refused, published, withdrawn = await rows(either_source)
    obstacle = {"obstacle": ReportObstacle.OTHER_PATIENT}

    async def decided(transaction) -> None:
        for row, values in (
            (passing, {"obstacle": ReportObstacle.NO_STUDY}),
            (aside, obstacle),
            (refused, {"state": ReportState.REFUSED}),
            (published, {"state": ReportState.PUBLISHED}),
            (withdrawn, {"state": ReportState.WITHDRAWN} | obstacle),
        ):
            await imaging_reports.change(transaction, row.report_id, now_ms(), **values)

    await database.write(decided)

    undecided = await imaging_reports.find_for_persons(database, limit=10)
    assert {row.report_id for row in undecided} == {aside.report_id, refused.report_id}
    assert len(await imaging_reports.find_for_persons(database, limit=1)) == 1
    assert [row.needs_person for row in await rows(either_source)].count(True) == 2
    assert await imaging_reports.count_open(database) == imaging_reports.OpenReports(
        waiting=3, refused=1, for_persons=2
    )


async def test_a_study_lets_its_reports_be_looked_at_whatever_names_it(either_source):
    await either_source.keep(a_ct(AccessionNumber="ACC1001"))
    await says(
        either_source,
        oru(patient=OURS),
        oru(patient=OURS, study="", accession="ACC1001", control_id="C2", filler="FO-2"),
        oru(patient=OURS, study="2.25.99", control_id="C3", filler="FO-3"),
    )
    for row in await rows(either_source):
        await report_publishing.later(either_source.parts, row)

    await either_source.parts.database.write(
        lambda transaction: imaging_reports.look_again(transaction, STUDY, 7)
    )

    looked_at = {
        one.study_instance_uid or one.accession_number: one.due == 7 for one in await rows(either_source)
    }
    assert looked_at == {STUDY: True, "ACC1001": True, "2.25.99": False}


async def test_versions_of_a_report_have_one_that_counts(either_source):
    first, second = (encapsulated(a_pdf(word)) for word in ("One", "Two"))
    await says(
        either_source,
        oru(patient=OURS, observations=[first]),
        oru("C", patient=OURS, control_id="C2", observations=[second]),
        oru(patient=OURS, control_id="C3", observations=[first]),
        oru("P", patient=OURS, control_id="C4", observations=[first]),
    )

    states = {one.serial: one.state for one in await rows(either_source)}
    assert states == {1: ReportState.REPLACED, 2: ReportState.WAITING}


async def test_of_a_correction_with_fewer_documents_the_others_are_no_more(either_source):
    both = [encapsulated(a_pdf("One")), encapsulated(a_pdf("Two"))]
    await says(
        either_source,
        oru(patient=OURS, observations=both),
        oru("C", patient=OURS, control_id="C2", observations=[encapsulated(a_pdf("Three"))]),
    )

    waiting = await rows(either_source, states=[ReportState.WAITING])
    assert [(one.part, one.serial) for one in waiting] == [(1, 2)]
    assert [one.part for one in await rows(either_source, states=[ReportState.WITHDRAWN])] == [2]


async def test_a_document_is_known_by_each_of_its_numbers(either_source):
    numbers = {"number": "56^RM^2.999.14^ISO", "parent": "55^RM^2.999.14^ISO"}
    await says(
        either_source,
        mdm(patient=OURS),
        mdm("T10", patient=OURS, control_id="C2", observation=encapsulated(a_pdf("Two")), **numbers),
        mdm("T11", patient=OURS, control_id="C3"),
    )

    assert {one.state for one in await rows(either_source)} == {ReportState.REPLACED, ReportState.WITHDRAWN}


async def test_what_waits_for_an_erased_study_is_forgotten(either_source):
    await either_source.keep(a_ct(AccessionNumber="ACC1001"))
    await says(either_source, oru(patient=OURS, study="", accession="ACC1001"))

    await imaging_reports.erase(either_source.parts.database, STUDY)

    assert await rows(either_source) == []


@pytest.mark.parametrize("observation", [encapsulated(a_pdf("x" * 200_000))])
async def test_a_long_report_is_read_beside_the_loop_and_kept(source, observation: str):
    await says(source, oru(patient=OURS, observations=[observation]))

    [row] = await rows(source)
    document, _ = await imaging_reports.find_bytes(source.parts.database, row.report_id)
    assert document == a_pdf("x" * 200_000)
