"""What every FHIR interface of ours has over REST (FHIR R4): its media types, its form of errors, and how its
resources and search parameters are read and given."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any, ClassVar, Final
from urllib.parse import parse_qsl

from shared.audit.resource_xml import write_xml
from shared.http.problem import BadRequest, HttpProblem, NotAcceptable, TooLarge, WrongMediaType
from shared.http.raw_asgi import BodyTooLarge, receive_body
from shared.rest.message import HttpRequest, HttpResponse

FHIR_JSON: Final = "application/fhir+json"
FHIR_XML: Final = "application/fhir+xml"
MAX_BODY: Final = 4 * 1024**2
URL_ENCODED: Final = "application/x-www-form-urlencoded"

_CONTENT_TYPE: Final = f"{FHIR_JSON}; charset=utf-8"
_JSON: Final = frozenset({FHIR_JSON, "application/json", "text/json", "json"})
_XML: Final = frozenset({FHIR_XML, "application/xml", "text/xml", "xml"})
_ANY: Final = frozenset({"*/*", "application/*", ""})
_VERSIONS: Final = frozenset({"", "4.0", "4.0.1"})
_MOST_PARAMETERS: Final = 100
#: IssueType of the problems that have no better one.
_CODES: Final[Mapping[HTTPStatus, str]] = {
    HTTPStatus.UNAUTHORIZED: "login",
    HTTPStatus.FORBIDDEN: "forbidden",
    HTTPStatus.NOT_FOUND: "not-found",
    HTTPStatus.NOT_ACCEPTABLE: "not-supported",
    HTTPStatus.CONFLICT: "conflict",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "too-long",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "not-supported",
    HTTPStatus.INTERNAL_SERVER_ERROR: "exception",
    HTTPStatus.SERVICE_UNAVAILABLE: "transient",
    HTTPStatus.INSUFFICIENT_STORAGE: "no-store",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Issue:
    """One issue of an OperationOutcome: an IssueType, what is wrong, and where (FHIRPath)."""

    code: str
    text: str
    expression: str = ""
    severity: str = "error"


def outcome(issues: Iterable[Issue]) -> dict[str, Any]:
    """The OperationOutcome of issues."""
    return {
        "resourceType": "OperationOutcome",
        "issue": [
            {
                "severity": one.severity,
                "code": one.code,
                "diagnostics": one.text,
                **({"expression": [one.expression]} if one.expression else {}),
            }
            for one in issues
        ],
    }


def issues_of(problem: HttpProblem) -> Sequence[Issue]:
    """What a problem says, as issues: its `issues` where it has them."""
    code = _CODES.get(problem.status, "invalid")
    return problem.members.get("issues") or (Issue(code=code, text=problem.detail),)


class OperationOutcome:
    """A problem as FHIR tells it."""

    media_type: ClassVar[str] = _CONTENT_TYPE
    schema: ClassVar[Mapping[str, Any]] = {
        "type": "object",
        "required": ["resourceType", "issue"],
        "properties": {"resourceType": {"const": "OperationOutcome"}, "issue": {"type": "array"}},
    }

    def response(self, problem: HttpProblem, request: HttpRequest) -> HttpResponse:
        """The OperationOutcome, with the status of the problem, in the form that is asked for."""
        return in_asked_form(
            request,
            resource_response(outcome(issues_of(problem)), status=problem.status, headers=problem.headers),
        )


def resource_response(
    resource: Mapping[str, Any],
    *,
    status: HTTPStatus = HTTPStatus.OK,
    headers: Mapping[str, str] | None = None,
) -> HttpResponse:
    """A resource in JSON."""
    octets = json.dumps(resource, ensure_ascii=False).encode()
    return HttpResponse(status=status, media_type=_CONTENT_TYPE, headers=headers or {}, pieces=(octets,))


def check_format(request: HttpRequest) -> None:
    """See that the answer may be JSON of R4: by `_format`, else by Accept.

    Raises
    ------
    NotAcceptable
        Another form is asked for.
    """
    if not _asks_for(request, _JSON | _ANY):
        raise NotAcceptable(f"answers are given as {FHIR_JSON} of FHIR 4.0 alone")


def check_either_format(request: HttpRequest) -> None:
    """See that the answer may be JSON or XML of R4; as `check_format`, for what `in_asked_form` answers.

    Raises
    ------
    NotAcceptable
        Another form is asked for.
    """
    if not _asks_for(request, _JSON | _XML | _ANY):
        raise NotAcceptable(f"answers are given as {FHIR_JSON} or {FHIR_XML} of FHIR 4.0")


def in_asked_form(request: HttpRequest, response: HttpResponse) -> HttpResponse:
    """An answer in JSON, or in XML where that is asked for and JSON is not."""
    try:
        in_xml = not _asks_for(request, _JSON | _ANY) and _asks_for(request, _XML)
    except BadRequest:
        in_xml = False
    if response.media_type != _CONTENT_TYPE or not in_xml:
        return response
    octets = write_xml(json.loads(b"".join(response.pieces)))  # type: ignore[arg-type]  # all in memory
    return replace(response, media_type=f"{FHIR_XML}; charset=utf-8", pieces=(octets,))


def _asks_for(request: HttpRequest, media_types: frozenset[str]) -> bool:
    formats = request.query.get("_format") or request.headers.get("accept", "").split(",")
    return any(_is_of(one, media_types) for one in formats)


def _is_of(media_type: str, names: frozenset[str]) -> bool:
    name, *parameters = (part.strip() for part in media_type.split(";"))
    versions = [one.partition("=")[2] for one in parameters if one.lower().startswith("fhirversion=")]
    # A plus sign that was not encoded arrives as a blank with some clients.
    return name.replace(" ", "+").lower() in names and _VERSIONS.issuperset(versions)


async def json_octets(request: HttpRequest, *, limit: int = MAX_BODY) -> bytes:
    """The body, which is a resource in JSON.

    Raises
    ------
    WrongMediaType
        It is sent as something else.
    TooLarge
        It is longer than `limit` bytes.
    """
    if _sent_as(request) not in _JSON:
        raise WrongMediaType(f"send the resource as {FHIR_JSON}")
    return await _octets(request, limit)


async def resource_octets(request: HttpRequest, *, limit: int = MAX_BODY) -> tuple[bytes, bool]:
    """The body, which is a resource in JSON or XML, and whether it is XML; raises as `json_octets`."""
    sent_as = _sent_as(request)
    if sent_as not in _JSON | _XML:
        raise WrongMediaType(f"send the resource as {FHIR_JSON} or {FHIR_XML}")
    return await _octets(request, limit), sent_as in _XML


def _sent_as(request: HttpRequest) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def search_parameters(request: HttpRequest) -> list[tuple[str, str]]:
    """The parameters of a search, in their order: of the address, and of the form that `_search` takes.

    Raises
    ------
    WrongMediaType, TooLarge
        The body is no form, or a large one.
    BadRequest
        They cannot be read, or are more than anybody needs.
    """
    texts = [request.scope.get("query_string", b"")]
    if request.scope["method"] == "POST":
        if _sent_as(request) != URL_ENCODED:
            raise WrongMediaType(f"send the parameters as {URL_ENCODED}")
        texts.append(await _octets(request, 64 * 1024))
    try:
        return [
            pair
            for text in texts
            for pair in parse_qsl(
                text.decode(),
                keep_blank_values=True,
                max_num_fields=_MOST_PARAMETERS,
                errors="strict",
            )
        ]
    except ValueError:
        raise BadRequest(f"the parameters are no form in UTF-8, or more than {_MOST_PARAMETERS}") from None


async def _octets(request: HttpRequest, limit: int) -> bytes:
    try:
        return await receive_body(request.receive, limit=limit)
    except BodyTooLarge as error:
        raise TooLarge(str(error)) from None
