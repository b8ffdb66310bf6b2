"""Files that are made once and kept as long as somebody may read them, in a bounded folder.

It is emptied at start, so that nothing in it outlives a crash half written. A file stays at least
`KEPT_SECONDS` after its last use, which is longer than an answer may take; when the cache is full of such
files, nothing more is made.
"""

from __future__ import annotations

import asyncio
import errno
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from shared.http.pieces import FileRange

KEPT_SECONDS: Final = 15 * 60.0


@dataclass(slots=True)
class _Kept:
    size: int
    used: float


class FileCache:
    """Gives files by their names, and makes those that it has not.

    Parameters
    ----------
    folder
        Its own folder, which is emptied.
    max_bytes
        Most that the cache may take on disk.
    """

    def __init__(self, folder: Path, *, max_bytes: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._clock = clock
        self._kept: dict[Path, _Kept] = {}
        self._making: dict[Path, asyncio.Future[None]] = {}
        folder.mkdir(parents=True, exist_ok=True)
        for path in folder.iterdir():
            path.unlink()

    async def file(self, name: str, size: int, make: Callable[[Path], Awaitable[None]]) -> FileRange:
        """All of the file `name`, which `make` writes to the path that it is given, about `size` bytes.

        Beside that path it may use others with the same stem.

        Raises
        ------
        OSError
            A file cannot be read or written, or the cache is full of what is in use; and whatever `make`
            raises.
        """
        path = self._folder / name
        if path not in self._kept:
            if path not in self._making:
                self._making[path] = asyncio.ensure_future(self._make(path, size, make))
            await asyncio.shield(self._making[path])
        file = self._kept[path]
        file.used = self._clock()
        return FileRange(path, 0, file.size)

    def clear(self) -> None:
        """Remove all files; an answer that is about to send one is broken off."""
        for path in list(self._kept):
            path.unlink(missing_ok=True)
            self._kept.pop(path, None)

    async def _make(self, path: Path, size: int, make: Callable[[Path], Awaitable[None]]) -> None:
        try:
            self._make_room(size)
            part = path.with_suffix(".part")
            try:
                await make(part)
                size = part.stat().st_size
                part.rename(path)
            finally:
                for leftover in self._folder.glob(f"{path.stem}.[pi]*"):
                    leftover.unlink()
            self._kept[path] = _Kept(size, self._clock())
        finally:
            del self._making[path]

    def _make_room(self, size: int) -> None:
        """Remove what was not used for longest, until `size` bytes fit."""
        total = sum(file.size for file in self._kept.values())
        idle = sorted(
            (file.used, path) for path, file in self._kept.items() if self._clock() - file.used > KEPT_SECONDS
        )
        while total + size > self._max_bytes and idle:
            _, path = idle.pop(0)
            path.unlink(missing_ok=True)
            total -= self._kept.pop(path).size
        if total + size > self._max_bytes:
            raise OSError(errno.ENOSPC, f"the cache {self._folder.name} is full")
