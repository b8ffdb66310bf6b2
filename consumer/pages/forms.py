"""Forms that only our own pages can send (CSRF), and the cookie that makes a browser known again.

Every browser gets a random number as its cookie. Each form holds a token that is made from it with a key of
this process, so another site can neither know nor choose it; and a browser tells the origin of a form.
"""

from __future__ import annotations

import hmac
import secrets
from hashlib import sha256
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive

from consumer.pages.sessions import LONGEST_SECONDS
from shared.http.problem import BadRequest, Forbidden
from shared.http.raw_asgi import receive_body
from shared.security.xua import MAX_BYTES

FIELD: Final = "token"
MAX_BODY: Final = MAX_BYTES + 16 * 1024
_MOST_FIELDS = 10


class Forms:
    """Makes tokens and checks what comes back; under TLS the cookie is for this very host alone."""

    def __init__(self, *, tls: bool) -> None:
        self._key = secrets.token_bytes(32)
        self._tls = tls
        # Cookies know no ports: other services of this host may have their own.
        self.cookie = "__Host-xdsi-consumer" if tls else "xdsi-consumer"

    def number(self, request: Request) -> str:
        """The number of the browser, or a new one."""
        return request.cookies.get(self.cookie) or secrets.token_urlsafe(32)

    def remember(self, response: Response, number: str) -> None:
        """Make the browser keep `number`."""
        response.set_cookie(
            self.cookie,
            number,
            max_age=int(LONGEST_SECONDS),
            path="/",
            secure=self._tls,
            httponly=True,
            samesite="lax",
        )

    def token(self, number: str) -> str:
        """The token for forms in the browser that has `number`."""
        return hmac.new(self._key, number.encode(), sha256).hexdigest()

    async def read(self, request: Request) -> FormData:
        """The fields of a form of ours; to be closed.

        Raises
        ------
        Forbidden
            It did not come from one of our pages in this browser.
        BadRequest
            It cannot be read.
        """
        _of_our_origin(request)
        octets = await receive_body(request.receive, limit=MAX_BODY)
        try:
            fields = await Request(request.scope, _once(octets)).form(
                max_files=1, max_fields=_MOST_FIELDS, max_part_size=MAX_BODY
            )
        except HTTPException:  # what Starlette makes of a form that is broken or beyond the limits
            raise BadRequest("the form cannot be read") from None
        number = request.cookies.get(self.cookie, "")
        given = str(fields.get(FIELD, ""))
        if not number or not hmac.compare_digest(given.encode(), self.token(number).encode()):
            await fields.close()
            raise Forbidden("the form is not from a page of this browser, or too old; open the page again")
        return fields


def _of_our_origin(request: Request) -> None:
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
        raise Forbidden("the form is from a page of another site")


def _once(octets: bytes) -> Receive:
    async def receive() -> Message:
        return {"type": "http.request", "body": octets, "more_body": False}

    return receive
