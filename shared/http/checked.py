"""Contents that are compared with their SHA-256 while they leave: the end comes only when all is right."""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterable
from typing import TypeVar

from shared.http.pieces import BodyBroken

Octets = TypeVar("Octets", bytes, memoryview)


class DamagedBlob(BodyBroken):
    """Contents are absent, or their bytes are not those that were acknowledged; the text is their digest
    alone."""


class StoreUnavailable(BodyBroken):
    """The store cannot be asked now; nothing is known of the contents."""


def checked(chunks: Iterable[Octets], sha256: str, size: int | None) -> Generator[Octets, None, None]:
    """`chunks`, of which the last one comes only when all of them together have this digest, and this size
    unless that is not known.

    Raises
    ------
    DamagedBlob
        They have not.
    """
    digest, total = hashlib.sha256(), 0
    held: Octets | None = None
    for chunk in chunks:
        digest.update(chunk)
        total += len(chunk)
        if held:
            yield held
        held = chunk
    if size not in (None, total) or digest.hexdigest() != sha256:
        raise DamagedBlob(sha256)
    if held:
        yield held
