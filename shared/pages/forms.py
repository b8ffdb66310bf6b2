"""Forms that only our own pages can send (CSRF).

Each form holds a token that is made from the number of the browser, which is a secret of the two of us, so
another site can neither know nor choose it; every process makes the same. And a browser tells the origin of a
form.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from functools import wraps
from hashlib import sha256
from typing import Any, ClassVar, Final, Generic, TypeVar
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Message, Receive

from shared.http.problem import BadRequest, Forbidden
from shared.http.raw_asgi import receive_body
from shared.pages.browser import Browser
from shared.rest.message import HttpRequest
from shared.security.xua import MAX_BYTES

URL_ENCODED: Final = "application/x-www-form-urlencoded"
MULTIPART: Final = "multipart/form-data"
MAX_BODY: Final = MAX_BYTES + 16 * 1024
_MOST_FIELDS = 40
_PURPOSE: Final = b"form"


class FormFields(BaseModel):
    """What stands in every form; of each field no more than the `longest` that it may be."""

    model_config = ConfigDict(frozen=True)

    longest: ClassVar[int] = MAX_BODY

    token: str = Field("", description="as it stood in the form, on a page that this browser was given")

    @field_validator("*", mode="before")
    @classmethod
    def _cut(cls, value: Any) -> Any:
        return value[: cls.longest] if isinstance(value, str | bytes) else value


Fields = TypeVar("Fields", bound=FormFields)
Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class SentForm(Generic[Fields]):
    """A form that was sent by a browser."""

    browser: Browser
    fields: Fields


class Forms:
    """Makes tokens, and checks those that come back."""

    def token(self, browser: Browser) -> str:
        """The token for forms in a browser."""
        return hmac.new(browser.number.encode(), _PURPOSE, sha256).hexdigest()

    def check(self, form: SentForm[Any]) -> None:
        """Let a form pass that is from one of our pages in its browser.

        Raises
        ------
        Forbidden
            It is not.
        """
        of_ours = hmac.compare_digest(form.fields.token.encode(), self.token(form.browser).encode())
        if form.browser.is_new or not of_ours:
            raise Forbidden("the form is not from a page of this browser, or too old; open the page again")


def of_our_pages(
    handle: Callable[[Any, SentForm[Fields]], Awaitable[Answer]],
) -> Callable[[Any, SentForm[Fields]], Awaitable[Answer]]:
    """`handle`, for forms of our own pages alone; the parts of its unit have the `forms`."""

    @wraps(handle)
    async def checked(unit: Any, form: SentForm[Fields]) -> Answer:
        unit.parts.forms.check(form)
        return await handle(unit, form)

    return checked


@dataclass(frozen=True, slots=True)
class FormBody(Generic[Fields]):
    """Decodes requests whose body is a form with the fields of `kind`.

    Raises
    ------
    Forbidden
        A page of another site sent it.
    BadRequest
        It cannot be read.
    """

    kind: type[Fields]
    media_type: str = URL_ENCODED

    async def __call__(self, request: HttpRequest) -> SentForm[Fields]:
        """Read the form."""
        from_our_origin(request)
        values = await _values(request, self.kind.model_fields)
        try:
            fields = self.kind.model_validate(values)
        except ValidationError:
            raise BadRequest("a field of the form does not hold what it is for") from None
        return SentForm(browser=Browser.of(request), fields=fields)


async def _values(request: HttpRequest, names: Iterable[str]) -> dict[str, str | bytes]:
    """Those of the fields with `names` that are there; files as their content."""
    octets = await receive_body(request.receive, limit=MAX_BODY)
    try:
        form = Request(request.scope, _once(octets)).form(
            max_files=1, max_fields=_MOST_FIELDS, max_part_size=MAX_BODY
        )
        async with form as fields:
            return {name: await _value(fields[name]) for name in names if name in fields}
    except HTTPException:  # what Starlette makes of a form that is broken or beyond the limits
        raise BadRequest("the form cannot be read") from None


async def _value(field: UploadFile | str) -> str | bytes:
    return await field.read() if isinstance(field, UploadFile) else field


def from_our_origin(request: HttpRequest) -> None:
    """Let a request pass that no page of another site sent; raises Forbidden for one that did."""
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
        raise Forbidden("the form is from a page of another site")


def _once(octets: bytes) -> Receive:
    async def receive() -> Message:
        return {"type": "http.request", "body": octets, "more_body": False}

    return receive
