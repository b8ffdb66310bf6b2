"""The space of a file system, and what of it is left free."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

RESERVED_SHARE, RESERVED_BYTES = 20, 1024**3


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """What a file system holds, and what of it somebody without privileges can still use."""

    free_bytes: int
    total_bytes: int

    @property
    def reserved_bytes(self) -> int:
        """What is left free, a twentieth and at most 1 GiB: databases and the trail stand there too, and
        without them nothing could be read."""
        return min(self.total_bytes // RESERVED_SHARE, RESERVED_BYTES)

    @property
    def is_short(self) -> bool:
        """Whether less is free than is to be left free; then nothing new is kept."""
        return self.free_bytes < self.reserved_bytes


def space_of(folder: Path) -> Space:
    """The space of the file system of `folder`, now; raises `OSError`."""
    status = os.statvfs(folder)
    return Space(free_bytes=status.f_bavail * status.f_frsize, total_bytes=status.f_blocks * status.f_frsize)
