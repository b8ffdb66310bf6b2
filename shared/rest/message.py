"""A request over HTTP as a transaction reads it, and the response as it gives it."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from typing import Any, Final, Generic, Protocol, TypeVar, runtime_checkable
from urllib.parse import parse_qs

from pydantic import BaseModel
from starlette.requests import cookie_parser

from shared.http.json_body import read_json, read_json_octets
from shared.http.problem import BadRequest
from shared.http.raw_asgi import Piece, Receive, Scope, body_chunks

JSON: Final = "application/json"
MAX_BODY: Final = 64 * 1024
_MAX_QUERY_FIELDS: Final = 50

Body = TypeVar("Body", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One request; `route` is the one of its transaction by which it came, as `METHOD /path/{parameter}`."""

    scope: Scope
    receive: Receive
    route: str

    @property
    def path(self) -> str:
        """The path that was called."""
        return str(self.scope["path"])

    @property
    def parameters(self) -> Mapping[str, str]:
        """What stands in the path for the parameters of the route."""
        parameters: Mapping[str, str] = self.scope["path_params"]
        return parameters

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers by lower-case name; repeated ones are one list."""
        headers: dict[str, str] = {}
        for name, value in self.scope["headers"]:
            key, text = name.decode("latin-1"), value.decode("latin-1")
            headers[key] = f"{headers[key]}, {text}" if key in headers else text
        return headers

    @property
    def cookies(self) -> Mapping[str, str]:
        """The cookies by name, as browsers send them (RFC 6265 4.2)."""
        return cookie_parser(self.headers.get("cookie", ""))

    @property
    def query(self) -> Mapping[str, Sequence[str]]:
        """The query parameters; a plus sign is itself, as media types hold it, and no blank.

        Raises
        ------
        BadRequest
            There are more than anybody needs.
        """
        return self._parameters(self._query_string.replace("+", "%2B"))

    @property
    def form(self) -> Mapping[str, Sequence[str]]:
        """The query parameters as forms, and many clients, write them: a plus sign is a blank; raises as
        `query`."""
        return self._parameters(self._query_string)

    @property
    def _query_string(self) -> str:
        return str(self.scope.get("query_string", b"").decode("latin-1"))

    def _parameters(self, text: str) -> Mapping[str, Sequence[str]]:
        try:
            return parse_qs(text, max_num_fields=_MAX_QUERY_FIELDS)
        except ValueError:
            raise BadRequest(f"the query has more than {_MAX_QUERY_FIELDS} parameters") from None

    async def json(self, kind: type[Body], *, limit: int = MAX_BODY) -> Body:
        """The body as a value of `kind`; raises as `shared.http.json_body.read_json`."""
        return await read_json(self.headers, self.receive, kind, limit=limit)

    async def json_octets(self, *, limit: int = MAX_BODY) -> bytes:
        """The body, of a form of its own in JSON; raises as `shared.http.json_body.read_json_octets`."""
        return await read_json_octets(self.headers, self.receive, limit=limit)

    def chunks(self) -> AsyncGenerator[bytes]:
        """The body as it arrives; raises `ClientGone` when it ends too early."""
        return body_chunks(self.receive)


@runtime_checkable
class DescribedBody(Protocol):
    """Decodes requests whose body is a value of `kind`, in `media_type`: what OpenAPI says of them."""

    @property
    def kind(self) -> type[BaseModel]:
        """The model of the body."""
        ...

    @property
    def media_type(self) -> str:
        """Its Content-Type."""
        ...


@dataclass(frozen=True, slots=True)
class JsonBody(Generic[Body]):
    """Decodes requests whose body is a value of `kind` in JSON, of at most `limit` bytes."""

    kind: type[Body]
    limit: int = MAX_BODY
    media_type: str = field(default=JSON, init=False)

    async def __call__(self, request: HttpRequest) -> Body:
        """Read the body."""
        return await request.json(self.kind, limit=self.limit)


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpResponse:
    """A response: its body as `pieces`, sent without holding files in memory, or as a `stream`, of a length
    that nobody knows. `sent` is called when it is sent, or never will be."""

    status: HTTPStatus = HTTPStatus.OK
    media_type: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    pieces: Sequence[Piece] = ()
    stream: AsyncGenerator[bytes | bytearray] | None = None
    sent: Callable[[], None] | None = None

    @property
    def fields(self) -> list[tuple[bytes, bytes]]:
        """The header fields."""
        content_type = {"content-type": self.media_type} if self.media_type else {}
        return [
            (name.encode(), value.encode("latin-1"))
            for name, value in {**content_type, **self.headers}.items()
        ]


def json_response(content: Any, *, status: HTTPStatus = HTTPStatus.OK) -> HttpResponse:
    """`content` as JSON; octets are JSON already."""
    octets = content if isinstance(content, bytes) else json.dumps(content, ensure_ascii=False).encode()
    return HttpResponse(status=status, media_type=JSON, pieces=(octets,))


#: Encodes what was only begun: it is done later, or by somebody else.
json_accepted = partial(json_response, status=HTTPStatus.ACCEPTED)
#: Encodes what was made.
json_created = partial(json_response, status=HTTPStatus.CREATED)
