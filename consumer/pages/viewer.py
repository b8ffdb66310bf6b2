"""The page of the viewer, of one study, two of them, or one and a report: with a token for each study alone,
and the next token while it stays open."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from consumer.domain.identity import are_strangers
from consumer.front.ahead import fetch_first_series
from consumer.pages.page import PageUnit, page_served
from consumer.pages.reports import ReadReport, read_report
from consumer.pages.viewer_files import VIEWER_POLICY, viewer_entry
from consumer.pages.workplace import OpenedStudy
from shared.http.problem import Unprocessable
from shared.pages.browser import Browser
from shared.pages.forms import SentForm, of_our_pages
from shared.pages.link import LinkFields, LinkForm, PageLink, decode_link
from shared.pages.page import Page, encode_page
from shared.rest.message import HttpRequest, HttpResponse, json_response

_SIDE_BY_SIDE: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Which studies are chosen, opened in a browser."""

    browser: Browser
    handles: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportLink:
    """A study and a report that is read beside it, opened in a browser."""

    browser: Browser
    study: str
    report: str


async def decode_comparison(request: HttpRequest) -> Comparison:
    """Read which studies are chosen."""
    return Comparison(browser=Browser.of(request), handles=tuple(request.form.get("study", ())))


async def decode_report_link(request: HttpRequest) -> ReportLink:
    """Read which study is opened, and which report."""
    parameters = request.parameters
    return ReportLink(browser=Browser.of(request), study=parameters["handle"], report=parameters["report"])


async def viewer(unit: PageUnit, link: PageLink) -> Page:
    """Show the images of a study (ITI-18, ITI-43; then by the front)."""
    opened_study = await unit.parts.workplace.open_handle(unit.visitor, link.handle)
    return await _page(unit, link.browser, {link.handle: opened_study})


async def comparison(unit: PageUnit, chosen: Comparison) -> Page:
    """Show two studies of a patient side by side, the older one at the right.

    Raises
    ------
    Unprocessable
        They are not two, or not of one patient.
    """
    if len(set(chosen.handles)) != _SIDE_BY_SIDE:
        raise Unprocessable("two studies are compared; go back and choose two")
    workplace = unit.parts.workplace
    opened = [await workplace.open_handle(unit.visitor, one) for one in chosen.handles]
    if len({one.patient_id for one in opened}) > 1:
        raise Unprocessable("these are studies of two patients; two of one patient are compared")
    return await _page(unit, chosen.browser, dict(zip(chosen.handles, opened, strict=True)))


async def with_report(unit: PageUnit, link: ReportLink) -> Page:
    """Show the images of a study and a report beside them (ITI-18, ITI-43; then by the front).

    Raises
    ------
    Unprocessable
        The report is of another patient.
    """
    workplace = unit.parts.workplace
    opened_study = await workplace.open_handle(unit.visitor, link.study)
    entry, octets = await workplace.report(unit.visitor, link.report)
    if entry.patient_id != opened_study.patient_id:
        raise Unprocessable("the report is of another patient than the study")
    read = await asyncio.to_thread(read_report, entry, octets, link.report)
    name = opened_study.manifest.patient_name
    if read.document is not None and are_strangers(read.document.patient_name, name):
        read = replace(read, name_of_images=name)
    return await _page(unit, link.browser, {link.study: opened_study}, read)


async def _page(
    unit: PageUnit, browser: Browser, studies: Mapping[str, OpenedStudy], report: ReadReport | None = None
) -> Page:
    start_values = {
        "base": "/dicomweb",
        "form": unit.parts.forms.token(browser),
        "studies": [
            {
                "study": one.study_instance_uid,
                "title": " ".join(filter(None, (one.date, one.title))),
                "token": token_of(unit, browser, one),
                "renewal": f"/studies/{handle}/token",
            }
            for handle, one in studies.items()
        ],
    }
    entry = viewer_entry()
    if entry is not None:
        for one in studies.values():
            room = unit.parts.room
            room.beside(fetch_first_series(room, unit.visitor, one.study_instance_uid, one.patient_id))
    return await unit.page(
        "viewer.html", browser, studies=studies, report=report, entry=entry, given=start_values
    )


@of_our_pages
async def renewal(unit: PageUnit, form: SentForm[LinkFields]) -> str:
    """Give the next token to a viewer that is open, as long as its study may be opened."""
    opened_study = await unit.parts.workplace.open_handle(unit.visitor, form.fields.handle)
    return token_of(unit, form.browser, opened_study)


def token_of(unit: PageUnit, browser: Browser, opened_study: OpenedStudy) -> str:
    """A token for a study that is opened, for the session of this browser."""
    number = browser.number
    return unit.parts.room.tokens.issue(
        number if unit.parts.sessions.find(number) else "",  # without TLS nobody signs in
        unit.caller.node,
        patient_id=opened_study.patient_id,
        study_instance_uid=opened_study.study_instance_uid,
    )


def encode_viewer(page: Page) -> HttpResponse:
    """The page, whose scripts may run codecs and show what they hold in memory."""
    response = encode_page(page)
    return replace(response, headers={**response.headers, "content-security-policy": VIEWER_POLICY})


def encode_token(token: str) -> HttpResponse:
    """The token, for the script that asked."""
    return json_response({"token": token})


SERVED = (
    page_served(
        name="Viewer",
        routes=("GET /studies/{handle}/viewer",),
        decode=decode_link,
        handle=viewer,
        encode=encode_viewer,
    ),
    page_served(
        name="Comparison",
        routes=("GET /compare",),
        decode=decode_comparison,
        handle=comparison,
        encode=encode_viewer,
    ),
    page_served(
        name="Images and report",
        routes=("GET /studies/{handle}/reports/{report}",),
        decode=decode_report_link,
        handle=with_report,
        encode=encode_viewer,
    ),
    page_served(
        name="Token of a viewer",
        routes=("POST /studies/{handle}/token",),
        decode=LinkForm(LinkFields),
        handle=renewal,
        encode=encode_token,
    ),
)
