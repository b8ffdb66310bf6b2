"""What passes, as files: an HTTP exchange is one, with the answer behind the request; of other protocols
every message is one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import BinaryIO

Whole = Callable[[Path], None]


class Recording:
    """A folder of captures, for this user alone; `whole` learns the path of each that is whole."""

    def __init__(self, folder: Path, whole: Whole) -> None:
        """Record below `folder`, which is made when it is not there; numbers go on behind those in it."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder
        self._whole = whole
        numbers = [int(path.stem[:6]) for path in folder.iterdir() if path.stem[:6].isdigit()]
        self._numbers = count(max(numbers, default=0) + 1)

    def exchange(self, ending: str) -> RecordedExchange:
        """A request and its answer, that come now."""
        return RecordedExchange(self._folder / f"{next(self._numbers):06}{ending}", self._whole)


class RecordedExchange:
    """One file while it comes; it is whole when all of the request and all of the answer are in it."""

    def __init__(self, path: Path, whole: Whole) -> None:
        self.path = path
        self._whole = whole
        self._parts = path.with_suffix(".request.part"), path.with_suffix(".answer.part")
        self._files = tuple(map(_opened, self._parts))
        self._coming = {0, 1}

    def add_request(self, octets: bytes) -> None:
        """A piece of the request."""
        self._files[0].write(octets)

    def add_answer(self, octets: bytes) -> None:
        """A piece of the answer, which may come before the request has ended."""
        self._files[1].write(octets)

    def end_request(self) -> None:
        """The request was all of that."""
        self._end({0})

    def end_answer(self) -> None:
        """The answer was all of that."""
        self._end({1})

    def end(self) -> None:
        """Nothing more comes, whether or not it was all."""
        self._end({0, 1})

    def _end(self, parts: set[int]) -> None:
        if not self._coming:
            return
        self._coming -= parts
        if self._coming:
            return
        for file in self._files:
            file.close()
        request, answer = self._parts
        with request.open("ab") as whole, answer.open("rb") as behind:
            shutil.copyfileobj(behind, whole, 256 * 1024)
        answer.unlink()
        request.rename(self.path)
        self._whole(self.path)


def _opened(path: Path) -> BinaryIO:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
