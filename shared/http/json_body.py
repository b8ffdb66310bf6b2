"""The body of a request of our own interfaces: JSON, and sent as what it is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from shared.http.problem import BadRequest, TooLarge, WrongMediaType
from shared.http.raw_asgi import BodyTooLarge, receive_body
from shared.http.refused_body import reasons

Body = TypeVar("Body", bound=BaseModel)


async def read_json_octets(
    headers: Mapping[str, str],
    receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
    *,
    limit: int,
) -> bytes:
    """The body, which is sent as JSON or is empty.

    Raises
    ------
    WrongMediaType
        It is not sent as application/json, which a page of another site cannot do without asking first.
    TooLarge
        It is longer than `limit` bytes.
    """
    try:
        octets = await receive_body(receive, limit=limit)
    except BodyTooLarge as error:
        raise TooLarge(str(error)) from None
    if octets and headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise WrongMediaType("send the body as application/json")
    return octets


async def read_json(
    headers: Mapping[str, str],
    receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
    kind: type[Body],
    *,
    limit: int,
) -> Body:
    """The body as a value of `kind`; an absent one is an empty object.

    Raises
    ------
    WrongMediaType, TooLarge
        As `read_json_octets`.
    BadRequest
        It is no such value; the text says what is wrong with each part.
    """
    octets = await read_json_octets(headers, receive, limit=limit)
    try:
        return kind.model_validate_json(octets or b"{}")
    except ValidationError as error:
        raise BadRequest(reasons(error, kind)) from None
