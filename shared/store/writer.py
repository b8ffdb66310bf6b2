"""One writer thread that syncs for many: what arrives during one write is the next batch.

There is no timer and no delay: a lone item goes at the end of the current turn of the event loop, so it waits
for nobody, and a crowd shares each sync.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar

from shared.attempts import attempted

Item = TypeVar("Item")
Result = TypeVar("Result")

_Waiting = tuple[Item, "asyncio.Future[Result]"]


class WriterClosed(Exception):
    """The writer takes no more items; the service is stopping."""


class GroupWriter(Generic[Item, Result]):
    """Hands batches of items to `write` in a thread of its own; made and used on one event loop.

    Parameters
    ----------
    write
        Carries out a batch durably and returns one result for each item, in order. A result that is an
        exception fails its item alone; an exception that is raised fails every item of the batch, so that
        nothing is acknowledged of which it is not certain.
    name
        Name of the thread.
    idle
        Called in the writer's thread once after a batch, when nothing came for `idle_seconds`.
    largest_batch
        Most items in one call of `write`.
    """

    def __init__(
        self,
        write: Callable[[Sequence[Item]], Sequence[Result | Exception]],
        *,
        name: str,
        idle: Callable[[], None] | None = None,
        idle_seconds: float = 0.25,
        largest_batch: int = 256,
    ) -> None:
        self._write = write
        self._idle = idle
        self._idle_seconds = idle_seconds
        self._largest_batch = largest_batch
        self._loop = asyncio.get_running_loop()
        self._waiting: list[_Waiting[Item, Result]] = []
        self._queue: SimpleQueue[list[_Waiting[Item, Result]] | None] = SimpleQueue()
        self._busy = False
        self._closed = False
        self._drained = asyncio.Event()
        self._drained.set()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def is_busy(self) -> bool:
        """Whether it carries something out."""
        return self._busy

    @property
    def waiting(self) -> int:
        """Items that are not handed over yet."""
        return len(self._waiting)

    async def put(self, item: Item) -> Result:
        """Carry out `item` and return its result once it is durable.

        An item that is queued is carried out even when the caller is cancelled meanwhile.

        Raises
        ------
        WriterClosed
            `close` was called before.
        """
        if self._closed:
            raise WriterClosed("the writer is closed")
        future: asyncio.Future[Result] = self._loop.create_future()
        self._waiting.append((item, future))
        if not self._busy:
            self._busy = True
            self._drained.clear()
            self._loop.call_soon(self._start)
        return await future

    async def close(self) -> None:
        """Carry out what is queued, then end the thread."""
        self._closed = True
        await self._drained.wait()
        self._queue.put(None)
        await self._loop.run_in_executor(None, self._thread.join)

    def _start(self) -> None:
        batch = self._waiting[: self._largest_batch]
        del self._waiting[: self._largest_batch]
        self._queue.put(batch)

    def _done(self, batch: list[_Waiting[Item, Result]], results: Sequence[Result | Exception]) -> None:
        # The next batch first: the thread shall not wait while this one's callers are woken.
        if self._waiting:
            self._start()
        else:
            self._busy = False
            self._drained.set()
        for (_, future), result in zip(batch, results, strict=True):
            if future.done():
                continue
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)

    # --- in the thread -------------------------------------------------------------------------------

    def _run(self) -> None:
        while (batch := self._next()) is not None:
            results = self._carry_out(batch)
            try:
                self._loop.call_soon_threadsafe(self._done, batch, results)
            except RuntimeError:
                return  # the loop is closed, so nobody waits any more

    def _next(self) -> list[_Waiting[Item, Result]] | None:
        if self._idle is None:
            return self._queue.get()
        try:
            return self._queue.get(timeout=self._idle_seconds)
        except Empty:
            self._idle()
            return self._queue.get()

    def _carry_out(self, batch: list[_Waiting[Item, Result]]) -> Sequence[Any]:
        results = attempted(lambda: self._write([item for item, _ in batch]))
        if isinstance(results, Exception):
            return [results] * len(batch)
        if len(results) != len(batch):
            return [RuntimeError("write returned another number of results than items")] * len(batch)
        return results
