"""The pages of a search: its form, and the timeline of what was found.

What a search is about stands in its address as an opaque handle, so that neither a history nor a log holds
the id of a patient.
"""

from __future__ import annotations

from dataclasses import dataclass

from consumer.pages.criteria import StudySearch
from consumer.pages.invocation import Onward, encode_onward, kept_invocation
from consumer.pages.page import PageUnit, page_served
from consumer.pages.timeline import purposes_of, timeline, with_purpose
from shared.pages.browser import Browser
from shared.pages.forms import FormBody, SentForm, of_our_pages
from shared.pages.link import PageLink, decode_link
from shared.pages.page import Page, encode_page, see
from shared.rest.message import HttpRequest, HttpResponse


@dataclass(frozen=True, slots=True, kw_only=True)
class Entrance:
    """The first page, opened in a browser that may keep an invocation until somebody has signed in."""

    browser: Browser
    invocation: str


async def decode_entrance(request: HttpRequest) -> Entrance:
    """Who opens the first page, and what was asked for before."""
    return Entrance(browser=Browser.of(request), invocation=kept_invocation(request))


async def home(unit: PageUnit, entrance: Entrance) -> Page | Onward:
    """Give the form by which studies are found; or what an address asked for before somebody signed in."""
    if entrance.invocation and unit.parts.workplace.keeps(entrance.invocation):
        return Onward(browser=entrance.browser, path=f"/invocations/{entrance.invocation}")
    return await unit.page(
        "search.html",
        entrance.browser,
        searched=StudySearch(),
        wrong={},
        purposes=purposes_of(unit.visitor),
    )


def encode_entrance(answer: Page | Onward) -> HttpResponse:
    """The form, or where to go on."""
    return encode_onward(answer) if isinstance(answer, Onward) else encode_page(answer)


@of_our_pages
async def search(unit: PageUnit, form: SentForm[StudySearch]) -> str:
    """Take the search form, and lead to what is found."""
    workplace, purposes = unit.parts.workplace, purposes_of(unit.visitor)
    criteria = form.fields.criteria(workplace.affinity_domain, purposes)
    purpose = form.fields.stated_purpose(purposes)
    return f"/searches/{workplace.search_handle(unit.visitor, criteria, purpose=purpose)}"


async def studies(unit: PageUnit, link: PageLink) -> Page:
    """Show the published studies of a patient that the visitor may see (ITI-18, ITI-43)."""
    workplace = unit.parts.workplace
    stated = workplace.search_behind(unit.visitor, link.handle)
    visitor = with_purpose(unit.visitor, stated.purpose)
    shown = await timeline(workplace, unit.parts.room, visitor, stated)
    older = shown.next_position and workplace.search_handle(
        visitor, stated.criteria, purpose=stated.purpose, position=shown.next_position
    )
    return await unit.page(
        "timeline.html",
        link.browser,
        criteria=stated.criteria,
        purpose=next((one for one in purposes_of(visitor) if str(one) == stated.purpose), None),
        timeline=shown,
        older=older,
    )


SERVED = (
    page_served(
        name="Search form", routes=("GET /",), decode=decode_entrance, handle=home, encode=encode_entrance
    ),
    page_served(
        name="Search", routes=("POST /search",), decode=FormBody(StudySearch), handle=search, encode=see
    ),
    page_served(name="Studies found", routes=("GET /searches/{handle}",), decode=decode_link, handle=studies),
)
