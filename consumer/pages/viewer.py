"""The page of the viewer, with a token for its study alone, and the next token while it stays open."""

from __future__ import annotations

from dataclasses import replace

from consumer.pages.page import PageUnit, page_served
from consumer.pages.search import Link, decode_link
from consumer.pages.viewer_files import VIEWER_POLICY, viewer_entry
from consumer.pages.workplace import OpenedStudy
from shared.pages.browser import Browser
from shared.pages.forms import FormBody, FormFields, SentForm, of_our_pages
from shared.pages.page import Page, encode_page
from shared.rest.message import HttpRequest, HttpResponse, json_response


class LinkFields(FormFields):
    """What stands in a form without fields of its own, and at which link of ours it is."""

    handle: str = ""


class LinkForm(FormBody[LinkFields]):
    """Decodes a form without fields of its own that is sent to a link of ours."""

    async def __call__(self, request: HttpRequest) -> SentForm[LinkFields]:
        """Read the form, and which link is meant."""
        form = await super().__call__(request)
        fields = form.fields.model_copy(update={"handle": request.parameters["handle"]})
        return SentForm(browser=form.browser, fields=fields)


async def viewer(unit: PageUnit, link: Link) -> Page:
    """Show the images of a study (ITI-18, ITI-43; then by the front)."""
    opened_study = await unit.parts.workplace.open_handle(unit.visitor, link.handle)
    start_values = {
        "study": opened_study.study_instance_uid,
        "base": "/dicomweb",
        "token": _token(unit, link.browser, opened_study),
        "renewal": f"/studies/{link.handle}/token",
        "form": unit.parts.forms.token(link.browser),
    }
    return await unit.page(
        "viewer.html",
        link.browser,
        opened=opened_study,
        handle=link.handle,
        entry=viewer_entry(),
        given=start_values,
    )


@of_our_pages
async def renewal(unit: PageUnit, form: SentForm[LinkFields]) -> str:
    """Give the next token to a viewer that is open, as long as its study may be opened."""
    opened_study = await unit.parts.workplace.open_handle(unit.visitor, form.fields.handle)
    return _token(unit, form.browser, opened_study)


def _token(unit: PageUnit, browser: Browser, opened_study: OpenedStudy) -> str:
    number = browser.number
    return unit.parts.tokens.issue(
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
        name="Token of a viewer",
        routes=("POST /studies/{handle}/token",),
        decode=LinkForm(LinkFields),
        handle=renewal,
        encode=encode_token,
    ),
)
