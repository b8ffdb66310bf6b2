"""Pages: made by the server without scripts, and the form in which people are told what is wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from http import HTTPStatus
from typing import Any, ClassVar, Final, TypeVar

from starlette.requests import Request
from starlette.responses import Response

from shared.http.problem import HttpProblem, Unprocessable
from shared.pages.browser import Browser
from shared.pages.forms import Forms
from shared.pages.provider import Provider
from shared.pages.session_cookie import SessionCookie
from shared.pages.sessions import Sessions
from shared.pages.template import Templates
from shared.pages.visitors import Reception, SignInNeeded, Visitor
from shared.perform import UnitOfWork
from shared.rest.message import HttpRequest, HttpResponse
from shared.rest.served import ServedRest
from shared.security.speaker import Speaker

HTML: Final = "text/html; charset=utf-8"
_TITLES: Final = {
    HTTPStatus.NOT_FOUND: "Not here",
    HTTPStatus.FORBIDDEN: "Not accepted",
    HTTPStatus.MISDIRECTED_REQUEST: "Not at this address",
    HTTPStatus.BAD_GATEWAY: "No usable answer",
    HTTPStatus.SERVICE_UNAVAILABLE: "Not available now",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A page in the language of browsers, for one of them."""

    browser: Browser
    html: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class PatientPage:
    """A page, and whose data it shows: a CX, or nobody's."""

    page: Page
    patient_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PageParts:
    """What the pages of any service are made of."""

    reception: Reception
    forms: Forms
    templates: Templates


@dataclass(frozen=True, slots=True, kw_only=True)
class SignInParts(PageParts):
    """What the pages are made of where people bring an assertion, or sign in at a provider."""

    sessions: Sessions
    provider: Provider | None = None


Parts = TypeVar("Parts", bound=PageParts)


@dataclass(slots=True)
class PageUnit(UnitOfWork[Parts]):
    """What one request for a page works with."""

    @property
    def visitor(self) -> Visitor:
        """Who asks."""
        return Visitor.of(self.caller)

    async def page(self, template: str, browser: Browser, **values: Any) -> Page:
        """A page for the visitor; long ones take long to write: not on the loop."""
        parts = self.parts
        written = partial(_written, parts.templates, template, browser, parts.forms, self.visitor, values)
        return await asyncio.to_thread(written)


class WrongForm(Unprocessable):
    """What stands in a form cannot be done: the page of the form says the `reason`, and can be corrected."""

    def __init__(self, reason: str, template: str, values: Mapping[str, Any]) -> None:
        super().__init__(reason)
        self.template = template
        self.values = {**values, "reason": reason}


class ErrorPage:
    """A page that says what is wrong; the one to sign in, where that would be right."""

    media_type: ClassVar[str] = HTML
    schema: ClassVar[Mapping[str, Any]] = {"type": "string", "description": "a page that says what is wrong"}

    def __init__(
        self,
        templates: Templates,
        forms: Forms,
        sessions: Sessions | None = None,
        provider: Provider | None = None,
    ) -> None:
        self._templates = templates
        self.provider = provider
        self.forms = forms
        self._sessions = sessions

    def response(self, problem: HttpProblem, request: HttpRequest) -> HttpResponse:
        """The page, with the status of the problem."""
        with_visitor = not isinstance(problem, SignInNeeded)
        page = encode_page(self._page(request, *self.template_of(problem), with_visitor=with_visitor))
        return replace(page, status=problem.status, headers={**page.headers, **problem.headers})

    def unserved(self, request: Request, status: HTTPStatus, detail: str) -> Response:
        """The page about what the application does not serve."""
        of_ours = HttpRequest(request.scope, request.receive, "")
        page = self._page(of_ours, "problem.html", _told(status, detail))
        return Response(page.html, status, page.browser.headers, HTML)

    def turned_away(self, problem: HttpProblem) -> Response:
        """The page about a request that was refused before anybody looked who asks: it is for nobody, and its
        browser keeps nothing."""
        html = self._templates.written(
            "problem.html", **_told(problem.status, problem.detail), token="", user=""
        )
        return Response(html, problem.status, media_type=HTML)

    def _page(
        self, request: HttpRequest, template: str, values: Mapping[str, Any], *, with_visitor: bool = True
    ) -> Page:
        browser = Browser.of(request)
        sessions = self._sessions if with_visitor else None
        session = None if sessions is None else sessions.find(browser.number)
        visitor = None if session is None else session.visitor
        return _written(self._templates, template, browser, self.forms, visitor, values)

    def template_of(self, problem: HttpProblem) -> tuple[str, dict[str, Any]]:
        """The template by which a problem is told, and its values; a service may have further ones."""
        if isinstance(problem, WrongForm):
            return problem.template, problem.values
        if isinstance(problem, SignInNeeded):
            return "sign_in.html", {"reason": problem.detail, "provider": self.provider}
        return "problem.html", _told(problem.status, problem.detail)


def _told(status: HTTPStatus, detail: str) -> dict[str, Any]:
    return {"title": _TITLES.get(status, status.phrase), "detail": detail}


def encode_page(page: Page) -> HttpResponse:
    """The page, and the number that its browser keeps."""
    return HttpResponse(media_type=HTML, headers=page.browser.headers, pieces=(page.html,))


def encode_patient_page(page: PatientPage) -> HttpResponse:
    """The page as `encode_page` does."""
    return encode_page(page.page)


def see(path: str, headers: Mapping[str, str] | None = None) -> HttpResponse:
    """Another page, which the browser asks for now."""
    return HttpResponse(status=HTTPStatus.SEE_OTHER, headers={"location": path, **(headers or {})})


#: A transaction by which a page is given to whoever is signed in, at a node with the `right` it names.
page_served: partial[ServedRest[Any, Any]] = partial(
    ServedRest,
    speaker=Speaker.USER,
    encode=encode_page,
    scheme=SessionCookie,
    error_form=ErrorPage,
)


def _written(
    templates: Templates,
    template: str,
    browser: Browser,
    forms: Forms,
    visitor: Visitor | None,
    values: Mapping[str, Any],
) -> Page:
    html = templates.written(template, **values, token=forms.token(browser), user=_name(visitor))
    return Page(browser=browser, html=html)


def _name(visitor: Visitor | None) -> str:
    user = visitor.user if visitor else None
    return (user.subject_id or user.alias or user.name_id) if user else ""
