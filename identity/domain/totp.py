"""Codes of an app that change every half minute (TOTP, RFC 6238), by a secret that the app was given once."""

from __future__ import annotations

import hmac
import secrets
from base64 import b32encode
from dataclasses import dataclass
from hashlib import sha1
from typing import Final
from urllib.parse import quote

_STEP_SECONDS: Final = 30
_DIGITS: Final = 6
_SECRET_BYTES: Final = 20
#: Clocks of telephones go wrong by a step; who types is as slow.
_STEPS: Final = (0, -1, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class AppSecret:
    """The secret of an app; `used` is the step of its last code, which no code before or at it follows."""

    octets: bytes
    used: int = 0

    @classmethod
    def fresh(cls) -> AppSecret:
        """A new one."""
        return cls(octets=secrets.token_bytes(_SECRET_BYTES))

    def uri(self, person: str, place: str) -> str:
        """How an app is told of it (Key URI Format); it holds the secret."""
        issuer, account = quote(place, safe=""), quote(person, safe="")
        secret = b32encode(self.octets).decode()
        return f"otpauth://totp/{issuer}:{account}?secret={secret}&issuer={issuer}"

    def step_of(self, code: str, seconds: float) -> int | None:
        """The step of which `code` is at `seconds` since 1970, if it is of one and was not used before."""
        now = int(seconds // _STEP_SECONDS)
        matching = [
            now + away
            for away in _STEPS
            if hmac.compare_digest(self.code(now + away).encode(), code.encode()) and now + away > self.used
        ]
        return matching[0] if matching else None

    def code(self, step: int) -> str:
        """The code of a step (RFC 4226 5.3)."""
        # SHA-1 is what apps take; as HMAC it holds.
        digest = hmac.new(self.octets, step.to_bytes(8), sha1).digest()
        offset = digest[-1] & 0x0F
        number = int.from_bytes(digest[offset : offset + 4]) & 0x7FFF_FFFF
        return f"{number % 10**_DIGITS:0{_DIGITS}}"
