"""What is wrong with a request over plain HTTP, as problem details (RFC 9457).

HttpProblem
  BadRequest          400  it cannot be read
  Unauthorized        401  nobody is proved to ask
  Forbidden           403  it is not accepted from there
  NotFound            404  it does not exist, or not for who asks: nobody learns which
  NotAcceptable       406  it is there, and not in a form that was asked for
  Conflict            409  it contradicts what is there
  TooLarge            413  more than is accepted
  WrongMediaType      415  another Content-Type is needed
  RangeProblem        416  there is nothing in the range that was asked for
  Misdirected         421  it is meant for another host
  Unprocessable       422  it was read, and cannot be answered as it is
  InternalProblem     500  our mistake
  BadGateway          502  a peer answered wrongly, or nothing that can be used
  Unavailable         503  try later
  StorageFull         507  there is no space for it
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, ClassVar

CONTENT_TYPE = "application/problem+json"


class HttpProblem(Exception):
    """A request ends with `status`; `detail` is shown and holds nothing about a patient.

    `members` go along in the problem details, for example `errors` of a peer.
    """

    status: ClassVar[HTTPStatus]
    headers: ClassVar[Mapping[str, str]] = {}

    def __init__(self, detail: str, **members: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.members = members

    def body(self) -> bytes:
        """The problem details."""
        members = {"title": self.status.phrase, "status": self.status, "detail": self.detail}
        return json.dumps(members | self.members, ensure_ascii=False).encode()


def asks_for_html(accept: str) -> bool:
    """Whether a person is told what is wrong: browsers name HTML; programs name JSON, or take anything."""
    accepted = {one.partition(";")[0].strip().lower() for one in accept.split(",")}
    return "text/html" in accepted and not accepted & {"application/json", CONTENT_TYPE}


def detail_of(octets: bytes) -> str:
    """What a body says is wrong: the detail of a problem, or the beginning of any other text."""
    try:
        return str(json.loads(octets)["detail"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return octets[:500].decode("utf-8", "replace").strip()


class BadRequest(HttpProblem):
    """The request cannot be read; sending it again unchanged will not help."""

    status = HTTPStatus.BAD_REQUEST


class Unauthorized(HttpProblem):
    """An assertion is needed, or the one that came is not accepted."""

    status = HTTPStatus.UNAUTHORIZED
    headers: ClassVar[Mapping[str, str]] = {"www-authenticate": 'SAML realm="xdsi"'}


class Forbidden(HttpProblem):
    """The request is not accepted from there, whoever asks."""

    status = HTTPStatus.FORBIDDEN


class NotFound(HttpProblem):
    """It does not exist, or not for who asks."""

    status = HTTPStatus.NOT_FOUND


class NotAcceptable(HttpProblem):
    """It cannot be given in any form that the request accepts."""

    status = HTTPStatus.NOT_ACCEPTABLE


class Conflict(HttpProblem):
    """What is asked contradicts what is there; sending it again will not help."""

    status = HTTPStatus.CONFLICT


class TooLarge(HttpProblem):
    """The body is longer than its limit."""

    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE


class WrongMediaType(HttpProblem):
    """The body has another Content-Type than is read here."""

    status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE


class RangeProblem(HttpProblem):
    """The range that was asked for begins behind the end of what there is, `total` bytes."""

    status = HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE

    def __init__(self, detail: str, total: int) -> None:
        super().__init__(detail)
        self.headers = {"content-range": f"bytes */{total}"}  # type: ignore[misc]  # of this answer alone


class Misdirected(HttpProblem):
    """The request names a host that this service is not."""

    status = HTTPStatus.MISDIRECTED_REQUEST


class Unprocessable(HttpProblem):
    """The request was read, and cannot be answered as it is."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY


class InternalProblem(HttpProblem):
    """Our mistake; the log explains it."""

    status = HTTPStatus.INTERNAL_SERVER_ERROR


class BadGateway(HttpProblem):
    """A peer refused what we sent, or answered nothing that can be used."""

    status = HTTPStatus.BAD_GATEWAY


class Unavailable(HttpProblem):
    """The request was in order and cannot be answered now."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
    headers: ClassVar[Mapping[str, str]] = {"retry-after": "5"}


class StorageFull(HttpProblem):
    """There is no space to keep it; nothing was kept."""

    status = HTTPStatus.INSUFFICIENT_STORAGE
