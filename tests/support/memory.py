"""Where tests have their files: in memory, where there is room for them.

A test with a few databases would spend more than half of its time waiting for a disk. What is synced, and
when, is tested by those who record it.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path

_MEMORY = Path("/dev/shm")
_ROOM_BYTES = 8 * 1024**3


def work_in_memory() -> None:
    """Have temporary files of this process, and of what it starts, in memory; a TMPDIR that is set stays."""
    if "TMPDIR" not in os.environ and _has_room():
        os.environ["TMPDIR"] = str(_MEMORY)
        # Somebody may have asked where it is already.
        tempfile.tempdir = None


def _has_room() -> bool:
    if not os.access(_MEMORY, os.W_OK) or os.statvfs(_MEMORY).f_flag & os.ST_NOEXEC:
        return False
    available = re.search(
        r"^MemAvailable: +(\d+) kB$", Path("/proc/meminfo").read_text("ascii"), re.MULTILINE
    )
    free = int(available[1]) * 1024 if available else 0
    return min(free, shutil.disk_usage(_MEMORY).free) >= _ROOM_BYTES
