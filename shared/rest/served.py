"""What a service serves over REST: one value for each transaction, as `shared.soap.served` for SOAP."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from shared.audit.events import AuditEvent, Coded, Outcome, ihe
from shared.http.problem import HttpProblem
from shared.rest.error_form import ErrorForm, ProblemDetails
from shared.rest.message import HttpRequest, HttpResponse
from shared.rest.scheme import Bearer, Scheme
from shared.security.caller import Caller
from shared.security.rights import Right
from shared.security.scopes import NeededScope
from shared.security.speaker import Speaker

Request = TypeVar("Request")
Response = TypeVar("Response")


def unrecorded(_: Any, __: Any, ___: Caller, ____: Outcome) -> tuple[AuditEvent, ...]:
    """No event of its own: what it does is recorded where it is done, or it is spoken between the services of
    one community alone."""
    return ()


def as_encoded(_: HttpRequest, response: HttpResponse) -> HttpResponse:
    """The one form that there is."""
    return response


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedRest(Generic[Request, Response]):
    """One transaction over REST, or one interface of our own, and how it is performed
    (docs/adding-a-rest-transaction.md).

    `number` is the one of IHE, empty for an interface of our own; `name` says what it does, and is its label
    in metrics. `routes` are `METHOD /path/{parameter}`; `right` is what the node needs for all of them, None
    where every node is let in that TLS let in. `scheme` is how a request names its user, `error_form` how all
    that goes wrong is told; the service has the values of both.
    `decode` raises `HttpProblem`, `handle` that or `XdsError`; which further errors of theirs are which
    problem, with their text as its detail, stands in `problems`. `audit` is as for SOAP. `encode` raises the
    `HttpProblem` for an answer that is one, and `answered` puts that into a form that the request asks for
    beside its own. `event` is the EventTypeCode where records are of something else
    than the transaction itself.
    """

    name: str
    routes: tuple[str, ...]
    right: Right | None
    decode: Callable[[HttpRequest], Awaitable[Request]]
    handle: Callable[[Any, Request], Awaitable[Response]]
    encode: Callable[[Response], HttpResponse]
    audit: Callable[[Request, Response | None, Caller, Outcome], tuple[AuditEvent, ...]] = unrecorded
    answered: Callable[[HttpRequest, HttpResponse], HttpResponse] = as_encoded
    number: str = ""
    speaker: Speaker = Speaker.NODE
    problems: Mapping[type[Exception], Callable[[str], HttpProblem]] = field(default_factory=dict)
    scheme: type[Scheme] = Bearer
    error_form: type[ErrorForm] = ProblemDetails
    event: Coded | None = None

    @property
    def event_type(self) -> Coded:
        """The EventTypeCode of its audit records: `event`, or what its number and name make."""
        if self.event is not None:
            return self.event
        if self.number:
            return ihe(self.number, self.name)
        return Coded(self.name.lower().replace(" ", "-"), "xdsi", self.name)

    @property
    def needed(self) -> NeededScope:
        """What the scopes of an access token must cover."""
        return NeededScope(self.number)

    def door(self, route: str) -> str:
        """Under what name one of the routes is refused and recorded."""
        return self.number or route
