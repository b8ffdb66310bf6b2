"""What one answer holds on to until it is sent: instances of the cache, and plain files made of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from uuid import uuid4

from consumer.store.image_cache import CachedInstance, ImageCache
from shared.http.pieces import FileRange


class Lease:
    """Instances that stay as long as an answer needs them; `release` lets go of them, and so does its end."""

    def __init__(self, cache: ImageCache, folder: Path) -> None:
        self._cache = cache
        self._folder = folder
        self._held: list[CachedInstance] = []
        self._plain: dict[str, asyncio.Future[Path]] = {}
        self._paths: list[Path] = []

    def __del__(self) -> None:
        self.release()

    def hold(self, cached: CachedInstance) -> None:
        """Take over what `ImageCache.use` held on to."""
        self._held.append(cached)

    async def plain(self, cached: CachedInstance) -> Path:
        """The plain Part 10 file, which is gone at the release."""
        uid = cached.instance.sop_instance_uid
        if uid not in self._plain:
            self._plain[uid] = asyncio.ensure_future(self._opened(cached))
        return await asyncio.shield(self._plain[uid])

    async def _opened(self, cached: CachedInstance) -> Path:
        path = self._new(".dcm")
        await asyncio.to_thread(cached.content.open, path)
        return path

    async def file(self, name: str, _: int, make: Callable[[Path], Awaitable[None]]) -> FileRange:
        """What `make` writes, which is gone at the release."""
        path = self._new(Path(name).suffix)
        await make(path)
        return FileRange(path, 0, path.stat().st_size)

    def clear(self) -> None:
        """Nothing is kept that could be removed."""

    def _new(self, suffix: str) -> Path:
        path = self._folder / f"{uuid4()}{suffix}"
        self._paths.append(path)
        return path

    def release(self) -> None:
        """Let go, once."""
        for cached in self._held:
            self._cache.release(cached)
        for path in self._paths:
            path.unlink(missing_ok=True)
        self._held, self._paths = [], []
