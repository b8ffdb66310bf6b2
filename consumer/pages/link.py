"""A link of ours, opened in a browser, and a form that is sent to one."""

from __future__ import annotations

from dataclasses import dataclass

from shared.pages.browser import Browser
from shared.pages.forms import FormBody, FormFields, SentForm
from shared.rest.message import HttpRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """What a link of ours leads to, opened in a browser."""

    browser: Browser
    handle: str


async def decode_link(request: HttpRequest) -> Link:
    """Which link is opened."""
    return Link(browser=Browser.of(request), handle=request.parameters["handle"])


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
