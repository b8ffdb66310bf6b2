"""Whatever ends a request over REST, as the problem that is told."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from shared.audit.recorder import AuditUnavailable
from shared.errors import Actor, Rejected, UnavailableError, XdsError
from shared.http.problem import (
    HttpProblem,
    InternalProblem,
    TooLarge,
    Unavailable,
    Unprocessable,
)
from shared.http.raw_asgi import BodyTooLarge, ServerBusy
from shared.perform import InternalError, unexpected

Problems = Mapping[type[Exception], Callable[[str], HttpProblem]]


def problem_of(error: Exception, problems: Problems) -> HttpProblem:
    """`error` as a problem, by `problems` where it is one of a transaction; what nobody expected is logged,
    and told by the number of its log entry."""
    if isinstance(error, HttpProblem):
        return error
    for kind, problem in problems.items():
        if isinstance(error, kind):
            return problem(str(error))
    if isinstance(error, BodyTooLarge):
        return TooLarge(str(error))
    if isinstance(error, ServerBusy):
        return Unavailable("the service takes no more work at once; try again in a moment")
    if isinstance(error, AuditUnavailable):
        return Unavailable("the audit trail cannot be written now; nothing is answered without it")
    if isinstance(error, Rejected):
        return Unprocessable("; ".join(map(_told, error.errors)))
    return _of_code(error if isinstance(error, XdsError) else unexpected(error))


def _of_code(error: XdsError) -> HttpProblem:
    if isinstance(error, InternalError):
        return InternalProblem(error.context)
    return (Unavailable if isinstance(error, UnavailableError) else Unprocessable)(error.context)


def _told(error: XdsError) -> str:
    return f"{error.code_for(Actor.REPOSITORY)}: {error.context}"
