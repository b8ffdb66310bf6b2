"""Reports that messages brought and that are not registered: why, and what a person decides about them."""

from __future__ import annotations

from typing import Final

from imaging_source.pages.page import Act, PageUnit, act_served, look_served, shown
from imaging_source.store.imaging_reports import UNREGISTERED, find_for_persons, find_reports
from imaging_source.transactions import report_requests
from shared.dicom.uids import is_uid
from shared.http.problem import HttpProblem
from shared.pages.browser import Browser
from shared.pages.forms import SentForm
from shared.pages.link import LinkFields, LinkForm
from shared.pages.page import PatientPage, WrongForm

MOST: Final = 100
_LONGEST: Final = 64


class StudyOfReport(LinkFields):
    """Which report is accepted, and for which study; its own where empty."""

    study: str = ""


async def listed(unit: PageUnit, browser: Browser) -> PatientPage:
    """Show what waits, and why."""
    return await shown(unit, "reports.html", browser, **await _list(unit))


async def _list(unit: PageUnit, *, wrong: str = "", study: str = "") -> dict[str, object]:
    database = unit.parts.service.database
    # What a person has to decide comes first, however much waits beside it.
    undecided = await find_for_persons(database, limit=MOST)
    open_ones = await find_reports(database, states=UNREGISTERED, limit=MOST)
    rows = [*undecided, *(row for row in open_ones if not row.needs_person)][:MOST]
    reports = [report_requests.shown(row) for row in rows]
    return {"reports": reports, "most": MOST, "wrong": wrong, "study": study, "reason": ""}


async def accept(unit: PageUnit, form: SentForm[StudyOfReport]) -> Act:
    """Take it for its study, or the one that is named."""
    study, report_id = form.fields.study.strip()[:_LONGEST], form.fields.handle
    if study and not is_uid(study):
        reason = "that is no Study Instance UID; it is digits and dots, as 1.2.840.113619.2"
        raise WrongForm(reason, "reports.html", await _list(unit, wrong=report_id, study=study))
    request = report_requests.AcceptReportRequest(report_id=report_id[:_LONGEST], study_instance_uid=study)
    try:
        await report_requests.accept(unit.source, request)
    except HttpProblem as problem:
        values = await _list(unit, wrong=report_id, study=study)
        raise WrongForm(problem.detail, "reports.html", values) from None
    return Act(path="/reports")


async def retry(unit: PageUnit, form: SentForm[LinkFields]) -> Act:
    """Try it again."""
    await report_requests.retry(unit.source, _request(form))
    return Act(path="/reports")


async def withdraw(unit: PageUnit, form: SentForm[LinkFields]) -> Act:
    """Register it no more."""
    await report_requests.withdraw(unit.source, _request(form))
    return Act(path="/reports")


def _request(form: SentForm[LinkFields]) -> report_requests.ReportRequest:
    return report_requests.ReportRequest(report_id=form.fields.handle[:_LONGEST])


SERVED = (
    look_served(name="Report list", route="GET /reports", handle=listed),
    act_served(
        name="Accept report of a message",
        route="POST /reports/{handle}/accept",
        change="report accepted for a study",
        decode=LinkForm(StudyOfReport),
        handle=accept,
    ),
    act_served(
        name="Send report again",
        route="POST /reports/{handle}/retry",
        change="report sent again",
        decode=LinkForm(LinkFields),
        handle=retry,
    ),
    act_served(
        name="Withdraw report of a message",
        route="POST /reports/{handle}/withdraw",
        change="report withdrawn",
        decode=LinkForm(LinkFields),
        handle=withdraw,
    ),
)
