"""C-MOVE requests of ours whose instances come to our own listener: which of them are expected."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from imaging_source.archives.archive import ReceivedFile

_MOST: Final = 0xFFFF


class ExpectedMove:
    """One C-MOVE: `take` takes what comes by it, in any thread, and blocks until it is taken."""

    def __init__(self, message_id: int, archive_title: str, take: Callable[[ReceivedFile], None]) -> None:
        self.message_id = message_id
        self.archive_title = archive_title
        self._take = take
        self._last_at = time.monotonic()

    def take(self, file: ReceivedFile) -> None:
        """Take an instance."""
        self._take(file)
        self._last_at = time.monotonic()

    def last_at(self) -> float:
        """When the last one came."""
        return self._last_at


class Moves:
    """Those that are on their way, by the message id that each instance names."""

    def __init__(self) -> None:
        self._moves: dict[int, ExpectedMove] = {}
        self._guard = threading.Lock()

    @contextmanager
    def expected(self, archive_title: str, take: Callable[[ReceivedFile], None]) -> Iterator[ExpectedMove]:
        """Expect what the archive of this AE title is about to send for one request."""
        with self._guard:
            while (message_id := secrets.randbelow(_MOST) + 1) in self._moves:
                continue
            move = self._moves[message_id] = ExpectedMove(message_id, archive_title, take)
        try:
            yield move
        finally:
            with self._guard:
                del self._moves[message_id]

    def find(self, message_id: int, *, calling_title: str) -> ExpectedMove | None:
        """The request for which an instance comes from this AE title; None when it is none of ours."""
        move = self._moves.get(message_id)
        return move if move is not None and move.archive_title == calling_title else None
