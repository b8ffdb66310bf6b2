"""Instances in another transfer syntax: made once in a worker process, kept in a bounded cache."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import multiprocessing
from collections.abc import Awaitable, Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path
from typing import Final, Protocol, TypeVar

from shared.http.pieces import FileRange
from shared.imaging import transcode
from shared.imaging.instance import Instance
from shared.imaging.rendering import Rendering
from shared.imaging.transfer_syntax import SHIPPED

Result = TypeVar("Result")

_WORKERS: Final = 2
_WORKER_MEMORY: Final = 4 * 1024**3
_TIMEOUT_SECONDS: Final = 10 * 60.0
# What one may take, before it is made.
_RENDERED_BYTES: Final = 256 * 1024


def _render(source: Path, target: Path, rendering: Rendering, state: Path | None) -> None:
    # Not in the service, which encodes no images.
    from shared.imaging.drawing import render

    render(source, target, rendering, state)


async def _own_file(instance: Instance) -> Path:
    return instance.path


class Maker(Protocol):
    """Gives files by their names, and has those made that it has not (`FileCache`)."""

    async def file(self, name: str, size: int, make: Callable[[Path], Awaitable[None]]) -> FileRange:
        """All of the file `name`, which `make` writes to the path that it is given, about `size` bytes."""
        ...

    def clear(self) -> None:
        """Remove all files."""
        ...


class Workers:
    """Processes that decode and encode pixels, with a bound on memory and time; they log as `service`."""

    def __init__(self, service: str) -> None:
        self._service = service
        self._pool: ProcessPoolExecutor | None = None

    async def run(self, work: Callable[..., Result], *arguments: object) -> Result:
        """What comes of `work` in one of them.

        Raises what it does, and `ValueError` when it took too long or broke.
        """
        loop = asyncio.get_running_loop()
        pool = self._pool = self._pool or _new_pool(self._service)
        try:
            done = loop.run_in_executor(pool, work, *arguments)
            return await asyncio.wait_for(done, _TIMEOUT_SECONDS)
        except (BrokenProcessPool, TimeoutError) as error:
            if self._pool is pool:
                self._pool = None
            _kill(pool)
            raise ValueError("the decoder failed or took too long") from error

    async def close(self) -> None:
        """End them."""
        if self._pool is not None:
            await asyncio.to_thread(self._pool.shutdown, cancel_futures=True)
            self._pool = None


class Transcoder:
    """Gives instances in another transfer syntax; `codecs` is what it can do.

    `cache` has the files that are made, `workers` make them, `local` says where the file of an instance is on
    this disk.
    """

    def __init__(
        self,
        cache: Maker,
        workers: Workers,
        *,
        local: Callable[[Instance], Awaitable[Path]] = _own_file,
    ) -> None:
        self.codecs = SHIPPED
        self._cache = cache
        self._workers = workers
        self._local = local

    async def transcoded(self, instance: Instance, to: str) -> FileRange:
        """The whole Part 10 file of `instance` in the transfer syntax `to`.

        Raises
        ------
        ValueError
            Its pixels cannot be decoded, or are not what its attributes say.
        OSError
            A file cannot be read or written, or the cache is full of what is in use.
        """
        name = f"{hashlib.sha256(f'{instance.sha256} {to}'.encode()).hexdigest()}.dcm"
        size = instance.decoded_size or instance.size
        return await self._cache.file(name, size, partial(self._make, instance, to))

    async def rendered(
        self, instance: Instance, rendering: Rendering, state: Instance | None = None
    ) -> FileRange:
        """What `rendering` asks for of `instance`, whose pixels are decoded in a worker; as the presentation
        `state` has it shown where there is one.

        Raises
        ------
        ValueError
            Its pixels cannot be decoded or are too many, or the frame is not there.
        OSError
            A file cannot be read or written, or the cache is full of what is in use.
        """
        order = f"{instance.sha256} {rendering}" + (f" {state.sha256}" if state is not None else "")
        name = f"{hashlib.sha256(order.encode()).hexdigest()}.shown"
        make = partial(self._render, instance, rendering, state)
        return await self._cache.file(name, _RENDERED_BYTES, make)

    async def clear(self) -> None:
        """Remove what was made of instances: some of them were erased."""
        await asyncio.to_thread(self._cache.clear)

    async def close(self) -> None:
        """End the worker processes."""
        await self._workers.close()

    async def _make(self, instance: Instance, to: str, target: Path) -> None:
        await self._workers.run(transcode.transcode, await self._local(instance), target, to)

    async def _render(
        self, instance: Instance, rendering: Rendering, state: Instance | None, target: Path
    ) -> None:
        shown_by = await self._local(state) if state is not None else None
        await self._workers.run(_render, await self._local(instance), target, rendering, shown_by)


def _new_pool(service: str) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(
        _WORKERS,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=transcode.confine,
        initargs=(service, _WORKER_MEMORY, logging.getLevelName(logging.getLogger().level)),
    )


def _kill(pool: ProcessPoolExecutor) -> None:
    for process in list((pool._processes or {}).values()):
        process.kill()
    pool.shutdown(wait=False, cancel_futures=True)
