"""The scrub: every byte of every document that is served is read and compared with its digest."""

from __future__ import annotations

from collections.abc import AsyncIterator

from repository.store.blobs import Blobs
from repository.store.documents import find_blobs
from repository.store.integrity import Integrity
from shared.http.checked import StoreUnavailable
from shared.store.engine import Reader
from shared.store.scrub import Finding, RateLimit


async def scrub(
    index: Reader, blobs: Blobs, integrity: Integrity, *, first: str = "", bytes_per_second: float = 0
) -> AsyncIterator[tuple[str, int, Finding]]:
    """Yield digest, size and finding of every blob, one after the other, from the digest `first` on and
    around; damage is repaired where possible and told of in the trail."""
    limit = RateLimit(bytes_per_second)
    async for sha256, size in find_blobs(index, first):
        yield sha256, size, await _found(sha256, size, blobs, integrity, limit)


async def _found(sha256: str, size: int, blobs: Blobs, integrity: Integrity, limit: RateLimit) -> Finding:
    try:
        if await blobs.is_intact(sha256, size, pace=limit):
            return Finding.WHOLE
    except StoreUnavailable:
        return Finding.UNKNOWN
    return Finding.REPAIRED if await integrity.mend(sha256, size) else Finding.DAMAGED
