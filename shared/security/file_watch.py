"""Files that operators change while a service runs."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from time import monotonic

Stamp = tuple[int, int, int] | None


class FileWatch:
    """Tells whether files were changed since it was asked last; it looks at most every `look_seconds`."""

    def __init__(self, paths: Iterable[Path | None], *, look_seconds: float) -> None:
        self._paths = tuple(path for path in paths if path is not None)
        self._look_seconds = look_seconds
        self._looked = monotonic()
        self._stamps = self._now()

    def changed(self) -> bool:
        """Whether another content stands there now; a few microseconds, and none between two looks."""
        if not self._paths or monotonic() - self._looked < self._look_seconds:
            return False
        self._looked = monotonic()
        stamps = self._now()
        if stamps == self._stamps:
            return False
        self._stamps = stamps
        return True

    def _now(self) -> tuple[Stamp, ...]:
        return tuple(map(_stamp, self._paths))


def _stamp(path: Path) -> Stamp:
    """By what a changed file is known: a new one in its place has another number."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
