"""What a scrub finds: every byte that is served is read and compared with its digest, at a rate."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from enum import StrEnum


class Finding(StrEnum):
    """What was found of one blob or file."""

    WHOLE = "whole"
    REPAIRED = "repaired"
    DAMAGED = "damaged"
    UNKNOWN = "unknown"


@dataclass(slots=True)
class Report:
    """How many were found how, and which of them are not whole."""

    counts: dict[Finding, int] = field(default_factory=lambda: dict.fromkeys(Finding, 0))
    bytes: int = 0
    not_whole: list[tuple[str, Finding]] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether everything is whole now."""
        return not (self.counts[Finding.DAMAGED] or self.counts[Finding.UNKNOWN])

    def add(self, sha256: str, size: int, finding: Finding) -> None:
        """Count one."""
        self.counts[finding] += 1
        self.bytes += size
        if finding is not Finding.WHOLE:
            self.not_whole.append((sha256, finding))


def legs(first: str) -> tuple[tuple[str, str], tuple[str, str]]:
    """The digests from `first` on, and then those up to it, each as what they are above and up to which.

    A walk that is broken off again and again has so looked at the end as often as at the beginning.
    """
    return (first, "g"), ("", first)


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
