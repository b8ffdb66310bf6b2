"""What `xdsi doctor` finds, in the browser."""

from __future__ import annotations

from imaging_source.pages.page import Act, PageUnit, act_served, look_served, progress_served, shown
from shared.pages.browser import Browser
from shared.pages.following import Progress
from shared.pages.forms import FormBody, FormFields, SentForm
from shared.pages.page import PatientPage

_ORDER = ("error", "warning", "ok")


async def doctor(unit: PageUnit, browser: Browser) -> PatientPage:
    """Show what the last examination found, errors first."""
    examinations = unit.parts.examinations
    findings = sorted(examinations.findings, key=lambda one: _ORDER.index(one.severity))
    ended = examinations.ended
    return await shown(
        unit,
        "doctor.html",
        browser,
        is_possible=examinations.is_possible,
        is_under_way=examinations.is_under_way,
        ended=f"{ended:%Y-%m-%d %H:%M:%S}" if ended else "",
        findings=[one for one in findings if one.severity != "ok"],
        well=[one for one in findings if one.severity == "ok"],
    )


async def progress(unit: PageUnit, browser: Browser) -> Progress:
    """Whether one is under way."""
    runs = unit.parts.examinations.is_under_way
    return Progress(runs=runs, text="Looking" if runs else "Done")


async def examine(unit: PageUnit, form: SentForm[FormFields]) -> Act:
    """Begin an examination."""
    unit.parts.examinations.begin()
    return Act(path="/doctor")


SERVED = (
    look_served(name="Doctor", route="GET /doctor", handle=doctor),
    progress_served(name="Progress of examination", route="GET /doctor/progress", handle=progress),
    act_served(
        name="Begin examination",
        route="POST /doctor",
        change="examination begun",
        decode=FormBody(FormFields),
        handle=examine,
    ),
)
