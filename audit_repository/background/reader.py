"""Reading of many messages at once, in a process of its own: one processor reads while another writes.

Under load most of what a record takes is its reading, and Python's lock would keep that from who writes.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import threading
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from audit_repository.domain.record import Reading, reading_of
from audit_repository.transactions.iti20 import Message
from shared.telemetry.log import logger

_log = logger(__name__)

_ENDED = "whatever read it ended over it"


class ReadingProcess:
    """The process; it begins with the first messages, and again after it ended."""

    def __init__(self) -> None:
        self._pool: ProcessPoolExecutor | None = None
        self._apart = asyncio.Lock()

    @property
    def pid(self) -> int | None:
        """Its id; None before the first messages."""
        return next(iter(self._pool._processes), None) if self._pool is not None else None

    async def readings(self, messages: Sequence[Message]) -> list[Reading]:
        """What each of `messages` says.

        When the process ends over them, each is read apart from all others until the one is found that ends
        it, which is then unparsed.
        """
        async with self._apart:
            pass
        try:
            return await self._read(messages)
        except BrokenProcessPool:
            _log.error("the process that reads audit records ended; it is begun anew", records=len(messages))
        async with self._apart:
            return await self._halves(messages)

    async def close(self) -> None:
        """End it."""
        if self._pool is not None:
            await asyncio.to_thread(self._pool.shutdown, cancel_futures=True)
            self._pool = None

    async def _halves(self, messages: Sequence[Message]) -> list[Reading]:
        try:
            return await self._read(messages)
        except BrokenProcessPool:
            if len(messages) == 1:
                return [Reading(reason=_ENDED)]
        half = len(messages) // 2
        return await self._halves(messages[:half]) + await self._halves(messages[half:])

    async def _read(self, messages: Sequence[Message]) -> list[Reading]:
        pool = self._pool = self._pool or _new_pool()
        try:
            return await asyncio.get_running_loop().run_in_executor(pool, _readings, messages)
        except BrokenProcessPool:
            if self._pool is pool:
                self._pool = None
            raise


def _new_pool() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"), initializer=_begin)


def _begin() -> None:
    # Who stops the service signals all its processes, and what was received is still to be read.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(0)


def _readings(messages: Sequence[Message]) -> list[Reading]:
    return list(map(reading_of, messages))
