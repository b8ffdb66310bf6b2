"""The pages of a trial: its steps while they come, what the person is asked, its end, and its reports."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, Final

from pydantic import Field

from conformance.pages.page import PageUnit, test_served
from conformance.trials.folder import REPORTS
from conformance.trials.trials import REACH, Trial
from shared.http.pieces import FileRange
from shared.pages.browser import Browser
from shared.pages.forms import FormBody, FormFields, SentForm, of_our_pages
from shared.pages.page import Page, see
from shared.rest.message import HttpRequest, HttpResponse, json_response

_ID_LENGTH: Final = 22


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialLink:
    """The trial that is opened in a browser; `after` is how many of its steps are there already, `name` which
    report is asked for."""

    browser: Browser
    trial: str
    after: int = 0
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportFile:
    """A report as a file, and its name."""

    content: FileRange
    name: str


class TrialFields(FormFields):
    """Which trial a form is about."""

    trial: str = Field("", max_length=_ID_LENGTH)


class AnswerFields(TrialFields):
    """The answer to a question."""

    number: int = Field(0, ge=0)
    answer: str = Field("", pattern="yes|no")


async def decode_link(request: HttpRequest) -> TrialLink:
    """Which trial is opened."""
    after = request.query.get("after", ["0"])[0]
    return TrialLink(
        browser=Browser.of(request),
        trial=request.parameters["trial"],
        after=int(after) if after.isdecimal() and after.isascii() and len(after) < 9 else 0,
        name=request.parameters.get("name", ""),
    )


async def trial(unit: PageUnit, link: TrialLink) -> Page:
    """Show a trial as it is now."""
    shown = await asyncio.to_thread(unit.parts.trials.find, link.trial)
    failed = {one["id"] for one in shown.failures}
    others = [one for one in shown.steps if one["id"] not in failed and one["outcome"] != "passed"]
    return await unit.page(
        "trial.html",
        link.browser,
        trial=shown,
        passed=[one for one in shown.steps if one["outcome"] == "passed"],
        others=others,
        reports=REPORTS,
        reach=REACH,
    )


async def steps(unit: PageUnit, link: TrialLink) -> dict[str, Any]:
    """Tell the steps that are new, for the script of the page."""
    shown: Trial = await asyncio.to_thread(unit.parts.trials.find, link.trial)
    question = shown.question
    return {
        "runs": shown.runs,
        "count": len(shown.steps),
        "of": shown.of,
        "failed": len(shown.failures),
        "question": {"number": question.number, "text": question.text} if question else None,
        "steps": [
            {name: one[name] for name in ("id", "clause", "purpose", "outcome", "reason")}
            for one in shown.steps[link.after :]
        ],
    }


async def report(unit: PageUnit, link: TrialLink) -> ReportFile:
    """Give a report of a trial as a file."""

    def opened() -> ReportFile:
        path = unit.parts.trials.report(link.trial, link.name)
        return ReportFile(content=FileRange(path, 0, path.stat().st_size), name=link.name)

    return await asyncio.to_thread(opened)


def encode_report(file: ReportFile) -> HttpResponse:
    """The file, to be kept and not shown: it has a style of its own, which pages here may not."""
    headers = {"content-disposition": f'attachment; filename="{file.name}"'}
    return HttpResponse(media_type=REPORTS[file.name], headers=headers, pieces=(file.content,))


@of_our_pages
async def cancel(unit: PageUnit, form: SentForm[TrialFields]) -> str:
    """End a trial."""
    await unit.parts.trials.cancel(form.fields.trial)
    return f"/trials/{form.fields.trial}"


@of_our_pages
async def answer(unit: PageUnit, form: SentForm[AnswerFields]) -> str:
    """Take the answer of the person at the system."""
    fields = form.fields
    await asyncio.to_thread(unit.parts.trials.answer, fields.trial, fields.number, yes=fields.answer == "yes")
    return f"/trials/{fields.trial}"


SERVED = (
    test_served(name="Test", routes=("GET /trials/{trial}",), decode=decode_link, handle=trial),
    test_served(
        name="Steps of a test",
        routes=("GET /trials/{trial}/steps",),
        decode=decode_link,
        handle=steps,
        encode=json_response,
    ),
    test_served(
        name="Report of a test",
        routes=("GET /trials/{trial}/reports/{name}",),
        decode=decode_link,
        handle=report,
        encode=encode_report,
    ),
    test_served(
        name="Cancel test", routes=("POST /cancel",), decode=FormBody(TrialFields), handle=cancel, encode=see
    ),
    test_served(
        name="Answer question",
        routes=("POST /answer",),
        decode=FormBody(AnswerFields),
        handle=answer,
        encode=see,
    ),
)
