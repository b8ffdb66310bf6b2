"""Reading of many messages at once, in a process of its own: one processor reads while another writes.

Under load most of what a record takes is its reading, and Python's lock would keep that from who writes. The
process says which message it begins before it reads it, so that its end tells over which it ended.
"""

from __future__ import annotations

import asyncio
import ctypes
import multiprocessing
import os
import signal
import threading
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from audit_repository.domain.record import Message, Reading, reading_of
from shared.telemetry.log import logger
from shared.telemetry.metrics import Metrics

_log = logger(__name__)

#: For how long no process is begun after one could not be.
PAUSE_SECONDS = 60.0
_ENDED = "whatever read it ended over it"


class _NotBegunError(Exception):
    """The process could not be begun, or ended before it began to read."""


class _EndedError(Exception):
    """The process ended: over the message at `place` of those it was given, or over none of them."""

    def __init__(self, place: int | None) -> None:
        super().__init__("the process that reads audit records ended")
        self.place = place


class ReadingProcess:
    """The process; it begins with the first messages, and again after it ended."""

    def __init__(self, metrics: Metrics) -> None:
        self._process: _Process | None = None
        self._paused_until = 0.0
        self._ends = metrics.counter("audit_reading_process_ends", "Ends of the process that reads records")
        self._read_in_service = metrics.counter(
            "audit_records_read_in_service", "Records that the service read itself: no process could be begun"
        )

    @property
    def pid(self) -> int | None:
        """Its id; None before the first messages."""
        return self._process.pid if self._process is not None else None

    async def readings(self, messages: Sequence[Message]) -> list[Reading]:
        """What each of `messages` says.

        A message is unparsed when the process ended over it twice: once somebody may have ended it. Where no
        process can be begun, they are read here.
        """
        doubted: int | None = None
        while asyncio.get_running_loop().time() >= self._paused_until:
            try:
                return await self._read_there(messages)
            except _NotBegunError:
                break
            except _EndedError as ended:
                if ended.place is None:
                    continue
                if ended.place == doubted:
                    return await self._without(ended.place, messages)
                doubted = ended.place
        self._read_in_service.inc(len(messages))
        return await asyncio.to_thread(_read, messages)

    async def close(self) -> None:
        """End it."""
        if self._process is not None:
            await self._process.close()
            self._process = None

    async def _without(self, place: int, messages: Sequence[Message]) -> list[Reading]:
        before, after = messages[:place], messages[place + 1 :]
        return [
            *(await self.readings(before) if before else ()),
            Reading(reason=_ENDED),
            *(await self.readings(after) if after else ()),
        ]

    async def _read_there(self, messages: Sequence[Message]) -> list[Reading]:
        process = self._process
        try:
            if process is None:
                process = self._process = _new_process()
            return await process.readings(messages)
        except (_NotBegunError, _EndedError) as error:
            if self._process is process:  # of all that waited for it, the first tells
                self._process = None
                self._tell(error)
            raise

    def _tell(self, error: _NotBegunError | _EndedError) -> None:
        if isinstance(error, _EndedError):
            self._ends.inc()
            _log.error("the process that reads audit records ended; it is begun anew")
            return
        self._paused_until = asyncio.get_running_loop().time() + PAUSE_SECONDS
        _log.error(
            "a process that reads audit records cannot be begun; they are read in the service itself",
            again_in_seconds=PAUSE_SECONDS,
            exc_info=error.__cause__,
        )


class _Process:
    """One process from its begin to its end."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        # Messages are counted from 1 as they are given; there it writes which one it begins.
        self._begun = context.RawValue(ctypes.c_uint64)
        self._given = 0
        self._pool = ProcessPoolExecutor(1, mp_context=context, initializer=_begin, initargs=(self._begun,))

    @property
    def pid(self) -> int | None:
        """Its id, once messages were given."""
        return next(iter(self._pool._processes), None)

    async def readings(self, messages: Sequence[Message]) -> list[Reading]:
        """What each of `messages` says.

        Raises
        ------
        _NotBegunError, _EndedError
            It ended, by itself or by somebody; all that wait for it are told the same.
        """
        first = self._given + 1
        self._given += len(messages)
        try:
            reading = self._pool.submit(_read_numbered, first, messages)
        except BrokenProcessPool:
            raise self._ended(first, len(messages)) from None
        except OSError as error:
            raise _NotBegunError from error
        try:
            return await asyncio.wrap_future(reading)
        except BrokenProcessPool as error:
            raise self._ended(first, len(messages)) from error

    async def close(self) -> None:
        """End it when it has read what it has."""
        await asyncio.to_thread(self._pool.shutdown, cancel_futures=True)

    def _ended(self, first: int, number: int) -> _NotBegunError | _EndedError:
        begun = int(self._begun.value)
        if not begun:
            return _NotBegunError()
        return _EndedError(begun - first if first <= begun < first + number else None)


def _new_process() -> _Process:
    try:
        return _Process()
    except OSError as error:
        raise _NotBegunError from error


_begun: ctypes.c_uint64
"""In the process: which message it begins."""


def _begin(begun: ctypes.c_uint64) -> None:
    global _begun  # what a pool gives its process, it can keep nowhere else
    _begun = begun
    # Who stops the service signals all its processes, and what was received is still to be read.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(0)


def _read_numbered(first: int, messages: Sequence[Message]) -> list[Reading]:
    readings = []
    for number, message in enumerate(messages, first):
        _begun.value = number
        readings.append(reading_of(message))
    return readings


def _read(messages: Sequence[Message]) -> list[Reading]:
    return list(map(reading_of, messages))
