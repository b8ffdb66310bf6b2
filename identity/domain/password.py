"""Passwords, kept as what Argon2id makes of them, with its parameters beside (RFC 9106; PHC string)."""

from __future__ import annotations

import secrets
from functools import lru_cache
from typing import Final

from cryptography.exceptions import InvalidKey
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

SHORTEST: Final = 12
LONGEST: Final = 256
#: What OWASP asks for: two rounds over 19 MiB; about 30 ms.
_ITERATIONS: Final = 2
_MEMORY_KIBIBYTES: Final = 19 * 1024
_SALT_BYTES: Final = 16
_DIGEST_BYTES: Final = 32


def digest_of(password: str) -> str:
    """What is kept of a password; it blocks."""
    kdf = Argon2id(
        salt=secrets.token_bytes(_SALT_BYTES),
        length=_DIGEST_BYTES,
        iterations=_ITERATIONS,
        lanes=1,
        memory_cost=_MEMORY_KIBIBYTES,
    )
    return kdf.derive_phc_encoded(password.encode())


def is_password(password: str, digest: str | None) -> bool:
    """Whether `digest` was made of the password; it blocks, and as long where there is no digest."""
    try:
        Argon2id.verify_phc_encoded(password.encode(), digest or _of_nobody())
    except InvalidKey:
        return False
    return digest is not None


@lru_cache(maxsize=1)
def _of_nobody() -> str:
    return digest_of(secrets.token_urlsafe(32))
