"""Reports that are registered beside a manifest are compared with the registry by the drift watch: what
others did to their entries (ITI-57, ITI-62, ITI-44) is followed, or told to whoever has to decide."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from imaging_source.background.drift_watch import DriftWatch
from imaging_source.background.publisher import Publisher
from imaging_source.domain.drift import ReportDrift
from imaging_source.domain.imaging_reports import ReportObstacle, ReportState
from imaging_source.store import imaging_reports
from imaging_source.transactions import drift, rad68, report_drift
from imaging_source.transactions.report_requests import ReportRequest, retry, withdraw
from imaging_source.unit import Unit
from shared.ebrim.model import AssociationType
from shared.security.caller import Caller
from shared.telemetry.metrics import Metrics
from tests.support.imaging_source import cx
from tests.support.orders import encapsulated, mdm, oru
from tests.support.publishing_rig import a_publishing_rig
from tests.support.reports import a_pdf
from tests.transactions.imaging_source.test_reports import HERE, OURS, STUDY, Department, a_department


@pytest.fixture
async def department(tmp_path) -> AsyncIterator[Department]:
    async with a_publishing_rig(tmp_path, publish_delay_seconds=0) as rig:
        for patient in ("P1", "P2"):
            await rig.make_known(patient)
        department = a_department(rig)
        await department.publish()
        await department.sends(oru(patient=OURS, observations=[encapsulated(a_pdf())]))
        yield department


async def examined(department: Department) -> tuple[ReportDrift, ...]:
    """What a turn of the watch finds of the reports; what comes of it is done."""
    parts = department.rig.source.parts
    await drift.examine(parts, STUDY)
    kinds = await report_drift.examine(parts, STUDY)
    await department.settle()
    return kinds


async def decided(department: Department, decide) -> None:
    unit = Unit(department.rig.source.parts, Caller(node=HERE, endpoint=""), wake=lambda: None)
    [row] = await department.rows()
    await decide(unit, ReportRequest(report_id=row.report_id))
    await department.settle()


async def undecided(department: Department) -> list[ReportObstacle | None]:
    rows = await imaging_reports.find_for_persons(department.rig.source.parts.database, limit=10)
    return [one.obstacle for one in rows]


async def test_what_is_true_is_left_alone(department):
    before = await department.rows()

    assert await examined(department) == ()

    assert await department.rows() == before


@pytest.mark.parametrize("ends", ["deprecate", "remove"])
async def test_what_others_ended_is_told_and_not_registered_again_by_itself(department, ends):
    [report] = await department.reports()
    await getattr(department.rig, ends)(report)

    assert await examined(department) == (ReportDrift.ENDED_BY_OTHERS,)

    assert await undecided(department) == [ReportObstacle.ENDED_BY_OTHERS]
    # Neither the next look nor the next manifest undoes what may have been meant.
    assert await examined(department) == ()
    await department.publish()
    assert await department.reports() == []
    opened = await imaging_reports.count_open(department.rig.source.parts.database)
    assert opened.for_persons == 1


async def test_what_others_ended_is_registered_again_when_a_person_says_so(department):
    [report] = await department.reports()
    await department.rig.deprecate(report)
    await examined(department)

    await decided(department, retry)

    [again] = await department.reports()
    manifest = await department.manifest()
    assert again.unique_id == report.unique_id
    assert (AssociationType.APND, manifest.entry_uuid) in await department.related(again)
    assert await undecided(department) == []


async def test_what_others_ended_is_dropped_when_a_person_says_so(department):
    [report] = await department.reports()
    await department.rig.deprecate(report)
    await examined(department)

    await decided(department, withdraw)

    [row] = await department.rows()
    assert row.state is ReportState.WITHDRAWN
    assert await department.reports() == []
    assert await undecided(department) == []


async def test_a_correction_takes_the_place_of_what_others_ended(department):
    [report] = await department.reports()
    await department.rig.deprecate(report)
    await examined(department)

    await department.sends(
        oru("C", patient=OURS, control_id="C2", observations=[encapsulated(a_pdf("Corrected."))])
    )

    assert len(await department.reports()) == 1
    assert await undecided(department) == []


async def test_an_addendum_follows_a_report_that_others_ended_and_comes_again_with_it(tmp_path):
    async with a_publishing_rig(tmp_path, publish_delay_seconds=0) as rig:
        await rig.make_known("P1")
        department = a_department(rig)
        await department.publish()
        await department.sends(mdm(patient=OURS))
        await department.sends(
            mdm(
                "T06",
                patient=OURS,
                control_id="C2",
                number="56^RM^2.999.14^ISO",
                parent="55^RM^2.999.14^ISO",
                observation=encapsulated(a_pdf("More")),
            )
        )
        [parent] = [one for one in await department.reports() if one.unique_id == "2.999.14.55"]
        await rig.deprecate(parent)

        assert await examined(department) == (ReportDrift.ENDED_BY_OTHERS,)

        waiting = {one.unique_id: one for one in await department.rows()}
        assert waiting["2.999.14.56"].obstacle is ReportObstacle.NO_PARENT
        assert await department.reports() == []
        unit = Unit(rig.source.parts, Caller(node=HERE, endpoint=""), wake=lambda: None)
        await retry(unit, ReportRequest(report_id=waiting["2.999.14.55"].report_id))
        await department.settle()
        assert len(await department.reports()) == 2


async def test_a_new_version_by_others_is_followed(department):
    [report] = await department.reports()
    await department.rig.new_version(report, title="As others call it")

    assert await examined(department) == (ReportDrift.NEW_VERSION,)

    [now] = await department.reports()
    assert now.title == "As others call it"
    [row] = await department.rows()
    assert (row.state, row.entry_uuid) == (ReportState.PUBLISHED, now.entry_uuid)
    assert await examined(department) == ()


async def test_a_report_that_was_given_to_another_patient_than_its_manifest_waits_for_a_person(department):
    [report] = await department.reports()
    await department.rig.give_away(report, "P2")

    assert await examined(department) == (ReportDrift.GIVEN_AWAY,)

    assert await undecided(department) == [ReportObstacle.GIVEN_AWAY]
    assert await department.reports() == []
    assert len(await department.reports(patient="P2")) == 1
    assert await examined(department) == ()


async def test_a_report_that_was_given_away_comes_back_when_a_person_says_so(department):
    [report] = await department.reports()
    await department.rig.give_away(report, "P2")
    await examined(department)

    await decided(department, retry)

    assert len(await department.reports()) == 1
    assert await department.reports(patient="P2") == []
    assert await undecided(department) == []


async def test_a_report_that_was_given_away_is_dropped_when_a_person_says_so(department):
    [report] = await department.reports()
    await department.rig.give_away(report, "P2")
    await examined(department)

    await decided(department, withdraw)

    assert await department.reports(patient="P2") == []
    [row] = await department.rows()
    assert row.state is ReportState.WITHDRAWN


async def test_a_report_that_was_given_away_before_its_manifest_is_where_that_is(department):
    [report] = await department.reports()
    await department.rig.give_away(report, "P2")
    await examined(department)

    await department.rig.give_away(await department.manifest(), "P2")
    await examined(department)

    assert await undecided(department) == []
    assert len(await department.reports(patient="P2")) == 1


async def test_a_report_follows_a_merge_that_nobody_told_of(department):
    await department.rig.merge("P1", "P2")

    await examined(department)

    assert len(await department.reports(patient="P2")) == 1
    [row] = await department.rows()
    assert (row.state, row.registered_for) == (ReportState.PUBLISHED, cx("P2"))
    assert await undecided(department) == []


async def test_what_is_on_its_way_is_left_alone(department):
    [report] = await department.reports()
    parts = department.rig.source.parts
    await department.rig.deprecate(report)
    await department.rig.image(STUDY, "P1", AccessionNumber="ACC1001")
    await rad68.publish(parts, STUDY)

    assert await report_drift.examine(parts, STUDY) == ()


async def test_what_was_registered_meanwhile_is_not_taken_for_ended(department, monkeypatch):
    """The answer is of before, and the manifest was replaced, which deprecates what is appended to it."""
    parts = department.rig.source.parts
    found = parts.registry.find

    async def slow(patient_id, unique_ids):
        patched.undo()
        await department.rig.image(STUDY, "P1", AccessionNumber="ACC1001")
        await department.rig.publish(STUDY)
        return await found(patient_id, unique_ids)

    with monkeypatch.context() as patched:
        patched.setattr(parts.registry, "find", slow)
        assert await report_drift.examine(parts, STUDY) == ()

    await department.settle()
    assert len(await department.reports()) == 1


async def test_the_watch_looks_at_the_reports_of_each_study_and_counts_what_drifted(department):
    [report] = await department.reports()
    await department.rig.deprecate(report)
    parts, metrics = department.rig.source.parts, Metrics("imaging_source")
    watch = DriftWatch(parts, Publisher(parts), metrics)

    await watch.turn()

    assert 'report_drifts_total{drift="ended-by-others"} 1' in metrics.render().decode()
    assert await undecided(department) == [ReportObstacle.ENDED_BY_OTHERS]
