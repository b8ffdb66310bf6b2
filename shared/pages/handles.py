"""Opaque handles: what a link leads to is sealed in it, for the one who was given it and for a time.

A handle names nothing to whoever reads it in a history or a log, cannot be made or changed by anybody else,
and is worthless to another user or at another node: opened there it is as unknown as one that was made up.
Who has the key opens them: a process alone, or all of a service. Each handle has a kind, of an enumeration of
its service, and is never taken for one of another kind.
"""

from __future__ import annotations

import json
import secrets
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from enum import StrEnum

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

LIFETIME_SECONDS = 8 * 3600.0
_NONCE_BYTES = 12
_MOST_CHARACTERS = 8 * 1024


class UnknownHandle(Exception):
    """It was not given to who brings it, or not by us, or too long ago; nobody learns which."""


class Handles:
    """Seals and opens handles by `key`, of 32 octets, or one of its own; `clock` gives seconds since 1970."""

    def __init__(self, key: bytes | None = None, clock: Callable[[], float] = time.time) -> None:
        self._cipher = AESGCM(key or AESGCM.generate_key(256))
        self._clock = clock

    def seal(self, kind: StrEnum, holder: str, *fields: str) -> str:
        """A handle to `fields` for `holder`, in characters that stand in a URL as they are."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        content = json.dumps([self._clock() + LIFETIME_SECONDS, *fields]).encode()
        sealed = nonce + self._cipher.encrypt(nonce, content, _bound(kind, holder))
        return urlsafe_b64encode(sealed).rstrip(b"=").decode()

    def open(self, kind: StrEnum, holder: str, handle: str) -> tuple[str, ...]:
        """What `seal` was given.

        Raises
        ------
        UnknownHandle
            It was given to somebody else, for something else, too long ago, or to nobody.
        """
        if len(handle) > _MOST_CHARACTERS:
            raise UnknownHandle
        try:
            sealed = urlsafe_b64decode(handle + "=" * (-len(handle) % 4))
            content = self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], _bound(kind, holder))
        except (ValueError, InvalidTag):
            raise UnknownHandle from None
        expires, *fields = json.loads(content)
        if self._clock() >= expires:
            raise UnknownHandle
        return tuple(fields)


def _bound(kind: StrEnum, holder: str) -> bytes:
    return json.dumps([kind, holder]).encode()
