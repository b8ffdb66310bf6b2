"""Pages: made by the server without scripts, and the form in which people are told what is wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from http import HTTPStatus
from typing import Any, ClassVar, Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from consumer.domain.studies import date_of
from consumer.pages.browser import Browser
from consumer.pages.criteria import WrongSearch
from consumer.pages.forms import Forms
from consumer.pages.session_cookie import SessionCookie
from consumer.pages.sessions import Sessions
from consumer.pages.visitors import Reception, SignInNeeded, Visitor
from consumer.pages.workplace import Workplace
from shared.http.problem import HttpProblem
from shared.perform import UnitOfWork
from shared.rest.message import HttpRequest, HttpResponse
from shared.rest.served import ServedRest
from shared.security.rights import Right
from shared.security.speaker import Speaker

HTML: Final = "text/html; charset=utf-8"
_TITLES: Final = {
    HTTPStatus.NOT_FOUND: "Not here",
    HTTPStatus.FORBIDDEN: "Not accepted",
    HTTPStatus.BAD_GATEWAY: "No usable answer",
    HTTPStatus.SERVICE_UNAVAILABLE: "Not available now",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A page in the language of browsers, for one of them."""

    browser: Browser
    html: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class PageParts:
    """What the pages of one service are made of."""

    workplace: Workplace
    reception: Reception
    sessions: Sessions
    forms: Forms


@dataclass(slots=True)
class PageUnit(UnitOfWork[PageParts]):
    """What one request for a page works with."""

    @property
    def visitor(self) -> Visitor:
        """Who asks."""
        return Visitor.of(self.caller)

    async def page(self, template: str, browser: Browser, **values: Any) -> Page:
        """A page for the visitor; those of large studies are long to write: not on the loop."""
        return await asyncio.to_thread(_written, template, browser, self.parts.forms, self.visitor, values)


class ErrorPage:
    """A page that says what is wrong; the one to sign in, or to search again, where that would be right."""

    media_type: ClassVar[str] = HTML
    schema: ClassVar[Mapping[str, Any]] = {"type": "string", "description": "a page that says what is wrong"}

    def __init__(self, forms: Forms, sessions: Sessions) -> None:
        self._forms = forms
        self._sessions = sessions

    def response(self, problem: HttpProblem, request: HttpRequest) -> HttpResponse:
        """The page, with the status of the problem."""
        browser = Browser.of(request)
        session = self._sessions.find(browser.number)
        template, values = _of_problem(problem)
        visitor = None if session is None or isinstance(problem, SignInNeeded) else session.visitor
        page = encode_page(_written(template, browser, self._forms, visitor, values))
        return replace(page, status=problem.status, headers={**page.headers, **problem.headers})


def _of_problem(problem: HttpProblem) -> tuple[str, dict[str, Any]]:
    match problem:
        case SignInNeeded():
            return "sign_in.html", {"reason": problem.detail}
        case WrongSearch():
            return "search.html", {"searched": problem.searched, "wrong": problem.wrong}
        case _:
            title = _TITLES.get(problem.status, problem.status.phrase)
            return "problem.html", {"title": title, "detail": problem.detail}


def encode_page(page: Page) -> HttpResponse:
    """The page, and the number that its browser keeps."""
    return HttpResponse(media_type=HTML, headers=page.browser.headers, pieces=(page.html,))


def see(path: str, headers: Mapping[str, str] | None = None) -> HttpResponse:
    """Another page, which the browser asks for now."""
    return HttpResponse(status=HTTPStatus.SEE_OTHER, headers={"location": path, **(headers or {})})


#: A transaction by which a page is given to whoever is signed in.
page_served: partial[ServedRest[Any, Any]] = partial(
    ServedRest,
    right=Right.ASK,
    speaker=Speaker.USER,
    encode=encode_page,
    scheme=SessionCookie,
    error_form=ErrorPage,
)


# --- templates ---------------------------------------------------------------------------------------


def _written(
    template: str, browser: Browser, forms: Forms, visitor: Visitor | None, values: Mapping[str, Any]
) -> Page:
    html = _TEMPLATES.get_template(template).render(values, token=forms.token(browser), user=_name(visitor))
    return Page(browser=browser, html=html.encode())


def _name(visitor: Visitor | None) -> str:
    user = visitor.user if visitor else None
    return (user.subject_id or user.alias or user.name_id) if user else ""


def _person(name: str) -> str:
    """A person name of DICOM as people write it: family name, then the others."""
    family, _, others = name.partition("=")[0].partition("^")
    return ", ".join(part for part in (family, " ".join(others.replace("^", " ").split())) if part)


def _sop_class(uid: str) -> str:
    from pydicom.uid import UID  # it loads numpy, and is needed where instances are shown

    return str(UID(uid).name).removesuffix(" Storage")


_TEMPLATES: Final = Environment(
    loader=PackageLoader("consumer.pages"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_TEMPLATES.filters |= {
    "date": lambda moment: date_of(str(moment)),
    "person": _person,
    "sop_class": _sop_class,
}
