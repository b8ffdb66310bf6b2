"""A link of ours, opened in a browser, and a form that is sent to one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from shared.pages.browser import Browser
from shared.pages.forms import FormBody, FormFields, SentForm
from shared.rest.message import HttpRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class PageLink:
    """What a link of ours leads to, opened in a browser."""

    browser: Browser
    handle: str


async def decode_link(request: HttpRequest) -> PageLink:
    """Which link is opened."""
    return PageLink(browser=Browser.of(request), handle=request.parameters["handle"])


class LinkFields(FormFields):
    """At which link of ours a form is, beside what stands in it."""

    handle: str = ""


AtLink = TypeVar("AtLink", bound=LinkFields)


class LinkForm(FormBody[AtLink]):
    """Decodes a form that is sent to a link of ours, which it need not name."""

    async def __call__(self, request: HttpRequest) -> SentForm[AtLink]:
        """Read the form, and which link is meant."""
        form = await super().__call__(request)
        fields = form.fields.model_copy(update={"handle": request.parameters["handle"]})
        return SentForm(browser=form.browser, fields=fields)
