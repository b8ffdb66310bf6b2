"""Uses of break-glass: those that wait for a review, each with its sign-off, and those that had one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from audit_repository.pages.page import PageUnit, days_of, page_served, since_days
from audit_repository.transactions.sign_off import MOST, emergencies_since, sign_off
from shared.audit import patterns
from shared.audit.events import EMERGENCY_OVERRIDE_STOPPED, AuditEvent, Outcome
from shared.audit.patterns import Side
from shared.http.problem import NotFound, Unprocessable
from shared.pages.browser import Browser
from shared.pages.forms import FormBody, FormFields, SentForm, of_our_pages
from shared.pages.page import Page, see
from shared.rest.message import HttpRequest
from shared.security.caller import Caller

_LONGEST = 1_000


class SignOffForm(FormFields):
    """Which use was looked at, of how many days, and what was found."""

    longest = _LONGEST

    break_id: str = ""
    days: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EmergenciesLook:
    """Of which time."""

    browser: Browser
    days: int


async def decode(request: HttpRequest) -> EmergenciesLook:
    """What the address says."""
    return EmergenciesLook(browser=Browser.of(request), days=days_of(request))


async def show(unit: PageUnit, look: EmergenciesLook) -> Page:
    """Show the uses, those that wait first."""
    trail = await unit.audited_look(f"emergencies&days={look.days}".encode())
    uses = await emergencies_since(trail, since_days(look.days))
    return await unit.page(
        "emergencies.html",
        look.browser,
        look=look,
        waiting=[one for one in uses if not one.reviewer],
        reviewed=[one for one in uses if one.reviewer],
        most=MOST,
    )


@of_our_pages
async def review(unit: PageUnit, form: SentForm[SignOffForm]) -> str:
    """Sign one off, and lead back to the list.

    Raises
    ------
    Unprocessable
        There is no note.
    NotFound
        The trail tells of no such use in that time.
    HttpProblem
        It is not signed off, for a reason that the reviewer is told.
    """
    trail = unit.as_auditor()
    note = form.fields.note.strip()
    if not note:
        raise Unprocessable("write what the review found; it goes into the trail")
    days = min(int(form.fields.days), 3_660) if form.fields.days.isdecimal() else 1
    uses = await emergencies_since(trail, since_days(days))
    emergency = next((one for one in uses if one.break_id == form.fields.break_id), None)
    if emergency is None:
        raise NotFound("the trail tells of no such emergency in that time; open the list again")
    await sign_off(trail, emergency, note)
    unit.audited = True
    return f"/emergencies?days={days}"


def audit(form: SentForm[SignOffForm], _: Any, caller: Caller, outcome: Outcome) -> tuple[AuditEvent, ...]:
    """Describe a sign-off that was refused; one that was not is recorded with it."""
    return (
        patterns.break_glass(
            Side.SERVER,
            caller,
            outcome,
            kind=EMERGENCY_OVERRIDE_STOPPED,
            policy_id=form.fields.break_id,
            patient_id="",
            reason=f"not signed off: {form.fields.note}",
        ),
    )


SERVED = (
    page_served(name="Emergencies", routes=("GET /emergencies",), decode=decode, handle=show),
    page_served(
        name="Sign off emergency",
        routes=("POST /emergencies/sign-off",),
        decode=FormBody(SignOffForm),
        handle=review,
        audit=audit,
        event=EMERGENCY_OVERRIDE_STOPPED,
        encode=see,
    ),
)
