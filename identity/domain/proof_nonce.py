"""Nonces for proofs of possession (DPoP, RFC 9449 8): a proof that names one was made after it was given."""

from __future__ import annotations

import hmac
import re
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from hashlib import sha256
from typing import Final

_PURPOSE: Final = b"nonce of a proof of possession"
_TIME: Final = 6
_SEAL: Final = 24
_NONCE: Final = re.compile(r"[A-Za-z0-9_-]{40}")


class ProofNonces:
    """Nonces that hold for `seconds`; `clock` gives seconds since 1970.

    A nonce says when it was made, sealed by `key`: none is kept, and every process with the key takes it.
    """

    def __init__(self, key: bytes, seconds: float, clock: Callable[[], float] = time.time) -> None:
        self._key = key
        self._seconds = seconds
        self._clock = clock

    def fresh(self) -> str:
        """A nonce of now."""
        moment = int(self._clock()).to_bytes(_TIME)
        return urlsafe_b64encode(moment + self._seal(moment)).decode()

    def holds(self, nonce: str) -> bool:
        """Whether it was given, and not too long ago."""
        if not _NONCE.fullmatch(nonce):
            return False
        octets = urlsafe_b64decode(nonce)
        moment, seal = octets[:_TIME], octets[_TIME:]
        is_ours = hmac.compare_digest(seal, self._seal(moment))
        return is_ours and 0 <= self._clock() - int.from_bytes(moment) <= self._seconds

    def _seal(self, moment: bytes) -> bytes:
        return hmac.digest(self._key, _PURPOSE + moment, sha256)[:_SEAL]
