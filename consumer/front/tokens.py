"""How requests of the front name their user: by an assertion or an access token (ITI-72), or by a token for
one study.

A token is given to a page for the study that it shows. It leads to the session of the person who signed in,
is for that study alone and for minutes, and ends with the session. It stands in the Authorization header, or
in a cookie for this very host; never in an address.
"""

from __future__ import annotations

import json
import secrets
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from shared.http.raw_asgi import node_of
from shared.pages.sessions import Sessions
from shared.pages.visitors import place_of, token_of
from shared.rest.message import HttpRequest
from shared.rest.scheme import Bearer
from shared.security.caller import Node

LIFETIME_SECONDS: Final = 600.0
COOKIE: Final = "__Host-xdsi-study"
_PREFIX: Final = "study."
_NONCE_BYTES: Final = 12
_MOST_CHARACTERS: Final = 4 * 1024


@dataclass(frozen=True, slots=True)
class StudyGrant:
    """What a token is for: a study of a patient, for the session `number` (empty where nobody signs in) at
    the node `place`."""

    number: str
    place: str
    patient_id: str
    study_instance_uid: str


class StudyTokens:
    """Makes tokens and reads them by `key`, of 32 octets; `clock` gives seconds since 1970."""

    def __init__(self, key: bytes, clock: Callable[[], float] = time.time) -> None:
        self._cipher = AESGCM(key)
        self._clock = clock

    def issue(self, number: str, node: Node, *, patient_id: str, study_instance_uid: str) -> str:
        """A token for one study."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        ends = self._clock() + LIFETIME_SECONDS
        content = json.dumps([ends, number, place_of(node), patient_id, study_instance_uid]).encode()
        sealed = nonce + self._cipher.encrypt(nonce, content, _PREFIX.encode())
        return _PREFIX + urlsafe_b64encode(sealed).rstrip(b"=").decode()

    def read(self, token: str) -> StudyGrant | None:
        """What a token is for; None when it is none of ours, or over."""
        text = token.removeprefix(_PREFIX)
        if not token.startswith(_PREFIX) or len(text) > _MOST_CHARACTERS:
            return None
        try:
            sealed = urlsafe_b64decode(text + "=" * (-len(text) % 4))
            content = self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], _PREFIX.encode())
        except (ValueError, InvalidTag):
            return None
        ends, *fields = json.loads(content)
        return None if self._clock() >= ends else StudyGrant(*fields)


def study_token_of(request: HttpRequest) -> str:
    """The token for a study that comes with a request; empty when there is none."""
    scheme, _, text = request.headers.get("authorization", "").partition(" ")
    if scheme:
        return text.strip() if scheme.lower() == "bearer" and text.strip().startswith(_PREFIX) else ""
    return request.cookies.get(COOKIE, "")


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontToken(Bearer):
    """`Bearer`, with an assertion, an access token, or a token for a study, which leads to a session."""

    name: ClassVar[str] = "study"
    description: ClassVar[Mapping[str, Any]] = {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT (at+jwt) or SAML 2.0 assertion in base64url without padding (ITI-72), or the "
        f"token for a study that a page was given; the latter also in the cookie {COOKIE}",
    }

    tokens: StudyTokens
    sessions: Sessions

    def token(self, request: HttpRequest) -> str | None:
        """What follows `Bearer`; the assertion of the session where a token for a study leads to one."""
        if text := study_token_of(request):
            return self._of_session(text, request)
        # Without `super()`, which a class with slots has not.
        return Bearer.token(self, request)

    def _of_session(self, text: str, request: HttpRequest) -> str | None:
        grant = self.tokens.read(text)
        if grant is None or grant.place != place_of(node_of(request.scope)):
            return ""
        if not grant.number:
            return None
        session = self.sessions.find(grant.number)
        return "" if session is None else token_of(session.visitor.assertion or b"")
