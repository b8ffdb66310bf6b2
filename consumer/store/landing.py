"""Instances on their way from a plain socket to files: the heads of parts are read, contents are moved.

A thread does it, and waits where it has to: what came of each part is told to the loop.
"""

from __future__ import annotations

import asyncio
import os
import select
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from socket import SHUT_RDWR
from threading import Thread
from typing import Generic, TypeVar
from uuid import uuid4

from consumer.store.files import Endless, InstanceLimits
from shared.attempts import attempted, to_its_end
from shared.http.incoming import Incoming, Pipe
from shared.http.multipart import Headers
from shared.http.passage import Move, Steps, declared_length
from shared.soap.mtom import RelayedBody

# What is moved is waited for until so much of it is there: each waking costs as much as to move it.
_MOVE_BYTES = 256 * 1024

T = TypeVar("T")


async def landed(
    body: RelayedBody,
    folder: Path,
    limits: InstanceLimits,
    *,
    is_wanted: Callable[[Headers], bool],
    keep: Callable[[Headers, Path, int], T],
) -> AsyncGenerator[T]:
    """Put every part that `is_wanted` into a file of its own in `folder`, and yield what `keep` makes of it.

    `keep` gets the headers, the file and its size, runs in the thread, and moves away what it keeps.

    Raises
    ------
    Endless
        A part is longer, or takes longer, than an instance may; or the next one does not begin in time.
    SourceBroken
        The body does not come to its end in order.
    """
    loop = asyncio.get_running_loop()
    # What came of a part, which may be None, is in a tuple; what is in none is the end, and why.
    results: asyncio.Queue[tuple[T] | Exception | None] = asyncio.Queue()
    landing = _Landing(body, folder, limits, is_wanted, keep)

    def tell(one: T) -> None:
        loop.call_soon_threadsafe(results.put_nowait, (one,))

    def run() -> None:
        loop.call_soon_threadsafe(results.put_nowait, attempted(partial(landing.run, tell)))
        loop.call_soon_threadsafe(ended.set)

    ended = asyncio.Event()
    Thread(target=run, name="landing", daemon=True).start()
    try:
        while (one := await results.get()) is not None:
            if isinstance(one, Exception):
                raise one
            yield one[0]
    finally:
        landing.cut()
        await to_its_end(ended.wait())


class _Landing(Generic[T]):
    """One body that lands."""

    def __init__(
        self,
        body: RelayedBody,
        folder: Path,
        limits: InstanceLimits,
        is_wanted: Callable[[Headers], bool],
        keep: Callable[[Headers, Path, int], T],
    ) -> None:
        self._folder = folder
        self._limits = limits
        self._is_wanted = is_wanted
        self._keep = keep
        self._incoming: Incoming = body.body.incoming()
        self._steps = Steps(body.scanner, self._incoming, self._begun)
        self._readable = select.poll()
        self._readable.register(self._incoming.connection, select.POLLIN)
        self._headers: Headers = {}
        self._path = folder / f"{uuid4()}.part"
        self._file = -1
        self._size = 0
        self._until = time.monotonic() + limits.seconds
        self._tell: Callable[[T], object] = lambda one: None

    def run(self, tell: Callable[[T], object]) -> None:
        """Take the whole body, and `tell` what came of each part."""
        self._tell = tell
        pipe = Pipe()
        try:
            for step in self._steps.run():
                if step is None:
                    self._wait(1)
                elif isinstance(step, bytes):
                    self._write(step)
                else:
                    self._move(step, pipe)
            self._ended()
        finally:
            pipe.close()
            self._incoming.close()
            if self._file >= 0:
                os.close(self._file)
                self._path.unlink(missing_ok=True)

    def cut(self) -> None:
        """Have the thread end, if it goes on."""
        with suppress(OSError):
            self._incoming.connection.shutdown(SHUT_RDWR)

    def _begun(self, headers: Headers) -> bytes | None:
        """A part begins, and so the one before has ended."""
        self._ended()
        if not self._is_wanted(headers):
            return None
        self._headers, self._size = headers, 0
        self._check(declared_length(headers) or 0)
        self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        return b""

    def _ended(self) -> None:
        self._until = time.monotonic() + self._limits.seconds
        if self._file < 0:
            return
        os.close(self._file)
        self._file = -1
        try:
            self._tell(self._keep(self._headers, self._path, self._size))
        finally:
            self._path.unlink(missing_ok=True)

    def _check(self, size: int) -> None:
        if size > self._limits.max_bytes:
            raise Endless(
                f"an instance is longer than {self._limits.max_bytes} bytes, the most that is taken"
            )

    def _write(self, octets: bytes) -> None:
        self._size += len(octets)
        self._check(self._size)
        view = memoryview(octets)
        while view:
            view = view[os.write(self._file, view) :]

    def _move(self, step: Move, pipe: Pipe) -> None:
        self._write(step.head)
        self._size += step.length
        left = step.length
        while left:
            count = self._incoming.move(pipe, left)
            if count is None:
                self._wait(min(left, _MOVE_BYTES))
                continue
            left -= count
            while pipe.filled:
                pipe.filled -= os.splice(pipe.out, self._file, pipe.filled)

    def _wait(self, count: int) -> None:
        """Until so many bytes are there, or the connection ends."""
        self._incoming.wake_at(count)
        left = self._until - time.monotonic()
        if left <= 0 or not self._readable.poll(left * 1000):
            raise Endless(f"an instance did not arrive within {self._limits.seconds:g} s")
