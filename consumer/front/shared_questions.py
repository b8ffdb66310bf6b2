"""Questions that are asked again for every request, once for all requests that wait together."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from shared.attempts import awaited

Answer = TypeVar("Answer")


class SharedQuestions(Generic[Answer]):
    """Asks the same question once at a time; who comes while it is asked waits for the next one.

    So nobody is answered by a question that was asked before they came.
    """

    def __init__(self) -> None:
        self._current: dict[Hashable, asyncio.Future[Answer]] = {}
        self._next: dict[Hashable, asyncio.Future[Answer]] = {}

    async def ask(self, key: Hashable, question: Callable[[], Awaitable[Answer]]) -> Answer:
        """The answer to `question`, or to an equal one of the same `key`; raises what that does."""
        if (following := self._next.get(key)) is None:
            following = self._next[key] = asyncio.ensure_future(self._turn(key, question))
            following.add_done_callback(lambda done: done.cancelled() or done.exception())
        return await asyncio.shield(following)

    async def _turn(self, key: Hashable, question: Callable[[], Awaitable[Answer]]) -> Answer:
        if (current := self._current.get(key)) is not None:
            await awaited(asyncio.shield(current))
        turn = self._next.pop(key)
        self._current[key] = turn
        try:
            return await question()
        finally:
            if self._current.get(key) is turn:
                del self._current[key]
