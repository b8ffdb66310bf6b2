"""`xdsi reports`, `xdsi publish --status` and the operators' page: why a report waits, and what a person
decides."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
import typer
from typer.testing import CliRunner

from tests.support.orders import oru
from tests.support.publishing_rig import a_publishing_rig
from tests.transactions.imaging_source.test_reports import OURS, STUDY, Department, a_department
from xdsi import publish, reports
from xdsi.checks import reports as checks
from xdsi.checks.finding import Severity

app = typer.Typer()
app.command("reports")(reports.command)
app.command("publish")(publish.command)


@pytest.fixture
async def department(tmp_path, monkeypatch) -> AsyncIterator[Department]:
    async with a_publishing_rig(tmp_path) as rig:
        await rig.make_known("P1")
        monkeypatch.setenv("XDSI_IMAGING_SOURCE__PUBLIC_URL", rig.source.parts.settings.public_url)
        yield a_department(rig)


async def run(*words: str):
    return await asyncio.to_thread(CliRunner().invoke, app, list(words))


async def shown(*words: str) -> list[dict]:
    ended = await run("reports", *words, "--json")
    assert ended.exit_code == 0, ended.output
    return json.loads(ended.stdout)


async def test_a_report_of_another_patient_is_accepted_by_a_person(department):
    await department.publish()
    await department.sends(oru(patient="P9^^^NORTH"))
    [report] = await shown("--pending")
    assert report["needs_person"]
    assert "of another patient than PID-3 names" in report["explanation"]

    await shown("--accept", report["report_id"])
    await department.settle()

    assert len(await department.reports()) == 1
    assert await shown("--pending") == []
    assert [one["state"] for one in await shown(STUDY)] == ["published"]


async def test_what_a_person_has_to_decide_about_is_told_apart_from_what_waits(department):
    await department.publish()
    await department.sends(oru(patient="P9^^^NORTH"))
    await department.sends(oru(patient=OURS, study="2.25.99", control_id="C2", filler="FO-2"))
    assert len(await shown("--pending")) == 2
    [report] = await shown("--undecided")
    assert "of another patient than PID-3 names" in report["explanation"]
    refused = await run("reports", STUDY, "--undecided")
    assert refused.exit_code == 2
    assert "--undecided tells of all studies" in refused.output

    settings = department.rig.source.parts.settings
    [finding] = await checks.reports(settings)
    assert (finding.severity, finding.found.split()[0]) == (Severity.WARNING, "1")
    assert "xdsi reports --undecided" in finding.remedy

    await shown("--withdraw", report["report_id"])
    [finding] = await checks.reports(settings)
    assert finding.severity is Severity.OK


async def test_a_report_of_an_unknown_order_is_given_to_a_study(department):
    await department.publish()
    await department.sends(oru(patient=OURS, study="", accession="TYPO"))
    [report] = await shown("--pending")
    assert "no study is here that it names" in report["explanation"]
    refused = await run("reports", "--accept", report["report_id"])
    assert refused.exit_code != 0

    await shown("--accept", report["report_id"], "--study", STUDY)
    await department.settle()

    assert len(await department.reports()) == 1


async def test_a_report_is_withdrawn_by_a_person(department):
    await department.publish()
    await department.sends(oru(patient=OURS))
    [report] = await shown()

    await shown("--withdraw", report["report_id"])
    await department.settle()

    assert await department.reports() == []
    assert [one["state"] for one in await shown()] == ["withdrawn"]


async def test_what_cannot_be_done_is_told(department):
    ended = await run("reports", "--retry", "no-such-report")

    assert ended.exit_code != 0
    assert "there is no report of this id" in str(ended.exception)


async def test_the_status_of_a_study_tells_its_reports(department):
    await department.rig.image(STUDY, "P1")
    await department.sends(oru(patient=OURS))

    told = await run("publish", STUDY, "--status")
    as_json = json.loads((await run("publish", STUDY, "--status", "--json")).stdout)

    assert "report waiting" in told.stdout
    assert "the manifest of its study is not registered" in told.stdout
    assert [one["state"] for one in as_json[0]["reports"]] == ["waiting"]


async def test_a_report_that_was_refused_is_tried_again(department):
    await department.publish()
    parts = department.rig.source.parts
    before = parts.settings.publishing.reports.type_code
    no_scheme = before.model_copy(update={"scheme": " "})
    department = a_department(department.rig, type_code=no_scheme)
    await department.sends(oru(patient=OURS))
    [report] = await shown("--pending")
    assert report["state"] == "refused"
    assert f"xdsi reports --retry {report['report_id']}" in report["explanation"]

    department = a_department(department.rig, type_code=before)
    await shown("--retry", report["report_id"])
    await department.settle()

    assert len(await department.reports()) == 1


async def test_the_page_shows_what_waits_and_takes_a_decision(department):
    await department.publish()
    await department.sends(oru(patient="P9^^^NORTH"))
    http = department.rig.client._http
    base = department.rig.source_url
    page = (await http.get(f"{base}/reports", headers={"accept": "text/html"})).text

    assert "Somebody has to decide about a report" in page
    assert "P9" not in page
    assert "meningioma" not in page
