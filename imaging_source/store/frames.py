"""Instances in another transfer syntax: made once in a worker process, kept in a bounded cache.

The cache is emptied at start, so that nothing in it outlives a crash half written. A file stays at least
`KEPT_SECONDS` after its last use, which is longer than an answer may take; when the cache is full of such
files, nothing more is made.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import logging
import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from imaging_source.domain.instance import Instance
from imaging_source.domain.transfer_syntax import SHIPPED
from imaging_source.store import transcode
from shared.http.pieces import FileRange

KEPT_SECONDS: Final = 15 * 60.0
_WORKERS: Final = 2
_WORKER_MEMORY: Final = 4 * 1024**3
_TIMEOUT_SECONDS: Final = 10 * 60.0


@dataclass(slots=True)
class _Kept:
    size: int
    used: float


class Transcoder:
    """Gives instances in another transfer syntax; `codecs` is what it can do.

    Parameters
    ----------
    folder
        Its own folder, which is emptied.
    max_bytes
        Most that the cache may take on disk.
    """

    def __init__(self, folder: Path, *, max_bytes: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.codecs = SHIPPED
        self._folder = folder
        self._max_bytes = max_bytes
        self._clock = clock
        self._kept: dict[Path, _Kept] = {}
        self._making: dict[Path, asyncio.Future[Path]] = {}
        self._pool: ProcessPoolExecutor | None = None
        folder.mkdir(parents=True, exist_ok=True)
        for path in folder.iterdir():
            path.unlink()

    async def transcoded(self, instance: Instance, to: str) -> FileRange:
        """The whole Part 10 file of `instance` in the transfer syntax `to`.

        Raises
        ------
        ValueError
            Its pixels cannot be decoded, or are not what its attributes say.
        OSError
            A file cannot be read or written, or the cache is full of what is in use.
        """
        path = self._folder / f"{hashlib.sha256(f'{instance.sha256} {to}'.encode()).hexdigest()}.dcm"
        if path not in self._kept:
            if path not in self._making:
                self._making[path] = asyncio.ensure_future(self._make(instance, path, to))
            await asyncio.shield(self._making[path])
        kept = self._kept[path]
        kept.used = self._clock()
        return FileRange(path, 0, kept.size)

    async def close(self) -> None:
        """End the worker processes."""
        if self._pool is not None:
            await asyncio.to_thread(self._pool.shutdown, cancel_futures=True)
            self._pool = None

    async def _make(self, instance: Instance, path: Path, to: str) -> Path:
        try:
            self._make_room(instance.decoded_size or instance.size)
            part = path.with_suffix(".part")
            try:
                await self._run(instance.path, part, to)
                size = part.stat().st_size
                part.rename(path)
            finally:
                for leftover in self._folder.glob(f"{path.stem}.[pi]*"):
                    leftover.unlink()
            self._kept[path] = _Kept(size, self._clock())
            return path
        finally:
            del self._making[path]

    async def _run(self, source: Path, target: Path, to: str) -> None:
        loop = asyncio.get_running_loop()
        pool = self._pool = self._pool or _new_pool()
        try:
            done = loop.run_in_executor(pool, transcode.transcode, source, target, to)
            await asyncio.wait_for(done, _TIMEOUT_SECONDS)
        except (BrokenProcessPool, TimeoutError) as error:
            if self._pool is pool:
                self._pool = None
            _kill(pool)
            raise ValueError("the decoder failed or took too long") from error

    def _make_room(self, size: int) -> None:
        """Remove what was not used for longest, until `size` bytes fit."""
        total = sum(kept.size for kept in self._kept.values())
        idle = sorted(
            (kept.used, path) for path, kept in self._kept.items() if self._clock() - kept.used > KEPT_SECONDS
        )
        while total + size > self._max_bytes and idle:
            _, path = idle.pop(0)
            path.unlink(missing_ok=True)
            total -= self._kept.pop(path).size
        if total + size > self._max_bytes:
            raise OSError(errno.ENOSPC, "the cache of transcoded instances is full")


def _new_pool() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(
        _WORKERS,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=transcode.confine,
        initargs=(_WORKER_MEMORY, logging.getLevelName(logging.getLogger().level)),
    )


def _kill(pool: ProcessPoolExecutor) -> None:
    for process in list((pool._processes or {}).values()):
        process.kill()
    pool.shutdown(wait=False, cancel_futures=True)
