"""Where others' word about a person becomes the assertion that is passed on: the token endpoint of the
identity service (RFC 8693). A sign-in is exchanged once; an access token (ITI-72) as often as it is brought,
and what it became is remembered for a while.
"""

from __future__ import annotations

import json
import time
from base64 import urlsafe_b64decode
from collections import OrderedDict
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any, Final

import httpx2

from shared.http.client import http_client
from shared.security.certificate_check import http_certificate_known
from shared.settings import TlsSettings

EXCHANGE: Final = "urn:ietf:params:oauth:grant-type:token-exchange"
KIND: Final = "urn:ietf:params:oauth:token-type:"
ANSWER_SECONDS: Final = 10.0
#: An assertion is passed on to others, who need it some time longer.
_SPARE_SECONDS: Final = 60.0
_MOST_REMEMBERED: Final = 1_000
_MAX_BYTES: Final = 256 * 1024


class NoReply(Exception):
    """Nothing that can be used comes from `url`; the text says why, for the log."""

    def __init__(self, what: str, url: str, why: str) -> None:
        super().__init__(f"{what}: {why}")
        self.what, self.url, self.why = what, url, why


class ExchangeRefused(Exception):
    """The identity service knows nobody by this token, or believes it not."""


async def json_answer(
    http: httpx2.AsyncClient, method: str, url: str, **body: Any
) -> tuple[int, dict[str, Any]]:
    """Status and content of a small answer, empty where that is no object; `http` is closed.

    Raises
    ------
    NoReply
        None came that can be read.
    """
    try:
        request = http.stream(method, url, extensions={"trace": http_certificate_known}, **body)
        async with http, request as answer:
            octets = b""
            async for piece in answer.aiter_bytes():
                octets += piece
                if len(octets) > _MAX_BYTES:
                    raise ValueError("too long")
        content = json.loads(octets)
    except (OSError, httpx2.HTTPError, httpx2.InvalidURL, ValueError, RecursionError) as error:
        raise NoReply("no answer", url, type(error).__name__) from None
    return answer.status_code, content if isinstance(content, dict) else {}


class AssertionExchange:
    """The token endpoint at `url`; `clock` gives seconds that only grow."""

    def __init__(self, url: str, tls: TlsSettings, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._url = url
        self._tls = tls
        self._clock = clock
        self._remembered: OrderedDict[bytes, tuple[float, bytes]] = OrderedDict()

    async def of_sign_in(self, id_token: str, *, purpose: str = "") -> bytes:
        """The assertion of who signed in, for the purpose of use that is named.

        Raises
        ------
        ExchangeRefused, NoReply
            There is none.
        """
        form = {"purpose_of_use": purpose} if purpose else {}
        octets, _ = await self._exchanged(id_token, "id_token", form)
        return octets

    async def of_access_token(self, token: str) -> bytes:
        """The assertion that says what an access token says; the token was verified before.

        Raises
        ------
        ExchangeRefused, NoReply
            There is none.
        """
        key, now = sha256(token.encode()).digest(), self._clock()
        until, octets = self._remembered.get(key, (0.0, b""))
        if now < until:
            return octets
        octets, seconds = await self._exchanged(token, "access_token", {})
        self._remembered[key] = (now + seconds - _SPARE_SECONDS, octets)
        self._remembered.move_to_end(key)
        while len(self._remembered) > _MOST_REMEMBERED:
            self._remembered.popitem(last=False)
        return octets

    async def _exchanged(self, token: str, kind: str, more: Mapping[str, str]) -> tuple[bytes, float]:
        form = {
            "grant_type": EXCHANGE,
            "subject_token": token,
            "subject_token_type": f"{KIND}{kind}",
            "requested_token_type": f"{KIND}saml2",
            **more,
        }
        http = http_client(self._tls, peers=(self._url,), timeout_seconds=ANSWER_SECONDS)
        status, content = await json_answer(http, "POST", self._url, data=form)
        if content.get("error") == "invalid_grant":
            raise ExchangeRefused
        text, seconds = content.get("access_token"), content.get("expires_in", 0)
        try:
            if status != httpx2.codes.OK or not isinstance(text, str) or not isinstance(seconds, int):
                raise ValueError("no token")
            return urlsafe_b64decode(text + "=" * (-len(text) % 4)), float(seconds)
        except ValueError:
            why = str(content.get("error", status))[:100]
            raise NoReply("no assertion was given", self._url, why) from None
