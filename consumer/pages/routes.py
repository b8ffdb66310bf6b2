"""The pages for clinicians: sign in, find studies, open one, download its images.

Made by the server without scripts. What a page is about stands in its address as an opaque handle, so that
neither a history nor a log holds the id of a patient.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from consumer.domain.studies import Criteria, WrongCriterion, date_of
from consumer.pages.delivery import InstanceResponse
from consumer.pages.forms import Forms
from consumer.pages.sessions import Sessions, TooManySessions
from consumer.pages.visitors import Reception, Visitor
from consumer.pages.workplace import Workplace
from consumer.unit import Parts
from shared.attempts import awaited
from shared.audit.events import LOGIN, LOGOUT, user_authentication
from shared.http.problem import BadRequest, HttpProblem, Unauthorized, Unavailable
from shared.http.raw_asgi import ClientGone, node_of
from shared.rest.problems import problem_of

_TITLES = {
    HTTPStatus.NOT_FOUND: "Not here",
    HTTPStatus.FORBIDDEN: "Not accepted",
    HTTPStatus.BAD_GATEWAY: "No usable answer",
    HTTPStatus.SERVICE_UNAVAILABLE: "Not available now",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class StudySearch:
    """What stands in the fields of the search form."""

    patient_id: str = ""
    modality: str = ""
    since: str = ""
    before: str = ""


class SignInNeeded(Exception):
    """A user is needed; the text says why again, or is empty."""


class Pages:
    """The pages of one service."""

    def __init__(self, parts: Parts, reception: Reception, workplace: Workplace, sessions: Sessions) -> None:
        self._parts = parts
        self._reception = reception
        self._workplace = workplace
        self._sessions = sessions
        self._forms = Forms(tls=parts.settings.tls.enabled)
        self._templates = Environment(
            loader=PackageLoader("consumer.pages"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters |= {
            "date": lambda moment: date_of(str(moment)),
            "person": _person,
            "sop_class": _sop_class,
        }
        self._style = files("consumer.pages").joinpath("style.css").read_bytes()

    def routes(self) -> list[Route]:
        """The routes below `/`."""
        pages = (
            ("GET", "/", self._home),
            ("POST", "/search", self._search),
            ("GET", "/searches/{handle}", self._found),
            ("GET", "/studies/{handle}", self._study),
            ("GET", "/instances/{handle}", self._instance),
            ("GET", "/sign-in", self._sign_in_page),
            ("POST", "/sign-in", self._sign_in),
            ("POST", "/sign-out", self._sign_out),
            ("GET", "/style.css", self._stylesheet),
        )
        return [Route(path, self._answering(page), methods=[method]) for method, path, page in pages]

    def _answering(
        self, page: Callable[[Request], Awaitable[Response]]
    ) -> Callable[[Request], Awaitable[Response]]:
        async def answering(request: Request) -> Response:
            match await awaited(page(request)):
                case ClientGone() as gone:
                    raise gone
                case SignInNeeded() as reason:
                    return await self._signing_in(request, str(reason), HTTPStatus.UNAUTHORIZED)
                case Exception() as error:
                    return await self._problem(request, problem_of(error, {}))
                case answer:
                    return answer

        return answering

    # -- pages

    async def _home(self, request: Request) -> Response:
        visitor = await self._visitor(request)
        return await self._page(request, "search.html", visitor, searched=StudySearch(), wrong={})

    async def _search(self, request: Request) -> Response:
        visitor = await self._visitor(request)
        async with await self._fields(request) as fields:
            searched = StudySearch(
                **{name: str(fields.get(name, ""))[:256] for name in StudySearch.__dataclass_fields__}
            )
        try:
            criteria = Criteria.of(
                searched.patient_id,
                affinity_domain=self._parts.settings.affinity_domain,
                modalities=searched.modality.replace(",", " ").split(),
                since=searched.since,
                before=searched.before,
            )
        except WrongCriterion as error:
            return await self._page(
                request,
                "search.html",
                visitor,
                status=HTTPStatus.UNPROCESSABLE_ENTITY,
                searched=searched,
                wrong={error.name: error.text},
            )
        return _see(f"/searches/{self._workplace.search_handle(visitor, criteria)}")

    async def _found(self, request: Request) -> Response:
        visitor = await self._visitor(request)
        criteria = self._workplace.search_behind(visitor, request.path_params["handle"])
        studies = await self._workplace.find(visitor, criteria)
        own = self._parts.settings.home_community_id
        return await self._page(request, "found.html", visitor, criteria=criteria, found=studies, own=own)

    async def _study(self, request: Request) -> Response:
        visitor = await self._visitor(request)
        opened = await self._workplace.open_handle(visitor, request.path_params["handle"])
        return await self._page(request, "study.html", visitor, opened=opened)

    async def _instance(self, request: Request) -> Response:
        visitor = await self._visitor(request)
        return InstanceResponse(await self._workplace.fetch(visitor, request.path_params["handle"]))

    async def _stylesheet(self, _: Request) -> Response:
        return Response(self._style, media_type="text/css", headers={"cache-control": "max-age=300"})

    # -- signing in and out

    async def _sign_in_page(self, request: Request) -> Response:
        return await self._signing_in(request, "", HTTPStatus.OK)

    async def _signing_in(self, request: Request, reason: str, status: HTTPStatus) -> Response:
        answer = await self._page(request, "sign_in.html", None, status=status, reason=reason)
        if status is HTTPStatus.UNAUTHORIZED:
            answer.headers.update(Unauthorized.headers)
        return answer

    async def _sign_in(self, request: Request) -> Response:
        node = node_of(request.scope)
        async with await self._fields(request) as fields:
            assertion = await _uploaded(fields)
        try:
            visitor = await self._reception.admit(request.scope, assertion)
        except Unauthorized:
            raise SignInNeeded("The assertion in this file is not accepted. It may have expired.") from None
        if visitor.user is None:
            raise BadRequest("assertions are off in this service (XDSI_XUA); nobody can sign in")
        await self._parts.recorder.record((user_authentication(visitor.user, node, LOGIN),))
        self._sessions.close(self._forms.number(request))
        try:
            number = self._sessions.open(visitor)
        except TooManySessions:
            raise Unavailable("too many people are signed in; try again in a few minutes") from None
        answer = _see("/")
        self._forms.remember(answer, number)
        return answer

    async def _sign_out(self, request: Request) -> Response:
        async with await self._fields(request):
            ended = self._sessions.close(self._forms.number(request))
        if ended is not None and ended.visitor.user is not None:
            node = node_of(request.scope)
            await self._parts.recorder.record((user_authentication(ended.visitor.user, node, LOGOUT),))
        answer = _see("/sign-in")
        answer.delete_cookie(
            self._forms.cookie, path="/", secure=self._parts.settings.tls.enabled, httponly=True
        )
        return answer

    async def _visitor(self, request: Request) -> Visitor:
        """Who is signed in, verified anew; or the node by itself where no user is needed."""
        node, number = node_of(request.scope), self._forms.number(request)
        session = self._sessions.find(number)
        if session is None:
            visitor = await self._reception.without_user(node)
            if visitor is None:
                raise SignInNeeded
            return visitor
        try:
            visitor = await self._reception.admit(request.scope, session.visitor.assertion or b"")
        except Unauthorized:
            self._sessions.close(number)
            raise SignInNeeded("Your assertion is no longer valid. Sign in with a new one.") from None
        if visitor.holder != session.visitor.holder:
            raise SignInNeeded
        return visitor

    # -- with

    async def _fields(self, request: Request) -> Any:
        return _Closing(await self._forms.read(request))

    async def _problem(self, request: Request, problem: HttpProblem) -> Response:
        session = self._sessions.find(self._forms.number(request))
        answer = await self._page(
            request,
            "problem.html",
            session.visitor if session else None,
            status=problem.status,
            title=_TITLES.get(problem.status, problem.status.phrase),
            detail=problem.detail,
        )
        answer.headers.update(problem.headers)
        return answer

    async def _page(
        self,
        request: Request,
        template: str,
        visitor: Visitor | None,
        *,
        status: HTTPStatus = HTTPStatus.OK,
        **values: Any,
    ) -> Response:
        number = self._forms.number(request)
        values |= {"token": self._forms.token(number), "user": _name(visitor)}
        rendered = await asyncio.to_thread(self._templates.get_template(template).render, values)
        answer = HTMLResponse(rendered, status)
        if self._forms.cookie not in request.cookies:
            self._forms.remember(answer, number)
        return answer


class _Closing:
    """The fields of a form, closed at the end."""

    def __init__(self, fields: FormData) -> None:
        self._fields = fields

    async def __aenter__(self) -> FormData:
        return self._fields

    async def __aexit__(self, *_: object) -> None:
        await self._fields.close()


async def _uploaded(fields: FormData) -> bytes:
    file = fields.get("assertion")
    octets = await file.read() if isinstance(file, UploadFile) else b""
    if not octets:
        raise SignInNeeded("Choose the file with your assertion first.")
    return octets


def _see(path: str) -> RedirectResponse:
    return RedirectResponse(path, HTTPStatus.SEE_OTHER)


def _person(name: str) -> str:
    """A person name of DICOM as people write it: family name, then the others."""
    family, _, others = name.partition("=")[0].partition("^")
    return ", ".join(part for part in (family, " ".join(others.replace("^", " ").split())) if part)


def _sop_class(uid: str) -> str:
    from pydicom.uid import UID  # it loads numpy, and is needed where instances are shown

    return str(UID(uid).name).removesuffix(" Storage")


def _name(visitor: Visitor | None) -> str:
    user = visitor.user if visitor else None
    return (user.subject_id or user.alias or user.name_id) if user else ""
