"""What a service serves over REST: one value for each transaction, as `shared.soap.served` for SOAP."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from shared.audit.events import AuditEvent, Outcome
from shared.http.problem import HttpProblem
from shared.rest.message import HttpRequest, HttpResponse, problem_details
from shared.security.caller import Caller
from shared.security.rights import Right
from shared.security.speaker import Speaker

Request = TypeVar("Request")
Response = TypeVar("Response")


def unrecorded(_: Any, __: Any, ___: Caller, ____: Outcome) -> tuple[AuditEvent, ...]:
    """No event of its own: what it does is recorded where it is done, or it is spoken between the services of
    one community alone."""
    return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedRest(Generic[Request, Response]):
    """One transaction over REST, or one interface of our own, and how it is performed
    (docs/adding-a-rest-transaction.md).

    `number` is the one of IHE, empty for an interface of our own; `name` says what it does, and is its label
    in metrics. `routes` are `METHOD /path/{parameter}`; `right` is what the node needs for all of them.
    `decode` raises `HttpProblem`, `handle` that or `XdsError`; which further errors of theirs are which
    problem, with their text as its detail, stands in `problems`. `audit` is as for SOAP. `encode` raises the
    `HttpProblem` for an answer that is one. `refuse` is the form in which all of them are told.
    """

    name: str
    routes: tuple[str, ...]
    right: Right
    decode: Callable[[HttpRequest], Awaitable[Request]]
    handle: Callable[[Any, Request], Awaitable[Response]]
    encode: Callable[[Response], HttpResponse]
    audit: Callable[[Request, Response | None, Caller, Outcome], tuple[AuditEvent, ...]] = unrecorded
    number: str = ""
    speaker: Speaker = Speaker.NODE
    problems: Mapping[type[Exception], Callable[[str], HttpProblem]] = field(default_factory=dict)
    refuse: Callable[[HttpProblem], HttpResponse] = problem_details

    def door(self, route: str) -> str:
        """Under what name one of the routes is refused and recorded."""
        return self.number or route
