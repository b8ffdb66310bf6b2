"""The scrub: every byte of every document that is served is read and compared with its digest."""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from enum import StrEnum

from repository.integrity import Integrity
from repository.store.blobs import Blobs, StoreUnavailable
from repository.store.documents import find_blobs
from shared.store.engine import Reader


class Finding(StrEnum):
    """What was found of one blob."""

    WHOLE = "whole"
    REPAIRED = "repaired"
    DAMAGED = "damaged"
    UNKNOWN = "unknown"


@dataclass(slots=True)
class Report:
    """How many blobs were found how, and which of them are not whole."""

    counts: dict[Finding, int] = field(default_factory=lambda: dict.fromkeys(Finding, 0))
    bytes: int = 0
    not_whole: list[tuple[str, Finding]] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether every document is whole now."""
        return not (self.counts[Finding.DAMAGED] or self.counts[Finding.UNKNOWN])

    def add(self, sha256: str, size: int, finding: Finding) -> None:
        """Count one blob."""
        self.counts[finding] += 1
        self.bytes += size
        if finding is not Finding.WHOLE:
            self.not_whole.append((sha256, finding))


class RateLimit:
    """Called with a number of bytes, sleeps so that no more than so many pass in a second; 0 is no limit."""

    def __init__(self, bytes_per_second: float) -> None:
        self._rate = bytes_per_second
        self._free_at = 0.0
        self._lock = threading.Lock()

    def __call__(self, count: int) -> None:
        """Wait until `count` bytes may pass."""
        if not self._rate:
            return
        with self._lock:
            now = time.monotonic()
            self._free_at = max(self._free_at, now) + count / self._rate
            pause = self._free_at - now
        time.sleep(pause)


async def scrub(
    index: Reader, blobs: Blobs, integrity: Integrity, *, bytes_per_second: float = 0
) -> AsyncIterator[tuple[str, int, Finding]]:
    """Yield digest, size and finding of every blob, one after the other; damage is repaired where possible
    and told of in the trail."""
    limit = RateLimit(bytes_per_second)
    async for sha256, size in find_blobs(index):
        yield sha256, size, await _found(sha256, size, blobs, integrity, limit)


async def _found(sha256: str, size: int, blobs: Blobs, integrity: Integrity, limit: RateLimit) -> Finding:
    try:
        if await blobs.is_intact(sha256, size, pace=limit):
            return Finding.WHOLE
    except StoreUnavailable:
        return Finding.UNKNOWN
    return Finding.REPAIRED if await integrity.mend(sha256, size) else Finding.DAMAGED
