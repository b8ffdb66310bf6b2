"""The page by which a clinician breaks the glass: for one patient, for a time, with a reason."""

from __future__ import annotations

from consumer.domain.studies import Criteria, WrongCriterion
from consumer.pages.page import PageUnit, page_served
from shared.http.problem import Unprocessable
from shared.pages.browser import Browser, decode_browser
from shared.pages.forms import FormBody, FormFields, SentForm, of_our_pages
from shared.pages.page import Page

_LONGEST = 1_000


class Emergency(FormFields):
    """Whose data must be seen, and why."""

    longest = _LONGEST

    patient_id: str = ""
    reason: str = ""


async def form(unit: PageUnit, browser: Browser) -> Page:
    """Give the form."""
    return await unit.page("emergency.html", browser, until=None)


@of_our_pages
async def declare(unit: PageUnit, filled: SentForm[Emergency]) -> Page:
    """Break the glass at the registry, and say until when.

    Raises
    ------
    Unprocessable
        No patient is named, or no reason.
    HttpProblem
        The registry does not allow it, or cannot be asked.
    """
    workplace, reason = unit.parts.workplace, filled.fields.reason.strip()
    if not reason:
        raise Unprocessable("say why it is needed; the reason is read by whoever reviews it")
    try:
        criteria = Criteria.of(filled.fields.patient_id, affinity_domain=workplace.affinity_domain)
    except WrongCriterion as error:
        raise Unprocessable(f"please {error.text}") from None
    until = await workplace.break_glass(unit.visitor, criteria.patient_id, reason)
    handle = workplace.search_handle(unit.visitor, criteria)
    return await unit.page("emergency.html", filled.browser, until=until, search=f"/searches/{handle}")


SERVED = (
    page_served(name="Emergency form", routes=("GET /emergency",), decode=decode_browser, handle=form),
    page_served(name="Emergency", routes=("POST /emergency",), decode=FormBody(Emergency), handle=declare),
)
