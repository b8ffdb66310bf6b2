"""Whom the person who has something judged trusts to sign: certificates of signers, or of authorities."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from cryptography.x509 import Certificate

_TRUST: Final[ContextVar[tuple[Certificate, ...]]] = ContextVar("trust", default=())


@contextmanager
def trusting(certificates: Sequence[Certificate]) -> Iterator[None]:
    """What is judged within is judged by these."""
    token = _TRUST.set(tuple(certificates))
    try:
        yield
    finally:
        _TRUST.reset(token)


def trusted_certificates() -> tuple[Certificate, ...]:
    """Those that are trusted now; without any nobody said whom to trust."""
    return _TRUST.get()
