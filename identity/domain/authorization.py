"""Authorization codes: what a client asked for, who signed in for it, and the code that is worth it once."""

from __future__ import annotations

import hmac
import secrets
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

CODE_SECONDS: Final = 60.0
MOST_CODES: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Authorization:
    """What a client asks for (RFC 6749 4.1.1, OpenID Connect Core 3.1.2.1); `challenge` is S256 of PKCE."""

    client_id: str
    redirect_uri: str
    state: str
    challenge: str
    nonce: str = ""
    scope: str = ""
    resource: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignIn:
    """Who signed in, when (seconds since 1970), and by what (`amr`, RFC 8176)."""

    name: str
    seconds: int
    methods: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CodeGrant:
    """What a code is worth."""

    authorization: Authorization
    sign_in: SignIn

    def is_proved_by(self, verifier: str) -> bool:
        """Whether `verifier` is what the challenge was made of (RFC 7636 4.6)."""
        digest = urlsafe_b64encode(sha256(verifier.encode()).digest()).rstrip(b"=")
        return hmac.compare_digest(digest, self.authorization.challenge.encode())


class Codes:
    """Codes that are not redeemed yet, each for a minute and once; `clock` gives seconds that only grow."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._grants: dict[bytes, tuple[float, CodeGrant]] = {}

    def give(self, grant: CodeGrant) -> str:
        """A code for what was granted; beyond `MOST_CODES` the oldest is worth nothing any more."""
        now = self._clock()
        for key in [key for key, (began, _) in self._grants.items() if now - began >= CODE_SECONDS]:
            del self._grants[key]
        if len(self._grants) >= MOST_CODES:
            del self._grants[next(iter(self._grants))]
        code = secrets.token_urlsafe(32)
        self._grants[_key(code)] = (now, grant)
        return code

    def take(self, code: str) -> CodeGrant | None:
        """What a code is worth, for the last time; None for any other."""
        began, grant = self._grants.pop(_key(code), (0.0, None))
        return grant if grant is not None and self._clock() - began < CODE_SECONDS else None


def _key(code: str) -> bytes:
    return sha256(code.encode()).digest()
