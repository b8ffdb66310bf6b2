"""The form in which errors are told: problem details, or another that a transaction names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

from shared.http.problem import CONTENT_TYPE, HttpProblem
from shared.rest.message import HttpRequest, HttpResponse


class ErrorForm(Protocol):
    """One form of errors, as pages and FHIR's OperationOutcome are others.

    A transaction names it, and the service has its value. `schema` is that of the body, for OpenAPI.
    """

    media_type: ClassVar[str]
    schema: ClassVar[Mapping[str, Any]]

    def response(self, problem: HttpProblem, request: HttpRequest) -> HttpResponse:
        """`problem` as an answer to `request`, of which nothing may have been read yet."""
        ...


class ProblemDetails:
    """A problem as RFC 9457 tells it."""

    media_type: ClassVar[str] = CONTENT_TYPE
    schema: ClassVar[Mapping[str, Any]] = {
        "type": "object",
        "required": ["title", "status", "detail"],
        "properties": {
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string", "description": "what is wrong, and what would be right"},
        },
    }

    def response(self, problem: HttpProblem, _: HttpRequest) -> HttpResponse:
        """The problem details."""
        return HttpResponse(
            status=problem.status,
            media_type=self.media_type,
            headers=problem.headers,
            pieces=(problem.body(),),
        )
