"""Parameters and errors as OAuth writes them (RFC 6749 3.2, 5.2)."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, ClassVar, Final

from shared.http.problem import BadRequest, HttpProblem, WrongMediaType
from shared.http.raw_asgi import receive_body
from shared.rest.message import JSON, HttpRequest, HttpResponse, json_response

_FORM: Final = "application/x-www-form-urlencoded"
_MAX_BODY: Final = 64 * 1024
NOT_KEPT: Final = {"cache-control": "no-store", "pragma": "no-cache"}


class OAuthRefusal(BadRequest):
    """A request that is refused as RFC 6749 5.2 says; `error` is its code."""

    def __init__(self, error: str, detail: str) -> None:
        super().__init__(detail)
        self.error = error


class OAuthError:
    """The form of errors of OAuth (RFC 6749 5.2)."""

    media_type: ClassVar[str] = JSON
    schema: ClassVar[Mapping[str, Any]] = {
        "type": "object",
        "required": ["error", "error_description"],
        "properties": {"error": {"type": "string"}, "error_description": {"type": "string"}},
    }

    def response(self, problem: HttpProblem, _: HttpRequest) -> HttpResponse:
        """The error, with the status of the problem."""
        content = {"error": _error_of(problem), "error_description": problem.detail}
        answer = json_response(content, status=problem.status)
        return HttpResponse(
            status=answer.status,
            media_type=answer.media_type,
            headers={**NOT_KEPT, **problem.headers},
            pieces=answer.pieces,
        )


def _error_of(problem: HttpProblem) -> str:
    if isinstance(problem, OAuthRefusal):
        return problem.error
    if problem.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return "invalid_client"
    return "server_error" if problem.status >= HTTPStatus.INTERNAL_SERVER_ERROR else "invalid_request"


async def parameters_of(request: HttpRequest) -> Mapping[str, str]:
    """The parameters in the body of a request.

    Raises
    ------
    WrongMediaType
        It is no form.
    OAuthRefusal
        One is given more than once.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM:
        raise WrongMediaType(f"send the parameters as {_FORM}")
    octets = await receive_body(request.receive, limit=_MAX_BODY)
    form = HttpRequest({**request.scope, "query_string": octets}, request.receive, request.route).form
    if repeated := [name for name, texts in form.items() if len(texts) > 1]:
        raise OAuthRefusal("invalid_request", f"{repeated[0]} is given more than once")
    return {name: texts[0] for name, texts in form.items()}
