"""The pages of a search: its form, and what was found.

What a search is about stands in its address as an opaque handle, so that neither a history nor a log holds
the id of a patient.
"""

from __future__ import annotations

from dataclasses import dataclass

from consumer.pages.criteria import StudySearch
from consumer.pages.page import PageUnit, page_served
from shared.pages.browser import Browser, decode_browser
from shared.pages.forms import FormBody, SentForm, of_our_pages
from shared.pages.page import Page, see
from shared.rest.message import HttpRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """What a link of ours leads to, opened in a browser."""

    browser: Browser
    handle: str


async def decode_link(request: HttpRequest) -> Link:
    """Which link is opened."""
    return Link(browser=Browser.of(request), handle=request.parameters["handle"])


async def home(unit: PageUnit, browser: Browser) -> Page:
    """Give the form by which studies are found."""
    return await unit.page("search.html", browser, searched=StudySearch(), wrong={})


@of_our_pages
async def search(unit: PageUnit, form: SentForm[StudySearch]) -> str:
    """Take the search form, and lead to what is found."""
    workplace = unit.parts.workplace
    criteria = form.fields.criteria(workplace.affinity_domain)
    return f"/searches/{workplace.search_handle(unit.visitor, criteria)}"


async def studies(unit: PageUnit, link: Link) -> Page:
    """Show the published studies of a patient that the visitor may see (ITI-18)."""
    workplace = unit.parts.workplace
    criteria = workplace.search_behind(unit.visitor, link.handle)
    found_studies = await workplace.find(unit.visitor, criteria)
    return await unit.page(
        "found.html", link.browser, criteria=criteria, found=found_studies, own=workplace.home_community_id
    )


SERVED = (
    page_served(name="Search form", routes=("GET /",), decode=decode_browser, handle=home),
    page_served(
        name="Search", routes=("POST /search",), decode=FormBody(StudySearch), handle=search, encode=see
    ),
    page_served(name="Studies found", routes=("GET /searches/{handle}",), decode=decode_link, handle=studies),
)
